package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"zmailer/spool/disk"
)

// The directories below POSTOFFICE; doc.go says which files live in which.
const (
	PublicDir    = "public"
	RouterDir    = "router"
	QueueDir     = "queue"
	TransportDir = "transport"
	DeferredDir  = "deferred"
	FreezerDir   = "freezer"
	PostmanDir   = "postman"
	JournalDir   = "journal"
	PoolDir      = "pool"
	RunDir       = "run"        // pid files and sockets
	ServerDir    = "smtpserver" // what the SMTP server remembers: greylisting
)

// A Dir is one row of the table of directories.
type Dir struct {
	Name   string
	Hashed bool        // has one sub-directory for each of HashDirs
	Mode   fs.FileMode // in a system instance; an instance of an ordinary user keeps others out
	Shared bool        // written by every local user: sticky and not listable
	Server bool        // belongs to the user that the SMTP server becomes
}

// Dirs is the only list of the spool's directories, their owners' rights and modes.
var Dirs = []Dir{
	{Name: PublicDir, Mode: 0o1733, Shared: true},
	{Name: RouterDir, Mode: 0o1733, Shared: true},
	{Name: QueueDir, Mode: 0o750, Hashed: true},
	{Name: TransportDir, Mode: 0o750, Hashed: true},
	{Name: DeferredDir, Mode: 0o750},
	{Name: FreezerDir, Mode: 0o750},
	{Name: PostmanDir, Mode: 0o750},
	{Name: JournalDir, Mode: 0o750, Server: true},
	{Name: ServerDir, Mode: 0o750, Server: true},
	{Name: PoolDir, Mode: 0o700},
	{Name: RunDir, Mode: 0o755},
}

// A Spool is a POSTOFFICE directory. It is safe for concurrent use.
type Spool struct {
	Root string

	// Journal makes small messages durable in groups; without one each message is
	// synced as a file of its own. Set before the first submission.
	Journal Journal
	// Disk is what changes the file system; nil is disk.OS.
	Disk disk.Disk
	pool pool // of control files, for the router's use

	// OnFinish, if set, is told of each message before Finish removes its files.
	OnFinish func(ID)
	// WasFinished, if set, knows what OnFinish was told, for Recover.
	WasFinished func(ID) bool

	// NoSync gives up the promise of surviving a power cut (SPOOLSYNC=none).
	NoSync bool
}

// ErrNoSpool means that the POSTOFFICE is not there or not set up.
var ErrNoSpool = errors.New("not a spool directory (run install.sh or zmailer init to create it)")

// Open checks that root is a spool and returns it.
func Open(root string) (*Spool, error) {
	if !filepath.IsAbs(root) {
		return nil, fmt.Errorf("POSTOFFICE %q: must be an absolute path", root)
	}
	for _, d := range []string{PublicDir, RouterDir} {
		if st, err := os.Stat(filepath.Join(root, d)); err != nil {
			return nil, fmt.Errorf("POSTOFFICE %s: %w: %w", root, ErrNoSpool, err)
		} else if !st.IsDir() {
			return nil, fmt.Errorf("POSTOFFICE %s: %s: %w", root, d, ErrNoSpool)
		}
	}
	if _, err := ReadVersion(root); err != nil {
		return nil, fmt.Errorf("POSTOFFICE %s: %w", root, err)
	}
	return &Spool{Root: root}, nil
}

// Create makes the directories of Dirs below root, with the modes of a system
// instance when system is set. Existing directories get the right mode and keep
// their content.
func Create(root string, system bool) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	if err := makeVersion(root); err != nil {
		return fmt.Errorf("POSTOFFICE %s: %w", root, err)
	}
	for _, d := range Dirs {
		mode := d.Mode
		if !system {
			mode = 0o700
		}
		if err := makeDir(filepath.Join(root, d.Name), mode); err != nil {
			return err
		}
		if !d.Hashed {
			continue
		}
		for _, h := range HashDirs() {
			if err := makeDir(filepath.Join(root, d.Name, h), mode); err != nil {
				return err
			}
		}
	}
	return nil
}

func makeDir(path string, mode fs.FileMode) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	full := mode & fs.ModePerm
	if mode&0o1000 != 0 {
		full |= fs.ModeSticky
	}
	return os.Chmod(path, full)
}

// Path returns the path of the message's file in an unhashed directory
// (RouterDir, DeferredDir, FreezerDir, PostmanDir).
func (s *Spool) Path(dir string, id ID) string {
	return s.Root + "/" + dir + "/" + string(id)
}

// QueuePath is the message file of a routed message.
func (s *Spool) QueuePath(id ID) string {
	return s.Root + "/" + QueueDir + "/" + id.Hash() + "/" + string(id)
}

// ControlPath is the control file of a routed message.
func (s *Spool) ControlPath(id ID) string {
	return s.Root + "/" + TransportDir + "/" + id.Hash() + "/" + string(id)
}

// RouterSocket is the socket in the run directory on which the router answers the
// SMTP server's questions about addresses.
const RouterSocket = "router.sock"

// RunPath is a file in the run directory: a pid file or a socket.
func (s *Spool) RunPath(name string) string { return s.Root + "/" + RunDir + "/" + name }

func (s *Spool) disk() disk.Disk {
	if s.Disk != nil {
		return s.Disk
	}
	return disk.OS
}
