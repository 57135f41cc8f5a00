package sendmail

import (
	"strconv"
	"strings"

	"zmailer/spool/proc"
	"zmailer/spool/rfc5322"
)

// letters are the options of sendmail as all of its successors and callers know
// them: see proc.Getopt for the colons.
const letters = "A:B:b:C:D:d::Ee:F:f:Gh:IiJL:M:mN:nO:o:P:p:q::R:r:tUV:vX:x"

// options is what a command line asks for.
type options struct {
	mode       byte // of -b
	recipients []string

	fromHeader bool // -t
	ignoreDots bool // -i
	verbose    bool // -v
	external   bool // -G, -E

	hasSender bool   // -f, -r
	sender    string // "" is the null sender
	fullName  string // -F
	bodyType  string // -B
	notify    string // -N
	ret       string // -R
	envID     string // -V
	priority  string // -P
	with      string // -p protocol
	rcvdFrom  string // -p :host

	delivery byte // -od: i waits for the first attempt; b, q, d do not
	errors   byte // -oe: p m e q w

	queue     bool        // -q
	queueRuns []selection // what -q selects; none is all

	config    string // -C
	spoolDir  string // -oQ
	aliasFile string // -oA
	daemon    bool   // -bd, -bD: -q with a time adds nothing to it
}

// A selection is one condition of -q: I id, R recipient, S sender, G group
// (which is a channel or host here); Not inverts it.
type selection struct {
	What byte
	Text string
	Not  bool
}

// parseOptions reads a command line. Its errors have status 64.
func parseOptions(args []string) (*options, error) {
	o := &options{mode: 'm', delivery: 'b', errors: 'p'}
	g := proc.NewGetopt(letters, args)
	for g.Next() {
		if err := o.option(g); err != nil {
			return o, err
		}
	}
	if g.Err() != nil {
		return o, g.Err()
	}
	o.recipients = g.Args()
	return o, o.checkWords(args)
}

// checkWords refuses options behind the first address, which would else become
// recipients, and words that could break the envelope. Behind "--" an address
// may begin with a hyphen.
func (o *options) checkWords(args []string) error {
	taken := len(args) - len(o.recipients)
	ended := taken > 0 && args[taken-1] == "--"
	for _, word := range o.recipients {
		if !ended && strings.HasPrefix(word, "-") {
			return proc.Exit(proc.Usage, "%.60q stands after an address: put options first, or -- before the addresses", word)
		}
		if hasControl(word) {
			return proc.Exit(proc.Usage, "recipient %.60q: control character in an address", word)
		}
	}
	return nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

func (o *options) option(g *proc.Getopt) error {
	if hasControl(g.Value) {
		return proc.Exit(proc.Usage, "option -%c %.60q: control character", g.Opt, g.Value)
	}
	switch g.Opt {
	case 'b':
		return o.setMode(g)
	case 'I':
		o.mode = 'i'
	case 't':
		o.fromHeader = true
	case 'i':
		o.ignoreDots = true
	case 'v':
		o.verbose = true
	case 'G', 'E':
		o.external = true
	case 'f', 'r':
		return o.setSender(g)
	case 'F':
		o.fullName = g.Value
	case 'C':
		o.config = g.Value
	case 'e':
		return o.setErrors(g, g.Value)
	case 'o':
		return o.letterOption(g)
	case 'O':
		return o.namedOption(g)
	case 'q':
		return o.queueRun(g)
	case 'B', 'N', 'R', 'V', 'P', 'p':
		return o.envelopeOption(g)
	}
	return checkIdle(g)
}

// checkIdle looks at the options that the callers of other mailers give and that
// have nothing to do here: a log of the session (-X, -D) would be a file named by
// the caller; hops (-h) are counted in the message's Received fields; -A, -d, -J,
// -L, -M, -m, -n, -U and -x adjust what another program does inside.
func checkIdle(g *proc.Getopt) error {
	switch g.Opt {
	case 'A':
		if g.Value != "c" && g.Value != "m" {
			return g.Bad("want c or m")
		}
	case 'h':
		if n, err := strconv.Atoi(g.Value); err != nil || n < 0 {
			return g.Bad("want a number of hops")
		}
	}
	return nil
}

func (o *options) setMode(g *proc.Getopt) error {
	if len(g.Value) != 1 || !strings.Contains("msSpivtdDhHPl", g.Value) {
		return g.Bad("no such mode")
	}
	o.mode = g.Value[0]
	if o.mode == 'l' {
		return g.Bad("where the SMTP server listens is set by SMTPLISTEN in zmailer.conf; start it with -bd")
	}
	o.daemon = o.mode == 'd' || o.mode == 'D'
	return nil
}

func (o *options) setSender(g *proc.Getopt) error {
	a, err := oneAddress(g.Value)
	if err != nil {
		return g.Bad("%v", err)
	}
	o.hasSender, o.sender = true, a.String()
	return nil
}

func (o *options) setErrors(g *proc.Getopt, v string) error {
	if len(v) != 1 || !strings.Contains("pmeqw", v) {
		return g.Bad("want one of p, m, e, q and w for errors")
	}
	o.errors = v[0]
	return nil
}

func (o *options) setDelivery(g *proc.Getopt, v string) error {
	// The long forms of -O DeliveryMode count by their first letter, as in Sendmail.
	if v == "" || !strings.Contains("ibqd", strings.ToLower(v[:1])) {
		return g.Bad("want one of i, b, q and d for the delivery mode")
	}
	o.delivery = strings.ToLower(v)[0]
	return nil
}

// envelopeOption reads what becomes a line of the envelope.
func (o *options) envelopeOption(g *proc.Getopt) (err error) {
	v := g.Value
	switch g.Opt {
	case 'B':
		o.bodyType = strings.ToUpper(v)
		switch o.bodyType {
		case "7BIT", "8BITMIME", "BINARYMIME":
		default:
			return g.Bad("want 7BIT, 8BITMIME or BINARYMIME")
		}
	case 'R':
		o.ret = strings.ToUpper(v)
		if o.ret != "FULL" && o.ret != "HDRS" {
			return g.Bad("want full or hdrs")
		}
	case 'N':
		if o.notify, err = notifyList(v); err != nil {
			return g.Bad("%v", err)
		}
	case 'V':
		// RFC 3461 §4.4: at most 100 characters of xtext.
		if _, err := rfc5322.DecodeXtext(v); err != nil || v == "" || len(v) > 100 {
			return g.Bad("want an envelope id of 1 to 100 characters in xtext (RFC 3461)")
		}
		o.envID = v
	case 'P':
		p, ok := priorities[strings.ToLower(v)]
		if !ok {
			return g.Bad("want high, normal, bulk or junk, or ZMailer's number")
		}
		o.priority = p
	case 'p':
		return o.setProtocol(g)
	}
	return nil
}

// priorities are the names of -P and the numbers ZMailer used for them.
var priorities = map[string]string{
	"high": "high", "normal": "", "bulk": "bulk", "junk": "junk",
	"0": "", "1": "bulk", "9": "junk",
}

// notifyList reads NEVER, or a list of the others without repetition.
func notifyList(v string) (string, error) {
	v = strings.ToUpper(v)
	seen := ""
	words := strings.Split(v, ",")
	for _, w := range words {
		switch w {
		case "SUCCESS", "FAILURE", "DELAY":
		case "NEVER":
			if len(words) > 1 {
				return "", errNever
			}
		default:
			return "", errNotify
		}
		if strings.Contains(seen, w) {
			return "", errNotify
		}
		seen += w + ","
	}
	return v, nil
}

// setProtocol reads PROTOCOL[:HOST], which go to the Received field.
func (o *options) setProtocol(g *proc.Getopt) error {
	with, host, _ := strings.Cut(g.Value, ":")
	for i := range len(with) {
		if c := with[i]; (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' {
			return g.Bad("want PROTOCOL or PROTOCOL:HOST")
		}
	}
	if host != "" && !rfc5322.ValidDomain(host) {
		return g.Bad("%.60q is no host name", host)
	}
	o.with, o.rcvdFrom = with, host
	return nil
}
