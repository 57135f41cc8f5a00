package router

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"zmailer/shellcfg"
	"zmailer/shellcfg/users"
)

// trust knows whose files are believed under one zmailer.conf.
type trust struct {
	conf *shellcfg.Conf
	uids map[int]bool
}

// newTrust trusts root, the uid of this process, TRUSTEDUSER (zmailer) and the
// users and uids in TRUSTED.
func newTrust(conf *shellcfg.Conf, u *users.Users) (*trust, error) {
	t := &trust{conf: conf, uids: map[int]bool{0: true, os.Geteuid(): true}}
	server, _ := conf.TrustedName()
	if _, err := t.add(u, server); err != nil {
		return nil, err
	}
	for _, name := range strings.Fields(strings.ReplaceAll(conf.Get("TRUSTED"), ",", " ")) {
		found, err := t.add(u, name)
		if err != nil {
			return nil, err
		}
		if !found {
			return nil, fmt.Errorf("TRUSTED=%s: no user %s", conf.Get("TRUSTED"), name)
		}
	}
	return t, nil
}

func (t *trust) add(u *users.Users, name string) (found bool, err error) {
	if uid, err := strconv.Atoi(name); err == nil {
		t.uids[uid] = true
		return true, nil
	}
	user, found, err := u.Lookup(name)
	if found {
		t.uids[user.UID] = true
	}
	return found, err
}

func (t *trust) has(uid int) bool { return t.uids[uid] }

// trusts tells whether the files of uid are believed, as the zmailer.conf of now
// says. With one that names unknown users the last good one counts.
func (r *Router) trusts(uid int) bool {
	t := r.trust.Load()
	if conf := r.policy.Conf(); conf != t.conf {
		fresh, err := newTrust(conf, r.policy.Users())
		if err != nil {
			r.log.Error("trusted users stay as they were", "err", err)
			fresh = &trust{conf: conf, uids: t.uids}
		}
		r.trust.Store(fresh)
		t = fresh
	}
	return t.has(uid)
}
