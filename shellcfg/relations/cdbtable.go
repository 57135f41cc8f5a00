package relations

import (
	"context"
	"os"
	"slices"

	"zmailer/shellcfg/internal/watch"
	"zmailer/shellcfg/relations/cdb"
)

// compiled is one version of a constant database.
type compiled struct {
	*cdb.Reader
	sources []made
}

func (c *compiled) stale() bool { return slices.ContainsFunc(c.sources, made.changed) }

type cdbTable struct {
	source[compiled]
}

// openCDB makes a table of a constant database, mapped into memory. It may
// come from BuildAliases, BuildText or any cdb tool.
func openCDB(o *opening) (Table, error) {
	log := o.logger()
	return &cdbTable{newSource(o, func(f *os.File, _ watch.State) (*compiled, error) {
		r, err := cdb.Map(f)
		if err != nil {
			return nil, err
		}
		c := &compiled{Reader: r}
		text, _, err := r.Get(sourceKey)
		if err != nil {
			return nil, err
		}
		if c.sources, err = parseSources(text); err != nil {
			return nil, err
		}
		if c.stale() {
			log.Warn("table is older than its source", "err", f.Name()+": must be made anew")
		}
		return c, nil
	})}, nil
}

func (t *cdbTable) Lookup(ctx context.Context, key string) (string, bool, error) {
	c, err := current(ctx, t.file)
	if err != nil {
		return "", false, err
	}
	return c.Get(key)
}

// Check reads every record.
func (t *cdbTable) Check(context.Context) ([]error, error) {
	c, err := t.file.Check()
	if err != nil {
		return nil, err
	}
	return nil, c.Each(func(key, val []byte) error { return nil })
}

func (t *cdbTable) Len(ctx context.Context) (int, error) {
	c, err := current(ctx, t.file)
	if err != nil {
		return 0, err
	}
	if len(c.sources) > 0 {
		return c.Reader.Len() - 1, nil
	}
	return c.Reader.Len(), nil
}

func (t *cdbTable) Each(ctx context.Context, f func(Entry) error) error {
	c, err := current(ctx, t.file)
	if err != nil {
		return err
	}
	return c.Reader.Each(func(key, val []byte) error {
		if string(key) == sourceKey {
			return nil
		}
		return f(Entry{Key: string(key), Value: string(val)})
	})
}

func (t *cdbTable) Stale() bool {
	c, err := t.file.Get()
	return err == nil && c.stale()
}
