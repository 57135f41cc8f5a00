package smtp

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"zmailer/agents/tlsrpt"
	"zmailer/shellcfg"
	"zmailer/spool/proc"
)

// stsRunDir is where the policies of domains are kept, in the run directory.
const stsRunDir = "mta-sts"

// confine keeps the agent, which talks to whatever host DNS names, from all files but
// those that it works with: it reads the system, the spool, the configuration and
// what its options name, and writes only what it keeps for itself. Programs of -A
// live under the same rules.
func confine(conf *shellcfg.Conf, args []string) error {
	rules := proc.Confinement{Write: []string{"/dev/null"}, Hide: shellcfg.Private()}
	for _, name := range []string{stsRunDir, tlsrpt.RunDir} {
		dir := filepath.Join(conf.Postoffice, "run", name)
		// Rules are for what is there. One who may not make it, by user= of the clause,
		// keeps nothing.
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrPermission) {
			return err
		}
		rules.Write = append(rules.Write, dir)
	}
	if conf.Get("TLSPOLICY") != "" || conf.Get("DKIMTABLE") != "" {
		rules.Write = append(rules.Write, conf.Path("db")) // SQLite, with a write-ahead log
	}
	// What is wrong with the options is said when they are parsed.
	for g := proc.NewGetopt(letters, args); g.Next(); {
		switch g.Opt {
		case 'A', 'C', 'r':
			// The directory: a rule for a file does not hold for one that takes its place.
			rules.Read = append(rules.Read, filepath.Dir(g.Value))
		case 'k':
			rules.Read = append(rules.Read, g.Value)
		case 'l':
			if f, err := openTranscript(g.Value); err == nil {
				f.f.Close() // it is there now, and empty
			}
			rules.Write = append(rules.Write, g.Value)
		}
	}
	return conf.ConfineTo(rules)
}
