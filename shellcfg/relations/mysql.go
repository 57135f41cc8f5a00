package relations

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"github.com/go-sql-driver/mysql"
)

// openMySQL takes USER@tcp(HOST:PORT)/DATABASE or USER@unix(SOCKET)/DATABASE,
// as the driver has it. The password is best in a file: -o password-file.
func openMySQL(o *opening) (Table, error) {
	q, err := o.sqlQuery()
	if err != nil {
		return nil, err
	}
	cfg, err := mysql.ParseDSN(o.File)
	if err != nil {
		return nil, err
	}
	// Whatever the string says: no files of this host for the server, one
	// statement a query, and the text is the server's business, not ours.
	cfg.AllowAllFiles, cfg.MultiStatements, cfg.InterpolateParams, cfg.ParseTime = false, false, false, false
	if err := mysqlTLS(o, cfg); err != nil {
		return nil, err
	}
	cfg.MaxAllowedPacket = 2 * maxValue
	cfg.Logger = mysqlLog{o.logger()}
	t := &sqlTable{params: q.params}
	t.pool, err = newPool(o, "mysql "+cfg.Addr, func(ctx context.Context) (*sqlConn, error) {
		c := cfg.Clone()
		if pw, ok, err := o.password(); err != nil {
			return nil, err
		} else if ok {
			c.Passwd = pw
		}
		connector, err := mysql.NewConnector(c)
		if err != nil {
			return nil, err
		}
		conn, err := connector.Connect(ctx)
		if err != nil {
			return nil, err
		}
		return prepare(ctx, conn, q.questioned())
	})
	return t, err
}

// mysqlTLS verifies the server with -o ca, which also says that TLS is wanted.
func mysqlTLS(o *opening, cfg *mysql.Config) error {
	if o.Options["ca"] == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(cfg.Addr)
	if err != nil || cfg.Net == "unix" {
		return errors.New("-o ca is for USER@tcp(HOST:PORT)/DATABASE")
	}
	if cfg.TLSConfig != "" && cfg.TLSConfig != "true" {
		return fmt.Errorf("-o ca with tls=%s: the certificate would not be verified", cfg.TLSConfig)
	}
	cfg.TLS, err = o.tlsConfig(host)
	return err
}

// mysqlLog takes what the driver would print on standard error. All of it is
// in the error of a lookup too.
type mysqlLog struct{ *slog.Logger }

func (l mysqlLog) Print(v ...any) { l.Debug("table", "err", v) }
