package relations

import (
	"context"
	"fmt"
)

// Redis sends a command to the server of a table of type redis, over the table's
// connections: what the hosts of a fleet count together is kept there. found is
// false for the null answer. A command may be sent twice when a connection breaks.
func (r *Relation) Redis(ctx context.Context, words ...string) (value string, found bool, err error) {
	t, ok := r.table.(*redisTable)
	if !ok {
		return "", false, fmt.Errorf("%s is no table of type redis", r.spec.Name)
	}
	return t.lookup(ctx, func(ctx context.Context, c *redisConn) (reply, error) { return c.command(ctx, words...) })
}

// IsRedis tells whether Redis can be called.
func (r *Relation) IsRedis() bool {
	_, ok := r.table.(*redisTable)
	return ok
}
