package hosts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// What is private is known by what it is, not by what it is called: a link, a hard
// link, a mount or another spelling leads to the same inode.

// inode is a file or directory, under whatever name.
type inode struct{ dev, ino uint64 }

func inodeOf(info fs.FileInfo) (inode, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}, false
	}
	return inode{uint64(st.Dev), st.Ino}, true //nolint:unconvert // of another size on other systems
}

// ownFiles are the private directories with everything below them, as they are now,
// and the device of /proc, which shows processes, this one too.
type ownFiles struct {
	files map[inode]bool
	proc  uint64 // 0: there is none
}

func (l *localFiles) own() (ownFiles, error) {
	k := ownFiles{files: map[inode]bool{}}
	for _, name := range l.private {
		dir, err := filepath.EvalSymlinks(name)
		if err != nil {
			return k, fmt.Errorf("what is the server's own can't be told: %w", err)
		}
		err = filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
			var info fs.FileInfo
			if err == nil {
				info, err = e.Info()
			}
			switch {
			case at != dir && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)):
				return nil // removed meanwhile; or another's, such as a file system's lost+found
			case err != nil:
				return err
			}
			if i, ok := inodeOf(info); ok && info.Mode()&fs.ModeSymlink == 0 {
				k.files[i] = true
			}
			return nil
		})
		if err != nil {
			return k, fmt.Errorf("what is the server's own can't be told: %w", err)
		}
	}
	root, err := os.Stat("/")
	if err != nil {
		return k, err
	}
	if proc, err := os.Stat("/proc"); err == nil {
		above, _ := inodeOf(root)
		if i, ok := inodeOf(proc); ok && i.dev != above.dev {
			k.proc = i.dev
		}
	}
	return k, nil
}

// refuses says of something opened, or about to be, whether it is private.
func (k ownFiles) refuses(name string, info fs.FileInfo) error {
	if i, ok := inodeOf(info); ok && (k.files[i] || k.proc != 0 && i.dev == k.proc) {
		return fmt.Errorf("%s: %w", name, ErrPrivate)
	}
	return nil
}

// allow fails for what is private itself, or in a private directory. name has its
// links resolved, or is that of a directory.
func (l *localFiles) allow(name string) error {
	k, err := l.own()
	if err != nil {
		return err
	}
	for _, at := range []string{name, filepath.Dir(name)} {
		info, err := os.Stat(at)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return err
		}
		if err := k.refuses(name, info); err != nil {
			return err
		}
	}
	return nil
}

// opened is the last word: what the handle is of, whatever its name meant before.
func (l *localFiles) opened(name string, f interface{ Stat() (fs.FileInfo, error) }) (fs.FileInfo, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	k, err := l.own()
	if err != nil {
		return nil, err
	}
	return info, k.refuses(name, info)
}
