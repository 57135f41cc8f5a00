package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// modules are what the kernel needs to see the disk, unless it has them built in.
var modules = []string{
	"virtio", "virtio_ring", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk",
	"crc16", "crc32c_generic", "libcrc32c", "mbcache", "jbd2", "ext4",
}

// writeInitrd writes the machine's first file system: a cpio archive ("newc") of
// the guest as /init, the mailer, and the modules of the kernel.
func writeInitrd(path, guest, mailer, moduleDir string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	a := &archive{w: w}
	for _, dir := range []string{"bin", "dev", "modules"} {
		a.add(dir, 0o40755, nil)
	}
	a.addFile("init", guest)
	a.addFile("bin/zmailer", mailer)
	for i, name := range modules {
		a.addModule(fmt.Sprintf("modules/%02d-%s", i, name), moduleDir, name)
	}
	a.add("TRAILER!!!", 0, nil)
	if a.err == nil {
		a.err = w.Flush()
	}
	if err := f.Close(); a.err == nil {
		a.err = err
	}
	return a.err
}

type archive struct {
	w   io.Writer
	n   int64
	ino int
	err error
}

func (a *archive) add(name string, mode int, data []byte) {
	a.ino++
	a.write(fmt.Appendf(nil, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name))
	a.write(data)
}

// write pads to a multiple of four.
func (a *archive) write(b []byte) {
	if a.err != nil {
		return
	}
	n, err := a.w.Write(append(b[:len(b):len(b)], make([]byte, -len(b)&3)...))
	a.n, a.err = a.n+int64(n), err
}

func (a *archive) addFile(name, path string) {
	b, err := os.ReadFile(path)
	if a.err == nil {
		a.err = err
	}
	a.add(name, 0o100755, b)
}

func (a *archive) addModule(name, dir, module string) {
	var found string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		base, _, _ := strings.Cut(filepath.Base(path), ".ko")
		if strings.ReplaceAll(base, "-", "_") == module && strings.Contains(path, ".ko") {
			found = path
		}
		return err
	})
	if a.err == nil {
		a.err = err
	}
	switch {
	case found == "" || a.err != nil:
		return // built into the kernel, or there will be no disk
	case strings.HasSuffix(found, ".xz"):
		b, err := exec.Command("xz", "-dc", found).Output()
		if a.err == nil {
			a.err = err
		}
		a.add(name, 0o100644, b)
	default:
		a.addFile(name, found)
	}
}
