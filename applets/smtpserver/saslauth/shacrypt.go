package saslauth

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"hash"
	"strconv"
	"strings"
)

// Parameters of crypt(3) with SHA-256 and SHA-512, as Ulrich Drepper's "Unix
// crypt using SHA-256 and SHA-512" has them.
const (
	shaRounds    = 5000
	minSHARounds = 1000
	maxSHARounds = 5_000_000 // the form allows 999,999,999, half an hour of work
	maxSHASalt   = 16
	maxSHAInput  = 512 // octets of a password; the work grows with their square
)

// parseSHACrypt reads $5$[rounds=N$]SALT$HASH or the same with $6$.
func parseSHACrypt(s string) (*Hash, error) {
	wide := s[1] == '6'
	rest := s[3:]
	rounds := shaRounds
	if text, ok := strings.CutPrefix(rest, "rounds="); ok {
		var n string
		n, rest, ok = strings.Cut(text, "$")
		v, err := strconv.ParseUint(n, 10, 32)
		if !ok || err != nil || v > maxSHARounds {
			return nil, errHash
		}
		rounds = max(int(v), minSHARounds)
	}
	salt, want, ok := strings.Cut(rest, "$")
	length := 43
	if wide {
		length = 86
	}
	if !ok || len(salt) > maxSHASalt || len(want) != length {
		return nil, errHash
	}
	return &Hash{matches: func(password string) bool {
		if len(password) > maxSHAInput {
			return false
		}
		got := shaCrypt(wide, password, salt, rounds)
		return subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1
	}}, nil
}

// shaCrypt is the last part of the hash.
func shaCrypt(wide bool, password, salt string, rounds int) string {
	fresh := sha256.New
	if wide {
		fresh = sha512.New
	}
	pw, sa := []byte(password), []byte(salt)
	a := sum(fresh, pw, sa, spread(sum(fresh, pw, sa, pw), len(pw)), bitMix(pw, sum(fresh, pw, sa, pw)))
	p := spread(repeated(fresh, pw, len(pw)), len(pw))
	s := spread(repeated(fresh, sa, 16+int(a[0])), len(sa))
	h := fresh()
	for i := range rounds {
		h.Reset()
		first, last := a, p
		if i%2 == 1 {
			first, last = p, a
		}
		h.Write(first)
		if i%3 != 0 {
			h.Write(s)
		}
		if i%7 != 0 {
			h.Write(p)
		}
		h.Write(last)
		a = h.Sum(a[:0:0])
	}
	return encodeSHACrypt(a)
}

func sum(fresh func() hash.Hash, parts ...[]byte) []byte {
	h := fresh()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

func repeated(fresh func() hash.Hash, b []byte, times int) []byte {
	h := fresh()
	for range times {
		h.Write(b)
	}
	return h.Sum(nil)
}

// spread repeats b to n octets.
func spread(b []byte, n int) []byte {
	out := make([]byte, 0, n+len(b))
	for len(out) < n {
		out = append(out, b...)
	}
	return out[:n]
}

// bitMix is a piece for each bit of the length of the password, lowest first:
// the digest for a one, the password for a zero.
func bitMix(pw, digest []byte) []byte {
	var out []byte
	for n := len(pw); n > 0; n >>= 1 {
		if n&1 == 1 {
			out = append(out, digest...)
		} else {
			out = append(out, pw...)
		}
	}
	return out
}

// encodeSHACrypt takes the octets three by three in an order of its own: a third
// of the digest apart, turned by one place each time.
func encodeSHACrypt(d []byte) string {
	const digits = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var out []byte
	put := func(v uint32, n int) {
		for range n {
			out = append(out, digits[v&63])
			v >>= 6
		}
	}
	third := len(d) / 3
	x, y, z := 0, third, 2*third
	for range third {
		put(uint32(d[x])<<16|uint32(d[y])<<8|uint32(d[z]), 4)
		if len(d) == sha512.Size {
			x, y, z = y+1, z+1, x+1
		} else {
			x, y, z = z+1, x+1, y+1
		}
	}
	if len(d) == sha512.Size {
		put(uint32(d[63]), 2)
	} else {
		put(uint32(d[31])<<8|uint32(d[30]), 3)
	}
	return string(out)
}
