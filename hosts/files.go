package hosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
)

// FileSystem is the files of a machine: the few things that are done otherwise
// there than elsewhere. [Files] makes of it what a [Host] does with files. Paths
// are absolute.
type FileSystem interface {
	// Check is ErrPrivate when what path leads to, or the directory that it is in,
	// is the control plane's own.
	Check(ctx context.Context, path string) error
	// RealDir is the path of a directory with its links resolved.
	RealDir(ctx context.Context, dir string) (string, error)
	// Readlink is where a link leads; syscall.EINVAL of what is none.
	Readlink(ctx context.Context, path string) (string, error)
	// OpenDir opens a directory to work in.
	OpenDir(ctx context.Context, dir string) (Dir, error)
	// LockDir waits for the lock of a directory. It leaves no file behind, and ends
	// with the process.
	LockDir(ctx context.Context, dir string) (unlock func(), err error)
}

// Dir is an open directory. Where the machine has handles, what is done in it is
// done in the one that was opened, whatever its path comes to mean. Names are
// those of what is in it, without a slash; but for Open and ReadFile no link is
// followed, and those fail at one.
type Dir interface {
	Lstat(ctx context.Context, name string) (Info, error)
	Readlink(ctx context.Context, name string) (string, error)
	// ReadFile reads a regular file of at most limit bytes, and never waits for
	// who writes it: ErrIrregular, ErrTooLarge, ErrPrivate.
	ReadFile(ctx context.Context, name string, limit int64) ([]byte, Info, error)
	// List names what is there, sorted.
	List(ctx context.Context) ([]string, error)
	// Frozen is a [FrozenError] where not even its owner may change what has that
	// name; "." is the directory. Where that is only seen by trying, it is nil.
	Frozen(ctx context.Context, name string) error
	// Access says whether what has that name may be written by its mode; "." is the
	// directory, and whether something may be made in it.
	Access(ctx context.Context, name string) error
	// Write makes a file that is not there, durably. Whoever the file is not for
	// can read it at no time.
	Write(ctx context.Context, name string, f NewFile) error
	// Mkdir makes a directory that belongs to whom this one does, where this
	// process may give it away.
	Mkdir(ctx context.Context, name string, mode fs.FileMode) error
	Symlink(ctx context.Context, to, name string) error
	// Rename replaces what has the new name.
	Rename(ctx context.Context, from, to string) error
	// Remove removes a file, a link or an empty directory.
	Remove(ctx context.Context, name string) error
	// Open opens a directory in this one.
	Open(ctx context.Context, name string) (Dir, error)
	// Sync makes renames and removals in it survive a power cut.
	Sync(ctx context.Context) error
	Close() error
}

// Info is what a file is.
type Info struct {
	Mode     fs.FileMode // its type, and its permission bits
	Size     int64
	UID, GID int
}

// NewFile is a file to be made.
type NewFile struct {
	Content []byte
	// Like is the name of the file in the same directory that the new one gets the
	// owner, mode and extended attributes of, or ErrOwner. "" for none: it belongs
	// to whom the directory does where this process may give files away, and has
	// the mode.
	Like string
	Mode fs.FileMode
}

// ErrCut is of a connection to a machine that ended while something was done there,
// so that nobody knows whether it was.
var ErrCut = errors.New("the connection to the host was cut")

// Files does what a [Host] does with files. What is hard about it is done here,
// for every machine; each method may be called again after any failure, and does
// that itself when a connection was cut.
type Files struct{ System FileSystem }

// attempts is how often something is done whose connection is cut each time.
const attempts = 3

// again does something until it was not cut.
func again(ctx context.Context, do func(repeated bool) error) error {
	var err error
	for attempt := range attempts {
		if err = ctx.Err(); err != nil {
			return err
		}
		if err = do(attempt > 0); !errors.Is(err, ErrCut) {
			return err
		}
	}
	return err
}

// place is a name in an open directory.
type place struct {
	Dir
	dir, base string // the directory's path, its links resolved; the name in it
}

func (p place) name() string { return filepath.Join(p.dir, p.base) }

// at opens the directory of what name leads to, its links followed, unless that is
// private.
func (f Files) at(ctx context.Context, name string) (place, error) {
	name, err := f.follow(ctx, name)
	if err != nil {
		return place{}, err
	}
	return f.beside(ctx, name)
}

// beside opens the directory that name is in, unless it is private.
func (f Files) beside(ctx context.Context, name string) (place, error) {
	if !filepath.IsAbs(name) {
		return place{}, fmt.Errorf("%s is not an absolute path", name)
	}
	if err := f.System.Check(ctx, name); err != nil {
		return place{}, err
	}
	p := place{dir: filepath.Dir(name), base: filepath.Base(name)}
	var err error
	p.Dir, err = f.System.OpenDir(ctx, p.dir)
	return p, err
}

// CheckPath implements [Host].
func (f Files) CheckPath(ctx context.Context, name string) error {
	return again(ctx, func(bool) error {
		resolved, err := f.follow(ctx, name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			return nil // what it is in is not there
		}
		if err != nil {
			return err
		}
		return f.System.Check(ctx, resolved)
	})
}

// Lock implements [Host].
func (f Files) Lock(ctx context.Context, name string) (unlock func(), err error) {
	err = again(ctx, func(bool) error {
		resolved, err := f.follow(ctx, name)
		if err != nil {
			return err
		}
		unlock, err = f.System.LockDir(ctx, filepath.Dir(resolved))
		return err
	})
	return unlock, err
}

// maxLinks is as many as the kernel follows.
const maxLinks = 40

// follow resolves every symbolic link in name, the last one included even
// when what it names is not there yet. The directory must exist.
func (f Files) follow(ctx context.Context, name string) (string, error) {
	if !filepath.IsAbs(name) {
		return "", fmt.Errorf("%s is not an absolute path", name)
	}
	for range maxLinks {
		dir, err := f.System.RealDir(ctx, filepath.Dir(name))
		if errors.Is(err, fs.ErrNotExist) {
			return "", &MissingError{f.leadsTo(ctx, filepath.Dir(name))}
		}
		if err != nil {
			return "", err
		}
		name = filepath.Join(dir, filepath.Base(name))
		link, err := f.System.Readlink(ctx, name)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EINVAL): // nothing, or no link
			return name, nil
		case err != nil:
			return "", err
		case filepath.IsAbs(link):
			name = link
		default:
			name = filepath.Join(dir, link)
		}
	}
	return "", &fs.PathError{Op: "open", Path: name, Err: syscall.ELOOP}
}

// leadsTo is where name is, its links followed whether what they name is there or
// not.
func (f Files) leadsTo(ctx context.Context, name string) string {
	at, rest := "/", strings.Split(filepath.Clean(name), "/")
	for links := 0; len(rest) > 0; {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		link, err := f.System.Readlink(ctx, next)
		if err != nil || links == maxLinks {
			at = next
			continue
		}
		links++
		if filepath.IsAbs(link) {
			at = "/"
		}
		rest = append(strings.Split(filepath.Clean(link), "/"), rest...)
	}
	return at
}

// removeAll removes what has that name, and everything below it. Absent is success.
func removeAll(ctx context.Context, d Dir, name string) error {
	info, err := d.Lstat(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode.IsDir() {
		if err := empty(ctx, d, name); err != nil {
			return err
		}
	}
	if err := d.Remove(ctx, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// empty removes what is in the directory of that name.
func empty(ctx context.Context, d Dir, name string) error {
	in, err := d.Open(ctx, name)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	names, err := in.List(ctx)
	if err != nil {
		return err
	}
	for _, each := range names {
		if err := removeAll(ctx, in, each); err != nil {
			return err
		}
	}
	return nil
}
