package hosts

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// localFiles are the files of this machine.
type localFiles struct {
	private []string
	sync    func(*os.File) error // of a file or directory; tests watch it
}

// Check implements [FileSystem].
func (l *localFiles) Check(ctx context.Context, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.allow(path)
}

// RealDir implements [FileSystem].
func (l *localFiles) RealDir(_ context.Context, dir string) (string, error) {
	return filepath.EvalSymlinks(dir)
}

// Readlink implements [FileSystem].
func (l *localFiles) Readlink(_ context.Context, path string) (string, error) {
	return os.Readlink(path)
}

// OpenDir implements [FileSystem].
func (l *localFiles) OpenDir(ctx context.Context, dir string) (Dir, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return l.opening(root)
}

// opening is a directory to work in, unless it is private.
func (l *localFiles) opening(root *os.Root) (Dir, error) {
	at, err := root.Open(".")
	if err == nil {
		_, err = l.opened(root.Name(), at)
		_ = at.Close()
	}
	if err != nil {
		_ = root.Close()
		return nil, err
	}
	return &localDir{l, root}, nil
}

// localDir is a directory by its handle.
type localDir struct {
	*localFiles
	root *os.Root
}

func (d *localDir) path(name string) string { return filepath.Join(d.root.Name(), name) }

// Lstat implements [Dir].
func (d *localDir) Lstat(_ context.Context, name string) (Info, error) {
	info, err := d.root.Lstat(name)
	if err != nil {
		return Info{}, err
	}
	return infoOf(info), nil
}

func infoOf(info fs.FileInfo) Info {
	uid, gid := owner(info)
	return Info{Mode: info.Mode(), Size: info.Size(), UID: uid, GID: gid}
}

// Readlink implements [Dir].
func (d *localDir) Readlink(_ context.Context, name string) (string, error) {
	return d.root.Readlink(name)
}

// ReadFile implements [Dir]. Opening a FIFO would wait for its writer, and
// reading a device has effects: neither is opened to be read. Nor is what is
// private: when this process closes a database that it has open elsewhere, the
// locks on it are gone.
func (d *localDir) ReadFile(ctx context.Context, name string, limit int64) ([]byte, Info, error) {
	if err := ctx.Err(); err != nil {
		return nil, Info{}, err
	}
	path := d.path(name)
	before, err := d.root.Lstat(name)
	if err != nil {
		return nil, Info{}, err
	}
	own, err := d.own()
	if err != nil {
		return nil, Info{}, err
	}
	if err := own.refuses(path, before); err != nil {
		return nil, Info{}, err
	}
	if !before.Mode().IsRegular() {
		return nil, Info{}, Irregular(path, before.Mode())
	}
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, Info{}, err
	}
	defer f.Close()
	info, err := d.opened(path, f)
	if err != nil {
		return nil, Info{}, err
	}
	if !info.Mode().IsRegular() { // it was replaced meanwhile
		return nil, Info{}, Irregular(path, info.Mode())
	}
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, Info{}, err
	}
	if int64(len(content)) > limit {
		return nil, Info{}, TooLarge(path, limit)
	}
	return content, infoOf(info), nil
}

// List implements [Dir].
func (d *localDir) List(context.Context) ([]string, error) {
	at, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer at.Close()
	names, err := at.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// Frozen implements [Dir].
func (d *localDir) Frozen(_ context.Context, name string) error { return frozen(d.path(name)) }

// Access implements [Dir].
func (d *localDir) Access(_ context.Context, name string) error {
	path, op, bits := d.path(name), "write", uint32(2) // W_OK
	if name == "." {
		op, bits = "write in", 2|1 // and X_OK
	}
	if err := syscall.Access(path, bits); err != nil {
		return &fs.PathError{Op: op, Path: path, Err: err}
	}
	return nil
}

// Write implements [Dir].
func (d *localDir) Write(_ context.Context, name string, n NewFile) (err error) {
	f, err := newFile(d.root, name)
	if err != nil {
		return err
	}
	defer func() {
		closed := f.Close()
		if err == nil {
			err = closed
		}
	}()
	if _, err := f.Write(n.Content); err != nil {
		return err
	}
	if n.Like != "" {
		err = likeOld(f, d.path(n.Like))
	} else if err = d.giveAway(f); err == nil {
		err = f.Chmod(n.Mode)
	}
	if err != nil {
		return err
	}
	return d.sync(f)
}

// newFile makes a file that was not there, for its owner alone.
func newFile(in *os.Root, name string) (*os.File, error) {
	return in.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// Mkdir implements [Dir].
func (d *localDir) Mkdir(_ context.Context, name string, mode fs.FileMode) error {
	if err := d.root.Mkdir(name, 0o700); err != nil {
		return err
	}
	made, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer made.Close()
	if err := d.giveAway(made); err != nil {
		return err
	}
	return made.Chmod(mode)
}

// giveAway gives what is new to the owner of the directory that it is in: a
// control plane that runs as root would otherwise lock the application out.
// Whoever may not give files away keeps them.
func (d *localDir) giveAway(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	dir, err := d.root.Stat(".")
	if err != nil {
		return err
	}
	uid, gid := owner(dir)
	return f.Chown(uid, gid)
}

// Symlink implements [Dir].
func (d *localDir) Symlink(_ context.Context, to, name string) error { return d.root.Symlink(to, name) }

// Rename implements [Dir].
func (d *localDir) Rename(_ context.Context, from, to string) error { return d.root.Rename(from, to) }

// Remove implements [Dir].
func (d *localDir) Remove(_ context.Context, name string) error { return d.root.Remove(name) }

// Open implements [Dir].
func (d *localDir) Open(_ context.Context, name string) (Dir, error) {
	info, err := d.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	in, err := d.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	// It is no link, and did not become one.
	if now, err := in.Stat("."); err != nil || !os.SameFile(info, now) {
		_ = in.Close()
		return nil, errors.Join(err, &fs.PathError{Op: "open", Path: d.path(name), Err: syscall.ELOOP})
	}
	return d.opening(in)
}

// Sync implements [Dir].
func (d *localDir) Sync(context.Context) error {
	at, err := d.root.Open(".")
	if err != nil {
		return err
	}
	defer at.Close()
	if err := d.sync(at); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err // some file systems have no such thing
	}
	return nil
}

// Close implements [Dir].
func (d *localDir) Close() error { return d.root.Close() }
