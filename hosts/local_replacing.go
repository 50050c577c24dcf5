package hosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
)

// changed is the path of what a change to name would change: what its links lead
// to, unless that is private.
func (l *Local) changed(ctx context.Context, name string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	name, err := follow(name)
	if err != nil {
		return "", err
	}
	return name, l.allow(name)
}

// CheckReplace implements [Host].
func (l *Local) CheckReplace(ctx context.Context, name string) error {
	name, err := l.changed(ctx, name)
	if err != nil {
		return err
	}
	if err := writable(name); err != nil {
		return err
	}
	dir := filepath.Dir(name)
	if err := frozen(dir); err != nil {
		return err
	}
	if err := syscall.Access(dir, 2|1); err != nil { // W_OK, X_OK
		return &fs.PathError{Op: "write in", Path: dir, Err: err}
	}
	return nil
}

// writable says whether the file's own mode allows a new content. A rename
// would not ask; whoever took the write bits away meant it.
func writable(name string) error {
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return irregular(name, info)
	case info.Mode().Perm()&0o222 == 0:
		return fmt.Errorf("%s has mode %04o: %w", name, info.Mode().Perm(), ErrReadOnly)
	}
	if err := frozen(name); err != nil {
		return err
	}
	if err := syscall.Access(name, 2); err != nil {
		return &fs.PathError{Op: "write", Path: name, Err: err}
	}
	return nil
}

// ReplaceFile implements [Host].
func (l *Local) ReplaceFile(ctx context.Context, r Replacement) (err error) {
	name, err := follow(r.Path)
	if err != nil {
		return err
	}
	if err := l.allow(name); err != nil {
		return err
	}
	if err := writable(name); err != nil {
		return err
	}
	dir, base := filepath.Split(name)
	if err := frozen(filepath.Dir(name)); err != nil {
		return err
	}
	if r.Temp == "" || filepath.Base(r.Temp) != r.Temp || r.Temp == base {
		return fmt.Errorf("%q is no name for a temporary file", r.Temp)
	}
	// From here on the directory is the one that was looked at, whatever its name
	// comes to mean.
	in, err := l.openDir(dir)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	// What a crash left under this name is in the way of O_EXCL, which in turn
	// keeps a link that somebody put there from being written through.
	if err := in.Remove(r.Temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := newTemp(in, r.Temp)
	if err != nil {
		return err
	}
	renamed := false
	defer func() {
		closed := f.Close()
		if err == nil {
			err = closed
		}
		if !renamed {
			err = errors.Join(err, in.Remove(r.Temp))
		}
	}()
	if _, err := f.Write(r.Content); err != nil {
		return err
	}
	if err := likeOld(f, name, r.Mode); err != nil {
		return err
	}
	if err := l.sync(f); err != nil {
		return err
	}
	if r.Ready != nil {
		if err := r.Ready(ctx); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := l.unchanged(name, r.IfSum); err != nil {
		return err
	}
	if err := in.Rename(r.Temp, base); err != nil {
		return err
	}
	renamed = true
	return l.syncDir(dir)
}

// unchanged compares name with the content that it must have.
func (l *Local) unchanged(name, sum string) error {
	info, err := os.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if sum != "" {
			return ErrChanged
		}
		return nil
	case err != nil:
		return err
	case sum == "":
		return ErrChanged
	}
	content, _, err := l.read(name, info.Size())
	switch {
	case errors.Is(err, ErrTooLarge), err == nil && Sum(content) != sum:
		return ErrChanged
	case err != nil:
		return err
	}
	return nil
}

// RemoveFile implements [Host].
func (l *Local) RemoveFile(ctx context.Context, name, ifSum string) error {
	name, err := l.changed(ctx, name)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, at := range []string{name, filepath.Dir(name)} {
		if err := frozen(at); err != nil {
			return err
		}
	}
	in, err := l.openDir(filepath.Dir(name)) // the one that was looked at, as in ReplaceFile
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	if err := l.unchanged(name, ifSum); err != nil {
		return err
	}
	if err := in.Remove(filepath.Base(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return l.syncDir(filepath.Dir(name))
}

// Sweep implements [Host].
func (l *Local) Sweep(ctx context.Context, name, pattern string) error {
	name, err := follow(name)
	if err != nil {
		return err
	}
	names, err := l.ListDir(ctx, filepath.Dir(name))
	if err != nil {
		return err
	}
	for _, base := range names {
		match, err := path.Match(pattern, base)
		if err != nil {
			return err
		}
		left := filepath.Join(filepath.Dir(name), base)
		if info, err := os.Lstat(left); !match || err != nil || info.IsDir() {
			continue
		}
		if err := os.Remove(left); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// newTemp makes a file that was not there, for its owner alone.
func newTemp(in *os.Root, name string) (*os.File, error) {
	return in.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// openDir opens a directory to work in.
func (l *Local) openDir(dir string) (*os.Root, error) {
	in, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	at, err := in.Open(".")
	if err == nil {
		_, err = l.opened(dir, at)
		_ = at.Close()
	}
	if err != nil {
		_ = in.Close()
		return nil, err
	}
	return in, nil
}

// syncDir makes a rename or removal in dir survive a power cut.
func (l *Local) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := l.sync(d); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err // some file systems have no such thing
	}
	return nil
}
