package applets

import (
	"github.com/spf13/cobra"
)

// A Class groups programs in the help text.
type Class string

// The classes of programs.
const (
	Daemon Class = "Daemons"
	User   Class = "Programs of an existing installation"
	Agent  Class = "Transport agents"
	Admin  Class = "Administration"
)

// An Applet is one program.
type Applet struct {
	Name    string
	Aliases []string
	Class   Class
	Help    string
	Command func() *cobra.Command

	Submit  bool     // may run with effective ids that are not the real ones
	Links   []string // where the installer puts a link with the program's name, below the prefix
	Collect int      // garbage collector percentage, 0 for the default
}

// Table is the only list of programs: dispatch, help, the installer's links and
// the end-to-end tests all come from it.
var Table = []Applet{}
