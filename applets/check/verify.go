package check

import (
	"context"
	"fmt"
	"strings"

	"zmailer/applets/policytest"
	"zmailer/shellcfg"
)

// maxReport bounds what failed tests add to an error.
const maxReport = 4096

// Verify is what a configuration must pass before it takes over: no error of a
// check, and all of its tests. zmailer reload asks it, and so do the daemons that
// see a file change.
func Verify(ctx context.Context, conf *shellcfg.Conf) error {
	if err := Instance(ctx, conf).Err(); err != nil {
		return fmt.Errorf("zmailer check: %w", err)
	}
	var out strings.Builder
	r, err := policytest.Instance(ctx, conf, &out)
	if err != nil {
		return fmt.Errorf("zmailer test: %w", err)
	}
	if r.Failed > 0 {
		text := strings.TrimSpace(out.String())
		if len(text) > maxReport {
			text = text[:maxReport] + " ..."
		}
		return fmt.Errorf("zmailer test: %d of %d expectations failed\n%s", r.Failed, r.Passed+r.Failed, text)
	}
	return nil
}
