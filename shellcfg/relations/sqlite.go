package relations

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"modernc.org/sqlite"
)

var errReplaced = errors.New("file is another one now")

// openSQLite asks a database file, which is never written. Another file that
// takes its place is seen at the next lookup.
func openSQLite(o *opening) (Table, error) {
	q, err := o.sqlQuery()
	if err != nil {
		return nil, err
	}
	path, err := filepath.Abs(o.File)
	if err != nil {
		return nil, err
	}
	t := &sqlTable{params: q.params}
	t.pool, err = newPool(o, "sqlite "+path, func(ctx context.Context) (*sqlConn, error) {
		opened, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		conn, err := new(sqlite.Driver).Open(sqliteName(path, t.timeout.Milliseconds()))
		if err != nil {
			return nil, err
		}
		c, err := prepare(ctx, conn, q.questioned())
		if err != nil {
			return nil, err
		}
		c.fresh = func() error {
			now, err := os.Stat(path)
			if err == nil && !os.SameFile(opened, now) {
				err = errReplaced
			}
			return err
		}
		return c, nil
	})
	return t, err
}

// sqliteName waits for writers as long as a lookup may take.
func sqliteName(path string, busy int64) string {
	u := url.URL{Scheme: "file", Path: path, OmitHost: true}
	u.RawQuery = url.Values{"mode": {"ro"}, "_pragma": {fmt.Sprintf("busy_timeout(%d)", busy), "query_only(1)"}}.Encode()
	return u.String()
}
