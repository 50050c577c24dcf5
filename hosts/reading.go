package hosts

import (
	"context"
	"fmt"
	"io/fs"
)

// ReadFile implements [Host].
func (f Files) ReadFile(ctx context.Context, name string, limit int64) (file File, err error) {
	err = again(ctx, func(bool) error {
		p, err := f.at(ctx, name)
		if err != nil {
			return err
		}
		defer func() { _ = p.Close() }()
		content, info, err := p.ReadFile(ctx, p.base, limit)
		file = File{Content: content, Mode: info.Mode.Perm()}
		return err
	})
	if err != nil {
		return File{}, err
	}
	return file, nil
}

// ListDir implements [Host].
func (f Files) ListDir(ctx context.Context, dir string) (names []string, err error) {
	err = again(ctx, func(bool) error {
		if err := f.System.Check(ctx, dir); err != nil {
			return err
		}
		d, err := f.System.OpenDir(ctx, dir)
		if err != nil {
			return err
		}
		defer func() { _ = d.Close() }()
		names, err = d.List(ctx)
		return err
	})
	return names, err
}

// Irregular is an ErrIrregular that says what there is instead of a file.
func Irregular(name string, mode fs.FileMode) error {
	what := "something special"
	switch {
	case mode.IsDir():
		what = "a directory"
	case mode&fs.ModeNamedPipe != 0:
		what = "a FIFO"
	case mode&fs.ModeSocket != 0:
		what = "a socket"
	case mode&fs.ModeDevice != 0:
		what = "a device"
	}
	return fmt.Errorf("%s is %s: %w", name, what, ErrIrregular)
}

// TooLarge is an ErrTooLarge of that file.
func TooLarge(name string, limit int64) error {
	return fmt.Errorf("%s: more than %d bytes: %w", name, limit, ErrTooLarge)
}
