package hosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
)

// CheckReplace implements [Host].
func (f Files) CheckReplace(ctx context.Context, name string) error {
	return again(ctx, func(bool) error {
		p, err := f.at(ctx, name)
		if err != nil {
			return err
		}
		defer func() { _ = p.Close() }()
		if err := p.writable(ctx); err != nil {
			return err
		}
		if err := p.Frozen(ctx, "."); err != nil {
			return err
		}
		return p.Access(ctx, ".")
	})
}

// writable says whether the file's own mode allows a new content. A rename
// would not ask; whoever took the write bits away meant it.
func (p place) writable(ctx context.Context) error {
	info, err := p.Lstat(ctx, p.base)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode.IsRegular():
		return Irregular(p.name(), info.Mode)
	case info.Mode.Perm()&0o222 == 0:
		return fmt.Errorf("%s has mode %04o: %w", p.name(), info.Mode.Perm(), ErrReadOnly)
	}
	if err := p.Frozen(ctx, p.base); err != nil {
		return err
	}
	return p.Access(ctx, p.base)
}

// ReplaceFile implements [Host].
func (f Files) ReplaceFile(ctx context.Context, r Replacement) error {
	return again(ctx, func(repeated bool) error { return f.replace(ctx, r, repeated) })
}

func (f Files) replace(ctx context.Context, r Replacement, repeated bool) (err error) {
	p, err := f.at(ctx, r.Path)
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }()
	if repeated && p.unchanged(ctx, Sum(r.Content)) == nil {
		return p.Sync(ctx) // it was the answer that was lost
	}
	if err := p.writable(ctx); err != nil {
		return err
	}
	if err := p.Frozen(ctx, "."); err != nil {
		return err
	}
	if r.Temp == "" || filepath.Base(r.Temp) != r.Temp || r.Temp == p.base {
		return fmt.Errorf("%q is no name for a temporary file", r.Temp)
	}
	// What a crash left under this name is in the way of making it anew, which in
	// turn keeps a link that somebody put there from being written through.
	if err := p.Remove(ctx, r.Temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	renamed := false
	defer func() {
		if !renamed {
			err = errors.Join(err, p.discard(ctx, r.Temp))
		}
	}()
	file := NewFile{Content: r.Content, Mode: r.Mode}
	switch _, err := p.Lstat(ctx, p.base); {
	case err == nil:
		file.Like = p.base
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := p.Write(ctx, r.Temp, file); err != nil {
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
	if err := f.System.Check(ctx, p.name()); err != nil { // its path leads elsewhere by now
		return err
	}
	if err := p.unchanged(ctx, r.IfSum); err != nil {
		return err
	}
	if err := p.Rename(ctx, r.Temp, p.base); err != nil {
		return err
	}
	renamed = true
	return p.Sync(ctx)
}

// discard removes what was made and is not wanted, though ctx has ended. After a
// cut the next sweep does: what the old connection is still asked to do may
// be done yet.
func (p place) discard(ctx context.Context, name string) error {
	err := p.Remove(context.WithoutCancel(ctx), name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// unchanged compares the file with the content that it must have.
func (p place) unchanged(ctx context.Context, sum string) error {
	info, err := p.Lstat(ctx, p.base)
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
	content, _, err := p.ReadFile(ctx, p.base, info.Size)
	switch {
	case errors.Is(err, ErrTooLarge), err == nil && Sum(content) != sum:
		return ErrChanged
	case err != nil:
		return err
	}
	return nil
}

// RemoveFile implements [Host].
func (f Files) RemoveFile(ctx context.Context, name, ifSum string) error {
	return again(ctx, func(bool) error {
		p, err := f.at(ctx, name)
		if err != nil {
			return err
		}
		defer func() { _ = p.Close() }()
		if _, err := p.Lstat(ctx, p.base); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		for _, each := range []string{p.base, "."} {
			if err := p.Frozen(ctx, each); err != nil {
				return err
			}
		}
		if err := p.unchanged(ctx, ifSum); err != nil {
			return err
		}
		if err := p.Remove(ctx, p.base); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return p.Sync(ctx)
	})
}

// Sweep implements [Host].
func (f Files) Sweep(ctx context.Context, name, pattern string) error {
	return again(ctx, func(bool) error {
		name, err := f.follow(ctx, name)
		if err != nil {
			return err
		}
		if err := f.System.Check(ctx, filepath.Dir(name)); err != nil {
			return err
		}
		d, err := f.System.OpenDir(ctx, filepath.Dir(name))
		if err != nil {
			return err
		}
		defer func() { _ = d.Close() }()
		names, err := d.List(ctx)
		if err != nil {
			return err
		}
		for _, base := range names {
			match, err := path.Match(pattern, base)
			if err != nil {
				return err
			}
			if !match {
				continue
			}
			if info, err := d.Lstat(ctx, base); err != nil || info.Mode.IsDir() {
				continue
			}
			if err := d.Remove(ctx, base); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
}
