package journal

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
)

// maxKept bounds the segments that are kept: 512 megabytes. With more of them the
// disk is not one to take mail on.
const maxKept = 16

const keptSuffix = ".kept.seg"

func isKept(path string) bool { return strings.HasSuffix(path, keptSuffix) }

// anyKept says whether segments are kept, also if that cannot be found out.
func anyKept(dir string) bool {
	paths, err := filepath.Glob(filepath.Join(dir, "[0-9]*"+keptSuffix))
	return err != nil || len(paths) > 0
}

// keep sets a segment aside until another incarnation of the file system replays
// it: its messages may be durable nowhere else.
func (j *Journal) keep(seg *segment) error {
	path := seg.path
	if !isKept(path) {
		path = strings.TrimSuffix(path, ".seg") + keptSuffix
		if err := j.disk.Rename(seg.path, path); err != nil {
			return err
		}
		seg.path = path
	}
	if err := j.disk.SyncDir(j.dir); err != nil {
		return err
	}
	if err := seg.f.Close(); err != nil { // nothing was written since the last sync
		j.log.Error("close kept journal segment", "err", err)
	}
	j.segMu.Lock()
	j.kept++
	j.segMu.Unlock()
	j.alertFull()
	return nil
}

// alertFull says once that the bound is reached; the refused messages are logged each.
func (j *Journal) alertFull() {
	if err := j.mayGrow(); err != nil {
		j.log.Error("ALERT: no mail is taken until the spool's file system is mounted anew", "err", err)
	}
}

// mayGrow fails when so many segments are kept that no message may be taken. It
// is a full disk for those who ask.
func (j *Journal) mayGrow() error {
	j.segMu.Lock()
	n := j.kept
	j.segMu.Unlock()
	if n < maxKept {
		return nil
	}
	return fmt.Errorf("journal: %d segments kept after errors of the disk: %w", n, syscall.ENOSPC)
}
