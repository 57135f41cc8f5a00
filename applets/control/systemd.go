package control

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"zmailer/spool/proc"
)

// A manager is the systemd of the host, where the daemons of the system's instance are
// units: then these are started and stopped, and no supervisor of our own, so that
// "zmailer kill" and "systemctl stop" mean the same.
type manager struct {
	systemctl string
}

// serviceManager is nil where there is no systemd, or the instance is not the one
// of the package's units.
func (in *instance) serviceManager() *manager { return findManager("/", in.conf.File) }

func findManager(root, conf string) *manager {
	if conf != "/etc/zmailer/zmailer.conf" {
		return nil
	}
	for _, path := range []string{"run/systemd/system", "usr/lib/systemd/system/zmailer-router.service"} {
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			return nil
		}
	}
	path, err := exec.LookPath("systemctl")
	if err != nil {
		return nil
	}
	return &manager{path}
}

// do has the units of the named daemons started or stopped; all of them are the
// service as a whole.
func (m *manager) do(verb string, names []string) error {
	args := []string{verb}
	if len(names) == 0 || len(names) == len(daemons) {
		args = append(args, "zmailer.service")
	}
	for _, name := range orAll(names) {
		args = append(args, "zmailer-"+name+".service")
	}
	if out, err := exec.Command(m.systemctl, args...).CombinedOutput(); err != nil {
		return proc.Exit(proc.Unavailable, "systemctl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
