package mailauth

import "io"

// CRLF gives the lines of r the ends that they had on the wire.
func CRLF(r io.Reader) io.Reader { return &crlf{r: r} }
