package relations

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// postgres asks a PostgreSQL server. The key travels as a parameter, in one
// round trip with the query, so that poolers between us and the server need to
// know nothing of us. The answer is the first column of all rows, a line each;
// NULL is no row.
type postgres struct {
	*pool[pgConn]
	sql    string
	params []param
}

type pgConn struct{ *pgconn.PgConn }

// Close says good-bye, but not for long.
func (c pgConn) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return c.PgConn.Close(ctx)
}

// openPostgres takes a connection string as libpq has it, or a URL. Passwords
// may also come from -o password-file and as libpq finds them.
func openPostgres(o *opening) (Table, error) {
	q, err := o.sqlQuery()
	if err != nil {
		return nil, err
	}
	cfg, err := pgconn.ParseConfig(o.File)
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["application_name"] = "zmailer"
	cfg.RuntimeParams["client_encoding"] = "UTF8"
	p, err := newPool(o, "postgres "+cfg.Host, func(ctx context.Context) (pgConn, error) {
		c := cfg.Copy()
		if pw, ok, err := o.password(); err != nil {
			return pgConn{}, err
		} else if ok {
			c.Password = pw
		}
		conn, err := pgconn.ConnectConfig(ctx, c)
		return pgConn{conn}, err
	})
	return &postgres{p, q.numbered(), q.params}, err
}

func (t *postgres) Lookup(ctx context.Context, key string) (string, bool, error) {
	if impossible(key) {
		return "", false, nil
	}
	return t.lookup(ctx, func(ctx context.Context, c pgConn) (reply, error) {
		args := make([][]byte, len(t.params))
		for i, p := range t.params {
			args[i] = []byte(p.of(key))
		}
		rows := c.ExecParams(ctx, t.sql, args, nil, nil, nil)
		var l lines
		var err error
		for err == nil && rows.NextRow() {
			if v := rows.Values(); len(v) > 0 && v[0] != nil {
				err = l.add(string(v[0]))
			}
		}
		if err != nil {
			return reply{}, err // the rest of the rows goes with the connection
		}
		_, err = rows.Close()
		return l.reply(), err
	})
}

// Check asks for a key that is hardly there: any clean answer will do.
func (t *postgres) Check(ctx context.Context) ([]error, error) {
	_, _, err := t.Lookup(ctx, "postmaster")
	return nil, err
}
