package shellcfg

import (
	"fmt"
	"io"
	"log/slog"

	"zmailer/spool/zlog"
)

// OpenLog opens the log of a program where LOG in zmailer.conf says, as LOGFORMAT
// and LOGLEVEL say. Lines also go to also, if it is not nil.
func (c *Conf) OpenLog(applet string, also io.Writer) (*slog.Logger, *zlog.Output, error) {
	targets, err := c.logTargets()
	if err != nil {
		return nil, nil, err
	}
	return zlog.Open(zlog.Config{Applet: applet, Path: c.LogPath(applet), Also: also, Targets: targets})
}

func (c *Conf) logTargets() (zlog.Targets, error) {
	t, err := zlog.ParseTargets(c.Get("LOG"), c.Get("LOGFORMAT"), c.Get("LOGLEVEL"))
	if err != nil {
		return t, fmt.Errorf("%s: %w", c.File, err)
	}
	return t, nil
}
