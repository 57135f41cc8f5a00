package shell

import (
	"slices"
	"testing"
)

func TestNearest(t *testing.T) {
	names := []string{"listen", "limit", "deliver", "defer", "tls", "HOSTNAME", "interval"}
	for word, want := range map[string]string{
		"listn": "listen", "lsiten": "listen", "limt": "limit", "delvier": "deliver", "dever": "defer",
		"HOSTNAM": "HOSTNAME", "intervall": "interval", "tsl": "tls",
		"listen": "", "relayhost": "", "x": "", "": "", "HOST": "",
	} {
		if got := Nearest(word, slices.Values(names)); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
