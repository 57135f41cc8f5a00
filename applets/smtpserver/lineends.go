package smtpserver

import "io"

// lineEnds lets a local program speak with the line ends of UNIX, as "sendmail -bs"
// always could: if the first line ends with a bare LF, each one gets its CR. A program
// that begins with CR LF keeps to it. Nothing can be smuggled, for there is nobody
// between the program and us whose idea of a line could differ. Octets that were counted
// before the CRs came in would end elsewhere: such a session has no BDAT.
type lineEnds struct {
	src    io.Reader
	known  bool // how the first line ends
	strict bool // with CR LF
	last   byte
}

func (l *lineEnds) Read(p []byte) (int, error) {
	if l.strict || len(p) < 2 {
		return l.src.Read(p)
	}
	// Octets are read into the second half, so that there is room for a CR each.
	half := len(p) / 2
	n, err := l.src.Read(p[len(p)-half:])
	w := 0
	for _, c := range p[len(p)-half:][:n] {
		if c == '\n' && !l.known {
			l.known, l.strict = true, l.last == '\r'
		}
		if c == '\n' && !l.strict && l.last != '\r' {
			p[w] = '\r'
			w++
		}
		p[w] = c
		w++
		l.last = c
	}
	return w, err
}

// unix says that lines end with a bare LF. It may be asked of a nil lineEnds: that of a
// client on the network.
func (l *lineEnds) unix() bool { return l != nil && l.known && !l.strict }
