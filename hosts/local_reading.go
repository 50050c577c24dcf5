package hosts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ReadFile implements [Host].
func (l *Local) ReadFile(ctx context.Context, name string, limit int64) (File, error) {
	if err := ctx.Err(); err != nil {
		return File{}, err
	}
	name, err := follow(name)
	if err != nil {
		return File{}, err
	}
	content, info, err := l.read(name, limit)
	if err != nil {
		return File{}, err
	}
	return File{Content: content, Mode: info.Mode().Perm()}, nil
}

// read reads a regular file. Opening a FIFO would wait for its writer, and
// reading a device has effects: neither is opened to be read. Nor is what is
// private: when this process closes a database that it has open elsewhere, the
// locks on it are gone.
func (l *Local) read(name string, limit int64) ([]byte, fs.FileInfo, error) {
	if err := l.allow(name); err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW|syscall.O_NOCTTY, 0)
	if err != nil {
		if info, statErr := os.Lstat(name); statErr == nil && !info.Mode().IsRegular() {
			return nil, nil, irregular(name, info) // a socket, say, can't even be opened
		}
		return nil, nil, err
	}
	defer f.Close()
	info, err := l.opened(name, f)
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, irregular(name, info)
	}
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, nil, err
	}
	if int64(len(content)) > limit {
		return nil, nil, fmt.Errorf("%s: more than %d bytes: %w", name, limit, ErrTooLarge)
	}
	return content, info, nil
}

func irregular(name string, info fs.FileInfo) error {
	what := "something special"
	switch m := info.Mode(); {
	case m.IsDir():
		what = "a directory"
	case m&fs.ModeNamedPipe != 0:
		what = "a FIFO"
	case m&fs.ModeSocket != 0:
		what = "a socket"
	case m&fs.ModeDevice != 0:
		what = "a device"
	}
	return fmt.Errorf("%s is %s: %w", name, what, ErrIrregular)
}

// ListDir implements [Host].
func (l *Local) ListDir(ctx context.Context, dir string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := l.allow(dir); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// follow resolves every symbolic link in name, the last one included even
// when what it names is not there yet. The directory must exist.
func follow(name string) (string, error) {
	if !filepath.IsAbs(name) {
		return "", fmt.Errorf("%s is not an absolute path", name)
	}
	for range 40 { // as many as the kernel follows
		dir, err := filepath.EvalSymlinks(filepath.Dir(name))
		if errors.Is(err, fs.ErrNotExist) {
			return "", &MissingError{leadsTo(filepath.Dir(name))}
		}
		if err != nil {
			return "", err
		}
		name = filepath.Join(dir, filepath.Base(name))
		link, err := os.Readlink(name)
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
