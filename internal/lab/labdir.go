package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const dirPattern = "zmlift-lab-*"

// A labDir is one lab's temporary directory. Its lock file is held as long as the owning process lives, so that the next
// lab can tell a directory in use from one whose owner was killed.
type labDir struct {
	path string
	lock *os.File
}

// makeLabDir makes a directory below parent and sweeps those that killed labs left there.
func makeLabDir(parent string) (*labDir, error) {
	if parent == "" {
		parent = defaultParent()
	}
	sweep(parent)
	path, err := os.MkdirTemp(parent, dirPattern)
	if err != nil {
		return nil, err
	}
	d := &labDir{path: path}
	// sshd's children and mariadbd may run under other uids than the directory's owner.
	if err := os.Chmod(path, 0o755); err != nil {
		return nil, errors.Join(err, d.remove())
	}
	d.lock, err = os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, errors.Join(err, d.remove())
	}
	if err := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), d.remove())
	}
	return d, nil
}

// defaultParent prefers memory: a database that is thrown away after the test has no business on a disk.
func defaultParent() string {
	const shm = "/dev/shm"
	if probe, err := os.MkdirTemp(shm, ".zmlift-probe-*"); err == nil {
		os.Remove(probe)
		return shm
	}
	return os.TempDir()
}

// sweep removes lab directories whose owner is gone. What cannot be removed is left to its owner.
func sweep(parent string) {
	stale, _ := filepath.Glob(filepath.Join(parent, dirPattern))
	for _, path := range stale {
		f, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR, 0)
		if err != nil {
			// Not ours, or between MkdirTemp and the lock; or something wrote there again after its lab had removed it.
			if fi, err := os.Stat(path); err == nil && time.Since(fi.ModTime()) > time.Hour {
				os.RemoveAll(path)
			}
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			os.RemoveAll(path)
		}
		f.Close()
	}
}

// remove removes the directory and gives up the lock. It may be repeated.
func (d *labDir) remove() error {
	err := os.RemoveAll(d.path)
	if d.lock != nil {
		d.lock.Close()
		d.lock = nil
	}
	return err
}
