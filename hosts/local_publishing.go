package hosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ReadPublished implements [Host].
func (l *Local) ReadPublished(ctx context.Context, dir string, limit int64) (Published, error) {
	if err := ctx.Err(); err != nil {
		return Published{}, err
	}
	if err := l.allow(dir); err != nil {
		return Published{}, err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return Published{}, err
	}
	if !info.IsDir() {
		return Published{}, fmt.Errorf("%s: %w", dir, ErrForeign)
	}
	link, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil {
		return Published{}, fmt.Errorf("%s: %w", dir, ErrForeign)
	}
	tag, generation, ok := parseDataName(link)
	if !ok {
		return Published{}, fmt.Errorf("%s: %w", dir, ErrForeign)
	}
	p := Published{Tag: tag, Generation: generation, Files: map[string][]byte{}}
	entries, err := os.ReadDir(filepath.Join(dir, link))
	if err != nil {
		return Published{}, err
	}
	for _, e := range entries {
		content, _, err := l.read(filepath.Join(dir, link, e.Name()), limit)
		if err != nil {
			return Published{}, err
		}
		if limit -= int64(len(content)); limit < 0 {
			return Published{}, fmt.Errorf("%s: %w", dir, ErrTooLarge)
		}
		p.Files[e.Name()] = content
	}
	return p, nil
}

// PublishDir implements [Host].
func (l *Local) PublishDir(ctx context.Context, dir string, p Published) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := l.allow(dir); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return err
	}
	stage := filepath.Join(filepath.Dir(dir), stageName(filepath.Base(dir), p.Tag))
	if err := os.RemoveAll(stage); err != nil {
		return err
	}
	_, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// All of it is made beside, under a name that readers pass over.
		err = l.fill(stage, p)
		if err == nil {
			err = os.Rename(stage, dir)
		}
		if err != nil {
			return errors.Join(err, os.RemoveAll(stage))
		}
		return l.syncDir(filepath.Dir(dir))
	case err != nil:
		return err
	}
	if link, _ := os.Readlink(filepath.Join(dir, dataLink)); !taggedAs(link, p.Tag) {
		return fmt.Errorf("%s: %w", dir, ErrForeign)
	}
	return l.fill(dir, p)
}

// fill gives dir the files of p, and takes away what an earlier publication
// or a crash left in it.
func (l *Local) fill(dir string, p Published) error {
	parent, err := os.Stat(filepath.Dir(dir))
	if err != nil {
		return err
	}
	dirMode := p.Mode | p.Mode&0o444>>2
	if err := makeDir(dir, dirMode, parent); err != nil {
		return err
	}
	data := p.dataName()
	current, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if current != data { // else the files are there and right
		if err := l.writeData(filepath.Join(dir, data), p, dirMode, parent); err != nil {
			return errors.Join(err, os.RemoveAll(filepath.Join(dir, data)))
		}
		next := filepath.Join(dir, dataLink+"_tmp")
		if err := os.RemoveAll(next); err != nil {
			return err
		}
		if err := os.Symlink(data, next); err != nil {
			return err
		}
		if err := os.Rename(next, filepath.Join(dir, dataLink)); err != nil {
			return errors.Join(err, os.Remove(next))
		}
	}
	for name := range p.Files {
		err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		link, _ := os.Readlink(filepath.Join(dir, e.Name()))
		_, wanted := p.Files[e.Name()]
		tag, _, ours := parseDataName(e.Name())
		stale := link == filepath.Join(dataLink, e.Name()) && !wanted ||
			e.IsDir() && ours && tag == p.Tag && e.Name() != data ||
			e.Name() == dataLink+"_tmp"
		if !stale {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return l.syncDir(dir)
}

func (l *Local) writeData(dir string, p Published, mode fs.FileMode, parent fs.FileInfo) error {
	if err := os.RemoveAll(dir); err != nil { // of a crash
		return err
	}
	if err := makeDir(dir, mode, parent); err != nil {
		return err
	}
	for name, content := range p.Files {
		if err := l.writeNew(filepath.Join(dir, name), content, p.Mode, parent); err != nil {
			return err
		}
	}
	return l.syncDir(dir)
}

func (l *Local) writeNew(name string, content []byte, mode fs.FileMode, parent fs.FileInfo) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = giveAway(f, parent)
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = l.sync(f)
	}
	return errors.Join(err, f.Close())
}

// makeDir makes a directory that belongs to whom its parent does; one that is
// there stays as it is.
func makeDir(name string, mode fs.FileMode, parent fs.FileInfo) error {
	if err := os.Mkdir(name, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := giveAway(d, parent); err != nil {
		return err
	}
	return d.Chmod(mode)
}

// WithdrawDir implements [Host].
func (l *Local) WithdrawDir(ctx context.Context, dir, tag string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := l.allow(dir); err != nil {
		return err
	}
	root, base := filepath.Dir(dir), filepath.Base(dir)
	in, err := l.openDir(root) // the one that was looked at, as in ReplaceFile
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	stage := stageName(base, tag)
	if err := in.RemoveAll(stage); err != nil {
		return err
	}
	if _, err := in.Lstat(base); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if link, _ := in.Readlink(filepath.Join(base, dataLink)); !taggedAs(link, tag) {
		return fmt.Errorf("%s: %w", dir, ErrForeign)
	}
	// Gone in one instant for readers; what is in it, after that.
	if err := in.Rename(base, stage); err != nil {
		return err
	}
	if err := in.RemoveAll(stage); err != nil {
		return err
	}
	return l.syncDir(root)
}
