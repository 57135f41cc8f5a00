package sendmail

import (
	"errors"
	"slices"
	"strings"
	"time"

	"zmailer/spool/proc"
)

var (
	errNever  = errors.New("never excludes the others")
	errNotify = errors.New("want never, or a list of success, failure and delay, each once")
)

// A setting is one of the options of Sendmail's configuration file that -o and
// -O set from the command line.
type setting int

// Most settings tune a Sendmail that is not here; callers give them out of habit
// and lose nothing when they have no effect.
const (
	idle setting = iota
	deliveryMode
	errorMode
	ignoreDots
	verboseMode
	queueDirectory
	aliasFile
)

// settingLetters are the settings that have a letter, for -o.
var settingLetters = map[byte]setting{
	'd': deliveryMode, 'e': errorMode, 'i': ignoreDots, 'v': verboseMode, 'Q': queueDirectory, 'A': aliasFile,
}

// idleLetters are the letters of the other settings of Sendmail 8.
const idleLetters = "78aBbCcDEFfGgHhIJjKkLlMmnOoPpqRrSsTtUuVWwXxYyZz"

// settingNames are the settings with an effect, for -O.
var settingNames = map[string]setting{
	"deliverymode": deliveryMode, "errormode": errorMode, "ignoredots": ignoreDots, "verbose": verboseMode,
	"queuedirectory": queueDirectory, "aliasfile": aliasFile,
}

// idleNames are the names of the other settings of Sendmail 8.
const idleNames = `aliaswait allowbogushelo autorebuildaliases badrcptthrottle badrcptthrottledelay blanksub
	bindtodevice cacertfile cacertpath cadirectory certfingerprintalgorithm checkaliases checkpointinterval cipherlist
	classfactor clientcertfile clientkeyfile clientportoptions clientssloptions colonokinaddr connectioncachesize
	connectioncachetimeout connectiononlyto connectionratethrottle connectionratewindowsize controlsocketname
	crlfile crlpath daemonportoptions datafilebuffersize deadletterdrop defaultauthinfo
	defaultcharset defaultuser delayla deliverbymin dhparameters directsubmissionmodifiers doubleadress
	doublebounceaddress dontblamesendmail dontexpandcnames dontinitgroups dontprobeinterfaces dontpruneroutes
	eightbitmode errorheader fallbackmxhost fallbacksmarthost fastsplit forkeachjob forwardpath gecosmatch matchgecos
	heloname helpfile holdexpensive hoststatusdirectory hostsfile includefile loglevel mailboxdatabase
	maxaliasrecursion maxdaemonchildren maxheaderslength maxhopcount maxmessagesize maxmimeheaderlength
	maxnoopcommands maxqueuechildren maxqueuerunsize maxrecipientspermessage maxrunnersperqueue metoo milter
	minfreeblocks minqueueage maxqueueage mustquotechars nicequeuerun norecipientaction oldstyleheaders
	operatorchars pidfile postmastercopy privacyoptions processtitleprefix queuefactor queuefilemode queuela
	queuesortorder queuetimeout randfile recipientfactor refusela rejectlogininterval requiresdirfsync resolveroptions
	retryfactor rrtimplieddsn runasuser safefileenvironment saslrealm saslmaxencryptsize savefromline sendmimeerrors
	serverauthoptions servercertfile serverkeyfile serverssloptions servicefile servicesfile servicesswitchfile
	serviceswitchfile sevenbitinput sharedmemorykey sharedmemorykeyfile singlelinefromheader singlethreaddelivery
	smtpgreetingmessage softbounce sslengine sslenginepath statusfile supersafe tempfilemode timezonespec
	tlsfallbacktoclear tlssrvoptions trustedfile trusteduser unixfromline unsafegroupwrites userdatabasespec userdeny
	useerrorsto usecompressedipv6addresses usemsp xscriptfilebuffersize youngestfirst authmechanisms authoptions
	authmaxbits authrealm maxnoop`

// letterOption reads -oX, -oXvalue.
func (o *options) letterOption(g *proc.Getopt) error {
	if g.Value == "" {
		return g.Bad("want a letter")
	}
	c, v := g.Value[0], g.Value[1:]
	s, known := settingLetters[c]
	if !known && strings.IndexByte(idleLetters, c) < 0 {
		return proc.Exit(proc.Usage, "invalid option -- 'o%c'", c)
	}
	return o.set(g, s, v)
}

// namedOption reads -O Name=value and -OName.
func (o *options) namedOption(g *proc.Getopt) error {
	name, v, _ := strings.Cut(g.Value, "=")
	name = strings.ToLower(strings.TrimSpace(name))
	main, _, _ := strings.Cut(name, ".") // Timeout.queuereturn and the like
	s, known := settingNames[name]
	if !known && main != "timeout" && !slices.Contains(strings.Fields(idleNames), name) {
		return g.Bad("no such option")
	}
	return o.set(g, s, strings.TrimSpace(v))
}

func (o *options) set(g *proc.Getopt, s setting, v string) error {
	switch s {
	case deliveryMode:
		return o.setDelivery(g, v)
	case errorMode:
		return o.setErrors(g, strings.ToLower(v))
	case ignoreDots:
		o.ignoreDots = isTrue(v)
	case verboseMode:
		o.verbose = isTrue(v)
	case queueDirectory:
		o.spoolDir = v
	case aliasFile:
		o.aliasFile = v
	}
	return nil
}

// isTrue reads a truth value as Sendmail does: none is true.
func isTrue(v string) bool { return v == "" || strings.ContainsAny(v[:1], "tTyY1") }

// queueRun reads what follows -q: nothing, an interval, or what to run.
func (o *options) queueRun(g *proc.Getopt) error {
	o.queue = true
	v := g.Value
	if v == "" || v == "f" || isInterval(strings.TrimPrefix(v, "p")) {
		// "f" keeps Sendmail in the foreground, "p" keeps a runner alive: here the
		// scheduler runs the queue at all times, and this asks it to do so now.
		return nil
	}
	not := strings.HasPrefix(v, "!")
	v = strings.TrimPrefix(v, "!")
	if len(v) < 2 || !strings.Contains("IRSG", v[:1]) {
		return g.Bad("want a time such as 15m, or I, R, S or G and a text")
	}
	o.queueRuns = append(o.queueRuns, selection{What: v[0], Text: v[1:], Not: not})
	return nil
}

// isInterval tells times such as 30, 15m, 1h30m and 1d.
func isInterval(v string) bool {
	if v == "" {
		return true
	}
	if strings.Trim(v, "0123456789") == "" {
		return true
	}
	if days, rest, ok := strings.Cut(strings.ReplaceAll(v, "w", "d"), "d"); ok {
		return days != "" && strings.Trim(days, "0123456789") == "" && isInterval(rest)
	}
	_, err := time.ParseDuration(v)
	return err == nil && v[0] != '-' && v[0] != '+'
}
