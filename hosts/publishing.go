package hosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// ReadPublished implements [Host].
func (f Files) ReadPublished(ctx context.Context, dir string, limit int64) (published Published, err error) {
	err = again(ctx, func(bool) error {
		published, err = f.readPublished(ctx, dir, limit)
		return err
	})
	return published, err
}

func (f Files) readPublished(ctx context.Context, dir string, limit int64) (Published, error) {
	at, err := f.beside(ctx, dir)
	if err != nil {
		return Published{}, err
	}
	defer func() { _ = at.Close() }()
	in, link, err := at.published(ctx)
	if err != nil {
		return Published{}, err
	}
	defer func() { _ = in.Close() }()
	tag, generation, ok := parseDataName(link)
	if !ok {
		return Published{}, fmt.Errorf("%s: %w", dir, ErrForeign)
	}
	p := Published{Tag: tag, Generation: generation, Files: map[string][]byte{}}
	data, err := in.Open(ctx, link)
	if err != nil {
		return Published{}, err
	}
	defer func() { _ = data.Close() }()
	names, err := data.List(ctx)
	if err != nil {
		return Published{}, err
	}
	for _, name := range names {
		content, _, err := data.ReadFile(ctx, name, limit)
		if err != nil {
			return Published{}, err
		}
		if limit -= int64(len(content)); limit < 0 {
			return Published{}, fmt.Errorf("%s: %w", dir, ErrTooLarge)
		}
		p.Files[name] = content
	}
	return p, nil
}

// published opens the directory, and says what its data link says; ErrForeign when
// there is something that has none.
func (p place) published(ctx context.Context) (Dir, string, error) {
	info, err := p.Lstat(ctx, p.base)
	if err != nil {
		return nil, "", err
	}
	if !info.Mode.IsDir() {
		return nil, "", fmt.Errorf("%s: %w", p.name(), ErrForeign)
	}
	in, err := p.Open(ctx, p.base)
	if err != nil {
		return nil, "", err
	}
	link, err := in.Readlink(ctx, dataLink)
	if err != nil {
		_ = in.Close()
		if errors.Is(err, ErrCut) {
			return nil, "", err
		}
		return nil, "", fmt.Errorf("%s: %w", p.name(), ErrForeign)
	}
	return in, link, nil
}

// ours fails with ErrForeign unless the directory was published under that tag.
func (p place) ours(ctx context.Context, tag string) error {
	in, link, err := p.published(ctx)
	if err != nil {
		return err
	}
	_ = in.Close()
	if !taggedAs(link, tag) {
		return fmt.Errorf("%s: %w", p.name(), ErrForeign)
	}
	return nil
}

// PublishDir implements [Host].
func (f Files) PublishDir(ctx context.Context, dir string, p Published) error {
	return again(ctx, func(bool) error { return f.publish(ctx, dir, p) })
}

func (f Files) publish(ctx context.Context, dir string, p Published) error {
	at, err := f.beside(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { _ = at.Close() }()
	if err := p.check(); err != nil {
		return err
	}
	stage := stageName(at.base, p.Tag)
	if err := removeAll(ctx, at, stage); err != nil {
		return err
	}
	err = at.ours(ctx, p.Tag)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// All of it is made beside, under a name that readers pass over.
		err = fill(ctx, at, stage, p)
		if err == nil {
			err = at.Rename(ctx, stage, at.base)
		}
		if err != nil {
			return errors.Join(err, removeAll(context.WithoutCancel(ctx), at, stage))
		}
		return at.Sync(ctx)
	case err != nil:
		return err
	}
	return fill(ctx, at, at.base, p)
}

// fill gives the directory of that name the files of p, and takes away what an
// earlier publication or a crash left in it.
func fill(ctx context.Context, at Dir, name string, p Published) error {
	dirMode := p.Mode | p.Mode&0o444>>2
	if err := at.Mkdir(ctx, name, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	d, err := at.Open(ctx, name)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	data := p.dataName()
	current, err := d.Readlink(ctx, dataLink)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if current != data { // else the files are there and right
		if err := writeData(ctx, d, data, p, dirMode); err != nil {
			return errors.Join(err, removeAll(context.WithoutCancel(ctx), d, data))
		}
		const next = dataLink + "_tmp"
		if err := removeAll(ctx, d, next); err != nil {
			return err
		}
		if err := d.Symlink(ctx, data, next); err != nil {
			return err
		}
		if err := d.Rename(ctx, next, dataLink); err != nil {
			return errors.Join(err, d.Remove(context.WithoutCancel(ctx), next))
		}
	}
	for name := range p.Files {
		err := d.Symlink(ctx, filepath.Join(dataLink, name), name)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	names, err := d.List(ctx)
	if err != nil {
		return err
	}
	for _, each := range names {
		stale, err := p.stale(ctx, d, each)
		if err != nil {
			return err
		}
		if !stale {
			continue
		}
		if err := removeAll(ctx, d, each); err != nil {
			return err
		}
	}
	return d.Sync(ctx)
}

// stale reports whether something in the directory of p is what an earlier
// publication left.
func (p Published) stale(ctx context.Context, d Dir, name string) (bool, error) {
	if name == dataLink+"_tmp" {
		return true, nil
	}
	info, err := d.Lstat(ctx, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case info.Mode.IsDir():
		tag, _, ours := parseDataName(name)
		return ours && tag == p.Tag && name != p.dataName(), nil
	case info.Mode&fs.ModeSymlink != 0:
		if _, wanted := p.Files[name]; wanted {
			return false, nil
		}
		link, err := d.Readlink(ctx, name)
		return link == filepath.Join(dataLink, name), err
	}
	return false, nil
}

func writeData(ctx context.Context, at Dir, name string, p Published, mode fs.FileMode) error {
	if err := removeAll(ctx, at, name); err != nil { // of a crash
		return err
	}
	if err := at.Mkdir(ctx, name, mode); err != nil {
		return err
	}
	d, err := at.Open(ctx, name)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	for file, content := range p.Files {
		if err := d.Write(ctx, file, NewFile{Content: content, Mode: p.Mode}); err != nil {
			return err
		}
	}
	return d.Sync(ctx)
}

// WithdrawDir implements [Host].
func (f Files) WithdrawDir(ctx context.Context, dir, tag string) error {
	return again(ctx, func(bool) error { return f.withdraw(ctx, dir, tag) })
}

func (f Files) withdraw(ctx context.Context, dir, tag string) error {
	at, err := f.beside(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = at.Close() }()
	if err := (Published{Tag: tag}).check(); err != nil {
		return err
	}
	stage := stageName(at.base, tag)
	if err := removeAll(ctx, at, stage); err != nil {
		return err
	}
	err = at.ours(ctx, tag)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// Gone in one instant for readers; what is in it, after that.
	if err := at.Rename(ctx, at.base, stage); err != nil {
		return err
	}
	if err := removeAll(ctx, at, stage); err != nil {
		return err
	}
	return at.Sync(ctx)
}
