package shellcfg

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
)

// TrustedName is the name of the account that faces the network, TRUSTEDUSER, and
// whether zmailer.conf names it: the stock account need not exist.
func (c *Conf) TrustedName() (name string, given bool) {
	if name := c.Get("TRUSTEDUSER"); name != "" {
		return name, true
	}
	return "zmailer", false
}

// TrustedUser is the account that faces the network, TRUSTEDUSER. Where that is not
// set and the stock account does not exist, uid and gid are 0: root serves.
func (c *Conf) TrustedUser() (uid, gid int, err error) {
	name, given := c.TrustedName()
	u, err := user.Lookup(name)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) && !given {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("TRUSTEDUSER %s: %w", name, err)
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, fmt.Errorf("TRUSTEDUSER %s: uid %q", name, u.Uid)
	}
	if gid, err = strconv.Atoi(u.Gid); err != nil {
		return 0, 0, fmt.Errorf("TRUSTEDUSER %s: gid %q", name, u.Gid)
	}
	return uid, gid, nil
}

// TrustedGroups are the groups of that account, which may give it keys to read
// and sockets to use.
func (c *Conf) TrustedGroups() ([]int, error) {
	name, _ := c.TrustedName()
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("TRUSTEDUSER %s: %w", name, err)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("TRUSTEDUSER %s: %w", name, err)
	}
	groups := make([]int, len(ids))
	for i, id := range ids {
		if groups[i], err = strconv.Atoi(id); err != nil {
			return nil, fmt.Errorf("TRUSTEDUSER %s: gid %q", name, id)
		}
	}
	return groups, nil
}
