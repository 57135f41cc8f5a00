package relations

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"
)

// sqliteTable asks a database file, which is never written. The query is prepared
// once for each connection and the key is its parameter. The answer is the first
// column of all rows, a line each; NULL is no row.
type sqliteTable struct {
	*pool[*sqliteConn]
	params []param
}

// A sqliteConn has the file open that had the name at the time.
type sqliteConn struct {
	*sqlite3.Conn
	stmt   *sqlite3.Stmt
	path   string
	opened os.FileInfo
}

var errReplaced = errors.New("file is another one now")

// openSQLite: another file that takes the place of the database is seen at the next
// lookup.
func openSQLite(o *opening) (Table, error) {
	q, err := o.sqlQuery()
	if err != nil {
		return nil, err
	}
	path, err := filepath.Abs(o.File)
	if err != nil {
		return nil, err
	}
	t := &sqliteTable{params: q.params}
	t.pool, err = newPool(o, "sqlite "+path, func(ctx context.Context) (*sqliteConn, error) {
		opened, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		conn, err := sqlite3.OpenFlags(path, sqlite3.OPEN_READONLY)
		if err != nil {
			return nil, err
		}
		c := &sqliteConn{Conn: conn, path: path, opened: opened}
		defer c.SetInterrupt(c.SetInterrupt(ctx))
		err = conn.BusyTimeout(t.timeout) // for writers; the lookup's context ends the wait too
		if err == nil {
			c.stmt, _, err = conn.Prepare(q.questioned())
		}
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return c, nil
	})
	return t, err
}

// Close ends the statement with its connection.
func (c *sqliteConn) Close() error { return errors.Join(c.stmt.Close(), c.Conn.Close()) }

func (c *sqliteConn) fresh() error {
	now, err := os.Stat(c.path)
	if err == nil && !os.SameFile(c.opened, now) {
		err = errReplaced
	}
	return err
}

func (t *sqliteTable) Lookup(ctx context.Context, key string) (string, bool, error) {
	return t.lookup(ctx, func(ctx context.Context, c *sqliteConn) (reply, error) {
		if err := c.fresh(); err != nil {
			return reply{}, err
		}
		defer c.SetInterrupt(c.SetInterrupt(ctx))
		for i, p := range t.params {
			if err := c.stmt.BindText(i+1, p.of(key)); err != nil {
				return reply{}, err
			}
		}
		var l lines
		for c.stmt.Step() {
			if c.stmt.ColumnType(0) == sqlite3.NULL {
				continue
			}
			if err := l.add(c.stmt.ColumnText(0)); err != nil {
				return reply{}, err
			}
		}
		if err := c.stmt.Err(); err != nil {
			return reply{}, err
		}
		return l.reply(), c.stmt.Reset()
	})
}

// Check asks for a key that is hardly there: any clean answer will do.
func (t *sqliteTable) Check(ctx context.Context) ([]error, error) {
	_, _, err := t.Lookup(ctx, "postmaster")
	return nil, err
}
