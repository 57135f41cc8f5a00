package applets

import (
	"context"

	"github.com/spf13/cobra"

	"zmailer/agents/errormail"
	"zmailer/agents/expirer"
	"zmailer/agents/hold"
	"zmailer/agents/mailbox"
	"zmailer/agents/protocol/tatest"
	"zmailer/agents/reroute"
	"zmailer/agents/sm"
	"zmailer/agents/smtp"
	"zmailer/applets/check"
	"zmailer/applets/dkimkey"
	"zmailer/applets/explain"
	"zmailer/applets/fsck"
	"zmailer/applets/mailq"
	"zmailer/applets/migrate"
	"zmailer/applets/newaliases"
	"zmailer/applets/policydiff"
	"zmailer/applets/policytest"
	"zmailer/applets/router"
	"zmailer/applets/scheduler"
	"zmailer/applets/sendmail"
	"zmailer/applets/setup"
	"zmailer/applets/smtpserver"
	"zmailer/applets/tlscheck"
	"zmailer/applets/tlsrpt"
	"zmailer/applets/upgrade"
	"zmailer/applets/vacation"
	"zmailer/shellcfg"
	"zmailer/shellcfg/cf"
)

// A Class groups programs in the help text.
type Class string

// The classes of programs.
const (
	Daemon Class = "Daemons"
	User   Class = "Programs of an existing installation"
	Agent  Class = "Transport agents"
	Admin  Class = "Configuration and policy"
	Upkeep Class = "Installation and spool"
)

// The classes of verbs that are no programs.
const (
	Control Class = "Starting and stopping"
	Queue   Class = "The queue"
)

// An Applet is one program.
type Applet struct {
	Name    string
	Aliases []string
	Class   Class
	Help    string
	Command func() *cobra.Command

	Submit  bool     // may run with effective ids that are not the real ones
	Links   []string // where the installer puts a link with the program's name, below the prefix
	Collect int      // garbage collector percentage, 0 for the default
	Hidden  bool     // found by argv[0] alone: "zmailer NAME" is a verb of the control command
}

// Table is the only list of programs: dispatch, help, the installer's links and
// the end-to-end tests all come from it.
func Table() []Applet {
	return []Applet{
		{Name: "router", Class: Daemon, Help: "Decide what happens to each message", Command: router.Command},
		{Name: "scheduler", Class: Daemon, Help: "Manage the queue and run transport agents", Command: scheduler.Command},
		{Name: "smtpserver", Class: Daemon, Help: "Receive mail by SMTP", Command: smtpserver.Command},

		{Name: "sendmail", Aliases: []string{"send-mail", "hoststat", "purgestat", "smtpd"}, Class: User, Help: "Submit a message", Command: sendmail.Command, Submit: true,
			Links: []string{"sbin/sendmail", "lib/sendmail"}, Collect: 400},
		{Name: "mailq", Class: User, Help: "Show the queue", Command: mailq.Command, Links: []string{"bin/mailq"}},
		{Name: "newaliases", Class: User, Help: "Build the alias database", Command: newaliases.Command, Links: []string{"bin/newaliases"}},
		{Name: "newdb", Class: User, Help: "Build all tables", Command: newaliases.NewdbCommand},
		{Name: "vacation", Class: User, Help: "Answer mail while its reader is away", Command: vacation.Command, Links: []string{"bin/vacation"}},
		{Name: "rmail", Class: User, Help: "Receive mail by UUCP", Command: sendmail.RmailCommand, Links: []string{"bin/rmail"}},

		{Name: "smtp", Class: Agent, Help: "Deliver by SMTP or LMTP", Command: smtp.Command},
		{Name: "mailbox", Class: Agent, Help: "Deliver to mailboxes, files and programs", Command: mailbox.Command},

		{Name: "sm", Class: Agent, Help: "Hand mail to the programs of sm.conf", Command: sm.Command},
		{Name: "errormail", Class: Agent, Help: "Fail the addresses that the policy rejects", Command: errormail.Command},
		{Name: "hold", Class: Agent, Help: "Keep mail until a time, a host or a file lets it go", Command: hold.Command, Hidden: true},
		{Name: "expirer", Class: Agent, Help: "End what it is given: fail it, or drop it in silence", Command: expirer.Command},
		{Name: "reroute", Class: Agent, Help: "Give what it is given back to the router", Command: reroute.Command, Hidden: true},

		{Name: "explain", Class: Admin, Help: "Say where mail to an address would go, and why", Command: explain.Command},
		{Name: "check", Class: Admin, Help: "Check the configuration", Command: checkCommand},
		{Name: "diff", Class: Admin, Help: "Say which addresses another configuration would route elsewhere", Command: policydiff.Command},
		{Name: "tables", Class: Admin, Help: "Show what the router's tables have answered", Command: router.TablesCommand},
		{Name: "test", Class: Admin, Help: "Run tests of the policy", Command: policytest.Command},
		{Name: "passwd", Class: Admin, Help: "Set the password of a user who sends mail by SMTP", Command: smtpserver.PasswdCommand},
		{Name: "tlscheck", Class: Admin, Help: "Say how mail to a domain would be encrypted, and try", Command: tlscheck.Command},
		{Name: "dkim-key", Class: Admin, Help: "Make a key that signs mail of a domain, and print its DNS record", Command: dkimkey.Command},
		{Name: "tlsrpt", Class: Admin, Help: "Report to other domains how our mail to them was encrypted", Command: tlsrpt.Command},
		{Name: "ta-test", Class: Admin, Help: "Prove that a transport agent speaks the protocol", Command: tatest.Command},
		{Name: "fsck", Class: Upkeep, Help: "Check every file of the spool, and repair what is wrong", Command: fsck.Command},
		{Name: "cleanup", Class: Upkeep, Help: "Remove rubbish from the spool", Command: fsck.CleanupCommand},
		{Name: "install", Class: Upkeep, Help: "Install this binary", Command: installCommand},
		{Name: "init", Class: Admin, Help: "Configure this host for what it is to be", Command: initCommand},
		{Name: "container", Class: Upkeep, Help: "Run as the only process of a container", Command: containerCommand},
		{Name: "import", Class: Admin, Help: "Read the configuration of another mailer, or take over its queue", Command: importCommand},
		{Name: "upgrade-check", Class: Upkeep, Help: "Say what it means to run this program instead of the one that runs", Command: upgrade.Command},
		{Name: "try", Class: Upkeep, Help: "Try an installation out", Command: setup.TryCommand},
	}
}

func checkCommand() *cobra.Command {
	return check.Command(func(ctx context.Context, conf *shellcfg.Conf) ([]string, error) {
		report, err := smtpserver.CheckRelay(ctx, conf, nil)
		if err != nil {
			return nil, err
		}
		return report.Open, nil
	}, scheduler.Agents, smtpserver.CheckConf)
}

// parts are the files beside zmailer.conf and the policy that a reload looks at.
func parts() []check.Part {
	return []check.Part{scheduler.CheckConf, smtpserver.CheckConf}
}

func installCommand() *cobra.Command   { return setup.InstallCommand(setupConfig()) }
func initCommand() *cobra.Command      { return setup.InitCommand(setupConfig()) }
func containerCommand() *cobra.Command { return setup.ContainerCommand(setupConfig()) }

func importCommand() *cobra.Command {
	stock := make(map[string]string)
	for _, f := range setupConfig().Stock {
		stock[f.Name] = f.Text
	}
	return migrate.Command(stock)
}

// setupConfig is what the programs bring along for the installer.
func setupConfig() setup.Config {
	router, err := cf.Files.ReadFile("router.cf")
	if err != nil {
		panic(err) // it is part of the binary
	}
	cfg := setup.Config{Completions: completions, Stock: []setup.Stock{
		{Name: "router.cf", Text: string(router)},
		{Name: "scheduler.conf", Text: string(scheduler.Stock)},
		{Name: "smtpserver.conf", Text: string(smtpserver.Stock)},
		{Name: "sm.conf", Text: string(sm.Stock)},
	}}
	for _, row := range Table() {
		cfg.Links = append(cfg.Links, row.Links...)
	}
	return cfg
}
