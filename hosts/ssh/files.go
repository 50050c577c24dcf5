package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"patchbay.dev/patchbay/hosts"
)

// files are those of a host, as whom they are.
type files struct {
	pool *pool
	step func(what string) // before each thing that is asked for; tests cut there
	lost func() bool       // with each answer, whether it is lost

	opening   chan struct{} // a place for who opens the session
	relocking chan struct{} // and for who takes a lock again

	mu      sync.Mutex
	current *session
	who     *identity

	shellReads bool
	plainCopy  bool                 // cp there keeps no attributes
	held       map[string]*heldLock // by directory
	turns      map[string]chan struct{}
}

// session is a file server's, on one connection.
type session struct {
	*sftp
	*files
}

// identity is who the file server is.
type identity struct {
	uid    int
	groups []int
}

// The programs that serve files, where the distributions have them.
var fileServers = []string{
	"/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server", "/usr/libexec/sftp-server", "/usr/lib/sftp-server",
}

// session is the one that is open, or a new one.
func (f *files) session(ctx context.Context) (*session, error) {
	leave, err := take(ctx, f.opening)
	if err != nil {
		return nil, err
	}
	defer leave()
	f.mu.Lock()
	s := f.current
	f.mu.Unlock()
	if s != nil && !s.over() {
		return s, nil
	}
	server, err := f.serve(ctx)
	if err != nil {
		return nil, err
	}
	s = &session{sftp: server, files: f}
	f.mu.Lock()
	f.current = s
	f.mu.Unlock()
	return s, nil
}

// serve starts a file server.
func (f *files) serve(ctx context.Context) (*sftp, error) {
	if f.pool.become == "" {
		return f.subsystem(ctx)
	}
	if err := f.shell(ctx); err != nil {
		return nil, err
	}
	path, err := f.serverPath(ctx)
	if err != nil {
		return nil, err
	}
	r, _, err := f.pool.start(ctx, f.pool.line([]string{path}))
	if err != nil {
		return nil, err
	}
	said := &output{tail: hosts.NewTail(1 << 10)}
	go func() { _, _ = io.Copy(said, r.Stderr()) }()
	server, err := f.greet(ctx, r)
	if err == nil {
		return server, nil
	}
	_ = r.Close()
	select {
	case <-r.exited:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if !r.known {
		return nil, f.pool.lost()
	}
	if allowed, err := f.allowed(ctx, []string{path}); err != nil || !allowed {
		return nil, errors.Join(err, f.sudoRefused(path+` ""`))
	}
	return nil, fmt.Errorf("the file server %s on %s ends with exit code %d", path, f.pool.name, r.exit)
}

// serverPath is where the file server is.
func (f *files) serverPath(ctx context.Context) (string, error) {
	if f.pool.server != "" {
		return f.pool.server, nil
	}
	argv := append([]string{"ls", "-d", "--"}, fileServers...)
	got, err := f.pool.says(ctx, argv...)
	if err != nil {
		return "", err
	}
	for _, path := range fileServers {
		if slices.Contains(strings.Split(string(got.Output), "\n"), path) {
			return path, nil
		}
	}
	return "", lacks("%s has no file server where the distributions have it", f.pool.name).
		WithFix("apt-get install openssh-sftp-server   (on %s; or register the host with the path: --sftp-server PATH)", hostOf(f.pool.at()))
}

// greet begins to speak to a file server, until ctx ends.
func (f *files) greet(ctx context.Context, r *program) (*sftp, error) {
	stop := context.AfterFunc(ctx, func() { _ = r.Close() })
	defer stop()
	server, err := newSFTP(r, f.lost)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return server, err
}

// subsystem asks sshd for its file server.
func (f *files) subsystem(ctx context.Context) (*sftp, error) {
	r, _, err := f.pool.ask(ctx, "subsystem", "sftp")
	if errors.Is(err, errNoPrograms) {
		return nil, lacks("the sshd of %s serves no files", f.pool.name).
			WithFix("Subsystem sftp internal-sftp   (in the sshd_config of %s, and reload sshd)", hostOf(f.pool.at()))
	}
	if err != nil {
		return nil, err
	}
	server, err := f.greet(ctx, r)
	if err == nil {
		return server, nil
	}
	_ = r.Close()
	if ended := ctx.Err(); ended != nil {
		return nil, ended
	}
	if !r.conn.alive() {
		return nil, f.pool.lost()
	}
	return nil, lacks("the file server of %s does not answer as SFTP: %w", f.pool.name, err).
		WithFix("let the startup files of %s's shell print nothing, or use Subsystem sftp internal-sftp in the sshd_config of %s", f.pool.user(), hostOf(f.pool.at()))
}

// at is called before each thing that is asked for.
func (s *session) at(what string) {
	if s.step != nil {
		s.step(what)
	}
}

// fault is what went wrong, in the words of the system: a file server has few, and
// what it does not say is looked for.
func (s *session) fault(ctx context.Context, op, path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, hosts.ErrCut):
		return s.pool.lost()
	case errors.Is(err, errFailure):
		err = s.why(ctx, path, err)
	case errors.Is(err, syscall.ENOENT):
		if info, statErr := s.statOf(ctx, fxStat, filepath.Dir(path)); statErr == nil && !info.Mode.IsDir() {
			err = syscall.ENOTDIR
		}
	case errors.Is(err, syscall.EINVAL) && len(filepath.Base(path)) > 255:
		err = syscall.ENAMETOOLONG
	}
	if s.over() && ctx.Err() == nil { // while it was looked for
		return s.pool.lost()
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s %s on %s: %w", op, path, s.pool.name, err)
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// why looks for what a mere failure was.
func (s *session) why(ctx context.Context, path string, err error) error {
	if left, spaceErr := s.space(ctx, filepath.Dir(path)); spaceErr == nil {
		switch {
		case left.readOnly:
			return syscall.EROFS
		case left.free == 0, left.counted && left.files == 0:
			return syscall.ENOSPC
		}
	}
	return err
}

// exists reports whether there is something.
func (f *files) exists(ctx context.Context, path string) (bool, error) {
	s, err := f.session(ctx)
	if err != nil {
		return false, err
	}
	_, err = s.statOf(ctx, fxStat, path)
	if errors.Is(err, syscall.ENOENT) {
		return false, nil
	}
	return err == nil, s.fault(ctx, "stat", path, err)
}

// Check implements [hosts.FileSystem]: nothing there is the control plane's own.
// Whoever registers a host has a login to it.
func (f *files) Check(ctx context.Context, _ string) error { return ctx.Err() }

// RealDir implements [hosts.FileSystem].
func (f *files) RealDir(ctx context.Context, dir string) (string, error) {
	s, err := f.session(ctx)
	if err != nil {
		return "", err
	}
	s.at("realpath")
	there, err := s.ask(fxStat, text(dir)) // both at once
	if err != nil {
		return "", s.fault(ctx, "open", dir, err)
	}
	real, err := s.ask(fxRealpath, text(dir))
	if err != nil {
		return "", s.fault(ctx, "open", dir, err)
	}
	in, err := there.answer(ctx, fxAttrs)
	if err == nil {
		_, err = in.stat()
	}
	in, realErr := real.answer(ctx, fxName)
	if err == nil {
		err = realErr
	}
	if err != nil {
		return "", s.fault(ctx, "open", dir, s.loops(ctx, dir, err))
	}
	return in.name()
}

// loops tells a link that leads nowhere but to links from what is not there: to a
// file server both are.
func (s *session) loops(ctx context.Context, path string, err error) error {
	if !errors.Is(err, syscall.ENOENT) {
		return err
	}
	for range 41 {
		link, linkErr := s.readlink(ctx, path)
		if linkErr != nil {
			return err
		}
		if !filepath.IsAbs(link) {
			link = filepath.Join(filepath.Dir(path), link)
		}
		path = link
	}
	return syscall.ELOOP
}

func (s *session) readlink(ctx context.Context, path string) (string, error) {
	in, err := s.do(ctx, fxName, fxReadlink, text(path))
	if err != nil {
		return "", err
	}
	return in.name()
}

// Readlink implements [hosts.FileSystem].
func (f *files) Readlink(ctx context.Context, path string) (string, error) {
	s, err := f.session(ctx)
	if err != nil {
		return "", err
	}
	s.at("readlink")
	link, err := s.readlink(ctx, path)
	return link, s.fault(ctx, "readlink", path, err)
}

// OpenDir implements [hosts.FileSystem].
func (f *files) OpenDir(ctx context.Context, path string) (hosts.Dir, error) {
	if err := f.relock(ctx, path); err != nil {
		return nil, err
	}
	s, err := f.session(ctx)
	if err != nil {
		return nil, err
	}
	s.at("opendir")
	info, err := s.statOf(ctx, fxStat, path)
	if err == nil && !info.Mode.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, s.fault(ctx, "open", path, err)
	}
	return &dir{session: s, path: path, info: info}, nil
}

// dir is a directory by its path: SFTP has no handle to work in. It belongs to one
// session, and with that it ends.
type dir struct {
	*session
	path string
	info stat
}

func (d *dir) in(name string) string { return filepath.Join(d.path, name) }

// Lstat implements [hosts.Dir].
func (d *dir) Lstat(ctx context.Context, name string) (hosts.Info, error) {
	d.at("lstat")
	info, err := d.statOf(ctx, fxLstat, d.in(name))
	return info.Info, d.fault(ctx, "lstat", d.in(name), err)
}

// Readlink implements [hosts.Dir].
func (d *dir) Readlink(ctx context.Context, name string) (string, error) {
	d.at("readlink")
	link, err := d.readlink(ctx, d.in(name))
	return link, d.fault(ctx, "readlink", d.in(name), err)
}

// List implements [hosts.Dir].
func (d *dir) List(ctx context.Context) ([]string, error) {
	d.at("readdir")
	names, err := d.list(ctx, d.path)
	slices.Sort(names)
	return names, d.fault(ctx, "open", d.path, err)
}

// ReadFile implements [hosts.Dir]. A file server would wait for a FIFO's writer, and
// serve nothing else: so it is looked at first.
func (d *dir) ReadFile(ctx context.Context, name string, limit int64) (content []byte, _ hosts.Info, err error) {
	path := d.in(name)
	info, err := d.Lstat(ctx, name)
	if err != nil {
		return nil, hosts.Info{}, err
	}
	if !info.Mode.IsRegular() {
		return nil, hosts.Info{}, hosts.Irregular(path, info.Mode)
	}
	d.at("read")
	handle, err := d.open(ctx, path, openRead, attributes{})
	if err != nil {
		return nil, hosts.Info{}, d.fault(ctx, "open", path, err)
	}
	defer d.abandon(handle)
	now, err := d.statOf(ctx, fxFstat, handle)
	if err != nil {
		return nil, hosts.Info{}, d.fault(ctx, "read", path, err)
	}
	if !now.Mode.IsRegular() {
		return nil, hosts.Info{}, hosts.Irregular(path, now.Mode)
	}
	if content, err = d.read(ctx, handle, limit+1); err != nil {
		return nil, hosts.Info{}, d.fault(ctx, "read", path, err)
	}
	if int64(len(content)) > limit {
		return nil, hosts.Info{}, hosts.TooLarge(path, limit)
	}
	return content, now.Info, nil
}

// Frozen implements [hosts.Dir]. The file server does not know; a change is refused.
func (d *dir) Frozen(context.Context, string) error { return nil }

// Access implements [hosts.Dir]. What the mode allows needs no further question; an
// access control list may allow more than it, and test asks the system.
func (d *dir) Access(ctx context.Context, name string) error {
	path := filepath.Clean(d.in(name))
	info, err := d.Lstat(ctx, name)
	if err != nil {
		return err
	}
	if left, err := d.space(ctx, d.path); err == nil && left.readOnly {
		return &fs.PathError{Op: "write", Path: path, Err: syscall.EROFS}
	}
	who, err := d.identity(ctx)
	if err != nil {
		return err
	}
	if who.mayWrite(info) {
		return nil
	}
	argv := []string{"test", "-w", path}
	got, err := d.pool.exec(ctx, d.pool.line(argv), hosts.Command{Argv: argv})
	if err != nil || got.Exit == 0 {
		return err
	}
	return &fs.PathError{Op: "write", Path: path, Err: syscall.EACCES}
}

func (i *identity) mayWrite(info hosts.Info) bool {
	bits := fs.FileMode(0o2)
	if info.Mode.IsDir() {
		bits = 0o3
	}
	switch {
	case i.uid == 0:
		return true
	case info.UID == i.uid:
		bits <<= 6
	case slices.Contains(i.groups, info.GID):
		bits <<= 3
	}
	return info.Mode.Perm()&bits == bits
}

var numbers = regexp.MustCompile(`[0-9]+`)

// identity asks once who the file server is.
func (f *files) identity(ctx context.Context) (*identity, error) {
	f.mu.Lock()
	who := f.who
	f.mu.Unlock()
	if who != nil {
		return who, nil
	}
	who = &identity{}
	for _, option := range []string{"-u", "-G"} {
		argv := []string{"id", option, f.pool.whom()}
		got, err := f.pool.says(ctx, argv...)
		if err != nil {
			return nil, err
		}
		found := numbers.FindAllString(string(got.Output), -1)
		if got.Exit != 0 || len(found) == 0 {
			return nil, lacks("%s has no user %s", f.pool.name, f.pool.whom()).WithFix("id %s   (on %s)", f.pool.whom(), hostOf(f.pool.at()))
		}
		for _, number := range found {
			id, _ := strconv.Atoi(number)
			if option == "-u" {
				who.uid = id
				break
			}
			who.groups = append(who.groups, id)
		}
	}
	f.mu.Lock()
	f.who = who
	f.mu.Unlock()
	return who, nil
}

// Write implements [hosts.Dir].
func (d *dir) Write(ctx context.Context, name string, n hosts.NewFile) error {
	var like stat
	if n.Like != "" {
		var err error
		if like, err = d.statOf(ctx, fxLstat, d.in(n.Like)); err != nil {
			return d.fault(ctx, "lstat", d.in(n.Like), err)
		}
		if copied, err := d.copyOf(ctx, n.Like, name); err != nil {
			return err
		} else if copied {
			return d.fill(ctx, name, n, like)
		}
	}
	return d.make(ctx, name, n, like)
}

// make makes a file for its owner alone, and lets others at it when it is written.
func (d *dir) make(ctx context.Context, name string, n hosts.NewFile, like stat) error {
	path := d.in(name)
	private := fs.FileMode(0o600)
	d.at("create")
	handle, err := d.open(ctx, path, openWrite|openCreate|openNew, attributes{mode: &private})
	if err != nil {
		return d.fault(ctx, "create", path, d.inTheWay(ctx, path, err))
	}
	return d.closing(ctx, path, handle, d.begin(ctx, path, handle, n, like))
}

// closing closes a file that was written, or whose writing failed: once, for the
// server gives the next file the same handle.
func (d *dir) closing(ctx context.Context, path, handle string, err error) error {
	if err != nil {
		d.abandon(handle)
		return err
	}
	d.at("close")
	return d.fault(ctx, "close", path, d.close(ctx, handle))
}

// begin gives a new file its owner, its content and then its mode.
func (d *dir) begin(ctx context.Context, path, handle string, n hosts.NewFile, like stat) error {
	made, err := d.statOf(ctx, fxFstat, handle)
	if err != nil {
		return d.fault(ctx, "create", path, err)
	}
	mode, owner := n.Mode, [2]int{made.UID, made.GID}
	switch who, err := d.identity(ctx); {
	case err != nil:
		return err
	case n.Like != "":
		mode, owner = like.Mode.Perm(), [2]int{like.UID, like.GID}
	case who.uid == 0:
		owner = [2]int{d.info.UID, d.info.GID}
	}
	if owner != [2]int{made.UID, made.GID} {
		if _, err := d.do(ctx, fxStatus, fxFsetstat, text(handle), attributes{owner: &owner}.bytes()); err != nil {
			return d.cantKeep(ctx, n.Like, owner, err)
		}
	}
	return d.finish(ctx, path, handle, n.Content, mode)
}

// finish writes an open file, durably.
func (d *dir) finish(ctx context.Context, path, handle string, content []byte, mode fs.FileMode) error {
	d.at("write")
	if err := d.write(ctx, handle, content); err != nil {
		return d.full(ctx, path, content, err)
	}
	size := uint64(len(content))
	d.at("setstat")
	if _, err := d.do(ctx, fxStatus, fxFsetstat, text(handle), attributes{size: &size}.bytes()); err != nil {
		return d.fault(ctx, "truncate", path, err)
	}
	if _, err := d.do(ctx, fxStatus, fxFsetstat, text(handle), attributes{mode: &mode}.bytes()); err != nil {
		return d.fault(ctx, "chmod", path, err)
	}
	d.at("fsync")
	return d.full(ctx, path, content, d.fsync(ctx, handle))
}

// full tells a full disk from another failure of a write.
func (d *dir) full(ctx context.Context, path string, content []byte, err error) error {
	if errors.Is(err, errFailure) {
		if left, spaceErr := d.space(ctx, d.path); spaceErr == nil && left.free < uint64(len(content)) {
			err = syscall.ENOSPC
		}
	}
	return d.fault(ctx, "write", path, err)
}

// fsync is left out where the server can't: there is no other way then.
func (s *session) fsync(ctx context.Context, handle string) error {
	_, err := s.extended(ctx, fxStatus, extSync, text(handle))
	if errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.EINVAL) {
		return nil
	}
	return err
}

func (d *dir) cantKeep(ctx context.Context, name string, owner [2]int, err error) error {
	if errors.Is(err, hosts.ErrCut) || d.over() || ctx.Err() != nil {
		return d.fault(ctx, "chown", d.in(name), err)
	}
	return fmt.Errorf("%s belongs to %d:%d, which %s on %s can't give a file to: %w", d.in(name), owner[0], owner[1], d.pool.whom(), d.pool.name, hosts.ErrOwner)
}

// copyOf makes a copy of a file with all its attributes, which SFTP has no words for:
// an access control list among them. It is false where cp can't, as that of busybox.
func (d *dir) copyOf(ctx context.Context, from, to string) (bool, error) {
	d.files.mu.Lock()
	plain := d.plainCopy
	d.files.mu.Unlock()
	if plain {
		return false, nil
	}
	d.at("copy")
	argv := []string{"cp", "--no-dereference", "--remove-destination", "--no-target-directory", "--preserve=all,xattr", "--", d.in(from), d.in(to)}
	got, err := d.pool.exec(ctx, d.pool.line(argv), hosts.Command{Argv: argv})
	switch {
	case err != nil:
		return false, err
	case got.Exit == 0:
		return true, nil
	}
	if err := d.ran(ctx, argv, got); err != nil {
		return false, err
	}
	argv = []string{"cp", "--help"}
	help, err := d.pool.says(ctx, argv...)
	if err != nil {
		return false, err
	}
	if !bytes.Contains(help.Output, []byte("--remove-destination")) || !bytes.Contains(help.Output, []byte("--preserve")) {
		d.files.mu.Lock()
		d.plainCopy = true
		d.files.mu.Unlock()
		return false, nil
	}
	if left, err := d.space(ctx, d.path); err == nil {
		switch {
		case left.readOnly:
			return false, &fs.PathError{Op: "write", Path: d.in(to), Err: syscall.EROFS}
		case left.free < uint64(4<<10), left.counted && left.files == 0:
			return false, &fs.PathError{Op: "write", Path: d.in(to), Err: syscall.ENOSPC}
		}
	}
	if d.over() {
		return false, d.pool.lost()
	}
	return false, fmt.Errorf("%s: %w", d.in(from), hosts.ErrOwner)
}

// fill gives a copy its content. Somebody else who may write in the directory could
// have put a link in its place: it is written when what was opened is a copy of
// like in all that can be seen.
func (d *dir) fill(ctx context.Context, name string, n hosts.NewFile, like stat) error {
	path := d.in(name)
	d.at("open")
	handle, err := d.open(ctx, path, openWrite, attributes{})
	if errors.Is(err, syscall.EACCES) {
		return fmt.Errorf("%s: %w: %s may not write a file of its mode", d.in(n.Like), hosts.ErrOwner, d.pool.whom())
	}
	if err != nil {
		return d.fault(ctx, "open", path, err)
	}
	return d.closing(ctx, path, handle, d.refill(ctx, path, handle, n, like))
}

func (d *dir) refill(ctx context.Context, path, handle string, n hosts.NewFile, like stat) error {
	now, err := d.statOf(ctx, fxFstat, handle)
	if err != nil {
		return d.fault(ctx, "open", path, err)
	}
	if now.UID != like.UID || now.GID != like.GID {
		return d.cantKeep(ctx, n.Like, [2]int{like.UID, like.GID}, nil)
	}
	if now != like {
		return fmt.Errorf("%s is not what was just made: %w", path, hosts.ErrChanged)
	}
	return d.finish(ctx, path, handle, n.Content, like.Mode.Perm())
}

// inTheWay tells what is there already from another failure.
func (d *dir) inTheWay(ctx context.Context, path string, err error) error {
	if errors.Is(err, errFailure) {
		if _, statErr := d.statOf(ctx, fxLstat, path); statErr == nil {
			return syscall.EEXIST
		}
	}
	return err
}

// Mkdir implements [hosts.Dir].
func (d *dir) Mkdir(ctx context.Context, name string, mode fs.FileMode) error {
	path := d.in(name)
	private := fs.FileMode(0o700)
	d.at("mkdir")
	if _, err := d.do(ctx, fxStatus, fxMkdir, text(path), attributes{mode: &private}.bytes()); err != nil {
		return d.fault(ctx, "mkdir", path, d.inTheWay(ctx, path, err))
	}
	a := attributes{mode: &mode}
	who, err := d.identity(ctx)
	if err != nil {
		return err
	}
	if who.uid == 0 {
		a.owner = &[2]int{d.info.UID, d.info.GID}
	}
	// Not through a link that was put in its place.
	d.at("setstat")
	_, err = d.extended(ctx, fxStatus, extSetstat, text(path), a.bytes())
	if errors.Is(err, syscall.ENOTSUP) {
		_, err = d.do(ctx, fxStatus, fxSetstat, text(path), a.bytes())
	}
	return d.fault(ctx, "chmod", path, err)
}

// Symlink implements [hosts.Dir].
func (d *dir) Symlink(ctx context.Context, to, name string) error {
	d.at("symlink")
	// OpenSSH has the two the other way round than the draft, and everybody does as
	// OpenSSH.
	_, err := d.do(ctx, fxStatus, fxSymlink, text(to), text(d.in(name)))
	return d.fault(ctx, "symlink", d.in(name), d.inTheWay(ctx, d.in(name), err))
}

// Rename implements [hosts.Dir].
func (d *dir) Rename(ctx context.Context, from, to string) error {
	d.at("rename")
	_, err := d.extended(ctx, fxStatus, extRename, text(d.in(from)), text(d.in(to)))
	if errors.Is(err, syscall.ENOTSUP) {
		return lacks("the file server of %s can't replace a file in one instant", d.pool.name).
			WithFix("use OpenSSH's on %s: Subsystem sftp internal-sftp in its sshd_config", hostOf(d.pool.at()))
	}
	return d.fault(ctx, "rename", d.in(to), err)
}

// Remove implements [hosts.Dir].
func (d *dir) Remove(ctx context.Context, name string) error {
	d.at("remove")
	path := d.in(name)
	_, err := d.do(ctx, fxStatus, fxRemove, text(path))
	if err != nil && !errors.Is(err, syscall.ENOENT) && !errors.Is(err, hosts.ErrCut) {
		if info, statErr := d.statOf(ctx, fxLstat, path); statErr == nil && info.Mode.IsDir() {
			_, err = d.do(ctx, fxStatus, fxRmdir, text(path))
		}
	}
	return d.fault(ctx, "remove", path, err)
}

// Open implements [hosts.Dir].
func (d *dir) Open(ctx context.Context, name string) (hosts.Dir, error) {
	d.at("opendir")
	info, err := d.statOf(ctx, fxLstat, d.in(name))
	if err == nil && !info.Mode.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, d.fault(ctx, "open", d.in(name), err)
	}
	return &dir{session: d.session, path: d.in(name), info: info}, nil
}

// Sync implements [hosts.Dir].
func (d *dir) Sync(ctx context.Context) error {
	d.at("syncdir")
	handle, err := d.open(ctx, d.path, openRead, attributes{})
	switch {
	case errors.Is(err, errFailure), errors.Is(err, syscall.EACCES): // a server that opens no directory; one that may be written in, not read
		return nil
	case err != nil:
		return d.fault(ctx, "sync", d.path, err)
	}
	defer d.abandon(handle)
	return d.fault(ctx, "sync", d.path, d.fsync(ctx, handle))
}

// Close implements [hosts.Dir].
func (d *dir) Close() error { return nil }
