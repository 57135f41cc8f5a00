package shellcfg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"zmailer/shellcfg/shell"
)

// confTimeout bounds a zmailer.conf that calls programs: every daemon and every
// sendmail waits for it.
const confTimeout = 10 * time.Second

// runAssignments runs a zmailer.conf that is more than plain assignments and
// returns its variables.
func runAssignments(path string, src []byte) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), confTimeout)
	defer cancel()
	p, err := shell.Load(ctx, shell.Options{
		Vars:     map[string]string{"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
		Open:     shell.FileOpener,
		External: true,
	}, path, bytes.NewReader(src))
	if errors.Is(err, shell.ErrUnknown) {
		err = fmt.Errorf("%w: lines are NAME=value, with nothing around the =; a value with blanks stands in quotes", err)
	}
	if err != nil {
		return nil, err
	}
	return p.Vars(), nil
}
