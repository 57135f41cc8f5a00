package relations

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// sqlTable asks through a driver made for package database/sql, but not
// through that package: the pool here knows when a server is down and has the
// time limits of a lookup. The query is prepared once for each connection and
// the key is its parameter. The answer is the first column of all rows, a line
// each; NULL is no row.
type sqlTable struct {
	*pool[*sqlConn]
	params []param
}

type sqlConn struct {
	sqldriver.Conn
	stmt sqldriver.StmtQueryContext
}

// prepare makes a connection ready; it is closed if that fails.
func prepare(ctx context.Context, conn sqldriver.Conn, sql string) (*sqlConn, error) {
	c := &sqlConn{Conn: conn}
	p, ok := conn.(sqldriver.ConnPrepareContext)
	if !ok {
		return nil, errors.Join(errors.New("driver cannot prepare a query"), conn.Close())
	}
	stmt, err := p.PrepareContext(ctx, sql)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if c.stmt, ok = stmt.(sqldriver.StmtQueryContext); !ok {
		return nil, errors.Join(errors.New("driver cannot query within a time limit"), stmt.Close(), conn.Close())
	}
	return c, nil
}

// Close ends the statement with its connection.
func (c *sqlConn) Close() error {
	if s, ok := c.stmt.(sqldriver.Stmt); ok {
		return errors.Join(s.Close(), c.Conn.Close())
	}
	return c.Conn.Close()
}

func (t *sqlTable) Lookup(ctx context.Context, key string) (string, bool, error) {
	if impossible(key) {
		return "", false, nil
	}
	return t.lookup(ctx, func(ctx context.Context, c *sqlConn) (reply, error) {
		args := make([]sqldriver.NamedValue, len(t.params))
		for i, p := range t.params {
			args[i] = sqldriver.NamedValue{Ordinal: i + 1, Value: p.of(key)}
		}
		rows, err := c.stmt.QueryContext(ctx, args)
		if err != nil {
			return reply{}, err
		}
		r, err := firstColumn(rows)
		return r, errors.Join(err, rows.Close())
	})
}

func firstColumn(rows sqldriver.Rows) (reply, error) {
	n := len(rows.Columns())
	if n == 0 {
		return reply{}, errors.New("query has no column")
	}
	dest := make([]sqldriver.Value, n)
	var l lines
	for {
		switch err := rows.Next(dest); {
		case err == io.EOF:
			return l.reply(), nil
		case err != nil:
			return reply{}, err
		case dest[0] == nil:
			continue
		}
		s, err := sqlText(dest[0])
		if err == nil {
			err = l.add(s)
		}
		if err != nil {
			return reply{}, err
		}
	}
}

// sqlText is a value as the server's own tools would print it.
func sqlText(v sqldriver.Value) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case uint64:
		return strconv.FormatUint(v, 10), nil
	case float32:
		return strconv.FormatFloat(float64(v), 'g', -1, 32), nil
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), nil
	case bool:
		return strconv.FormatBool(v), nil
	case time.Time:
		return v.Format("2006-01-02 15:04:05"), nil
	}
	return "", fmt.Errorf("query gave a %T, which is no text", v)
}

// Check asks for a key that is hardly there: any clean answer will do.
func (t *sqlTable) Check(ctx context.Context) ([]error, error) {
	_, _, err := t.Lookup(ctx, "postmaster")
	return nil, err
}
