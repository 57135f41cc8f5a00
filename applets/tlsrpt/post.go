package tlsrpt

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"zmailer/agents/tlsrpt"
)

// postTime bounds the delivery of one report.
const postTime = time.Minute

// newClient makes the client for reports to https places. Whoever publishes a record
// chooses where we connect to, so that addresses that are no places on the Internet
// are not connected to, and nobody sends us on.
func newClient() *http.Client {
	dialer := net.Dialer{Timeout: postTime / 2, Control: func(_, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err == nil && !isPublic(ap.Addr().Unmap()) {
			err = fmt.Errorf("%s is no address on the Internet", ap.Addr())
		}
		return err
	}}
	return &http.Client{
		Timeout:       postTime,
		Transport:     &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// nowhere are networks that net/netip takes for global ones.
var nowhere = []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("64:ff9b:1::/48")}

func isPublic(ip netip.Addr) bool {
	for _, p := range nowhere {
		if p.Contains(ip) {
			return false
		}
	}
	return ip.IsGlobalUnicast() && !ip.IsPrivate()
}

// isPost tells a place that reports are posted to.
func isPost(place string) bool {
	u, err := url.Parse(place)
	return err == nil && strings.EqualFold(u.Scheme, "https") && u.Hostname() != "" && u.User == nil
}

// post gives a report to an https place: RFC 8460 §5.4.
func (r *reporter) post(ctx context.Context, report *tlsrpt.Report, place string) error {
	packed, err := report.Gzip()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, place, bytes.NewReader(packed))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/tlsrpt+gzip")
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)); err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s: answer %s", place, resp.Status)
	}
	return nil
}
