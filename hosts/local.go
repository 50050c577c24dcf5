package hosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Local is the machine that this process runs on.
type Local struct {
	dialer  net.Dialer
	private []string
}

var _ Host = (*Local)(nil)

// NewLocal is this machine. It connects to where r lets it, and lets nobody at the
// private directories, which are there, and what is below them.
func NewLocal(r DialRules, private ...string) *Local {
	return &Local{dialer: net.Dialer{Control: r.Control}, private: private}
}

// DialContext implements [Host].
func (l *Local) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return l.dialer.DialContext(ctx, network, address)
}

// maxOutput is how much of a command's output is kept when nobody says.
const maxOutput = 64 << 10

// Run implements [Host]. The command and everything that it started in its
// process group are killed when ctx ends.
func (l *Local) Run(ctx context.Context, c Command) (Result, error) {
	if len(c.Argv) == 0 {
		return Result{}, errors.New("no command")
	}
	out := &tail{max: c.MaxOutput}
	if out.max <= 0 {
		out.max = maxOutput
	}
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	// A daemon that it started may keep its output open for ever.
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	result := Result{Output: out.bytes}
	if cmd.ProcessState != nil {
		result.Exit = cmd.ProcessState.ExitCode()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			result.Exit = 128 + int(status.Signal())
		}
	}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return result, fmt.Errorf("run %s: %w", c.Argv[0], ctx.Err())
	case errors.As(err, &exit), errors.Is(err, exec.ErrWaitDelay):
		return result, nil
	case err != nil:
		return result, fmt.Errorf("run %s: %w", c.Argv[0], err)
	}
	return result, nil
}

// tail keeps the end of what is written to it. exec writes from one goroutine:
// both outputs are the same writer.
type tail struct {
	max   int
	bytes []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.bytes = append(t.bytes, b...)
	if over := len(t.bytes) - t.max; over > 0 {
		t.bytes = append(t.bytes[:0], t.bytes[over:]...)
	}
	return len(b), nil
}

var signals = map[string]syscall.Signal{
	"HUP": syscall.SIGHUP, "INT": syscall.SIGINT, "TERM": syscall.SIGTERM,
	"USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "WINCH": syscall.SIGWINCH,
}

// SignalNames are the signals that a Host can send, sorted.
func SignalNames() []string {
	names := make([]string, 0, len(signals))
	for name := range signals {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Signal implements [Host].
func (l *Local) Signal(_ context.Context, pid int, name string) error {
	signal, ok := signals[name]
	if !ok {
		return fmt.Errorf("no signal is called %q", name)
	}
	if pid < 1 {
		return fmt.Errorf("%d is no process id", pid) // 0 and below mean whole groups
	}
	if pid == os.Getpid() || isThread(pid) {
		return fmt.Errorf("process %d: %w", pid, ErrPrivate)
	}
	switch err := syscall.Kill(pid, signal); {
	case errors.Is(err, syscall.ESRCH):
		return ErrNoProcess
	case err != nil:
		return fmt.Errorf("signal process %d: %w", pid, err)
	}
	return nil
}

// isThread reports whether it is a thread of this process: a signal to one is a
// signal to all.
func isThread(id int) bool {
	_, err := os.Stat("/proc/self/task/" + strconv.Itoa(id))
	return err == nil
}

// follow resolves every symbolic link in name, the last one included even
// when what it names is not there yet. The directory must exist.
func follow(name string) (string, error) {
	if !filepath.IsAbs(name) {
		return "", fmt.Errorf("%s is not an absolute path", name)
	}
	for range 40 { // as many as the kernel follows
		dir, err := filepath.EvalSymlinks(filepath.Dir(name))
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

// CheckReplace implements [Host].
func (l *Local) CheckReplace(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	name, err := follow(name)
	if err != nil {
		return err
	}
	if err := l.allow(name); err != nil {
		return err
	}
	if err := writable(name); err != nil {
		return err
	}
	dir := filepath.Dir(name)
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
	if err := syscall.Access(name, 2); err != nil {
		return &fs.PathError{Op: "write", Path: name, Err: err}
	}
	return nil
}

// Lock implements [Host] with flock on the directory itself.
func (l *Local) Lock(ctx context.Context, name string) (func(), error) {
	name, err := follow(name)
	if err != nil {
		return nil, err
	}
	dir, err := os.OpenFile(filepath.Dir(name), os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if _, err := l.opened(name, dir); err != nil {
		_ = dir.Close()
		return nil, err
	}
	// flock can't be told to stop waiting, so it is asked again and again.
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = dir.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = dir.Close()
			return nil, &fs.PathError{Op: "lock", Path: dir.Name(), Err: err}
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			_ = dir.Close()
			return nil, fmt.Errorf("wait for the lock of %s: %w", filepath.Dir(name), ctx.Err())
		}
	}
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
	f, err := in.OpenFile(r.Temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
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
	if err := f.Sync(); err != nil {
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
	return syncDir(dir)
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

// likeOld gives f the owner, mode and attributes of the file called name, or
// of a new file when there is none.
func likeOld(f *os.File, name string, mode fs.FileMode) error {
	old, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		dir, err := os.Lstat(filepath.Dir(name))
		if err != nil {
			return err
		}
		if err := giveAway(f, dir); err != nil {
			return err
		}
		return f.Chmod(mode)
	}
	if err != nil {
		return err
	}
	uid, gid := owner(old)
	new, err := f.Stat()
	if err != nil {
		return err
	}
	if u, g := owner(new); u != uid || g != gid {
		if err := f.Chown(uid, gid); err != nil {
			return fmt.Errorf("%s belongs to %d:%d, which this process can't give a file to: %w", name, uid, gid, ErrOwner)
		}
	}
	if err := f.Chmod(old.Mode().Perm()); err != nil {
		return err
	}
	// Attributes come last: an access control list is cut by a later chmod.
	if err := copyAttributes(f, name); err != nil {
		return fmt.Errorf("%s: %w: %w", name, ErrOwner, err)
	}
	return nil
}

// giveAway gives a new file to the owner of the directory that it is in: a
// control plane that runs as root would otherwise lock the application out.
// Whoever may not give files away keeps them.
func giveAway(f *os.File, dir fs.FileInfo) error {
	if os.Geteuid() != 0 {
		return nil
	}
	uid, gid := owner(dir)
	return f.Chown(uid, gid)
}

func owner(info fs.FileInfo) (uid, gid int) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid), int(st.Gid)
	}
	return os.Geteuid(), os.Getegid()
}

// syncDir makes a rename or removal in dir survive a power cut.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err // some file systems have no such thing
	}
	return nil
}

// RemoveFile implements [Host].
func (l *Local) RemoveFile(ctx context.Context, name, ifSum string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	name, err := follow(name)
	if err != nil {
		return err
	}
	if err := l.allow(name); err != nil {
		return err
	}
	if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
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
	return syncDir(filepath.Dir(name))
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

// The published form is the one that the kubelet gives projected volumes, and
// that readers of such directories know:
//
//	orders/..data -> ..{tag}-{generation}-{digest}   replaced by a rename: the instant
//	orders/..{tag}-{generation}-{digest}/password    the files
//	orders/password -> ..data/password
//
// Names that begin with two dots are nobody's settings.
const dataLink = "..data"

// dataName is the form of the directories that ..data names.
var dataName = regexp.MustCompile(`^\.\.([a-z0-9._-]+)-(\d{1,18})-[0-9a-f]{16}$`)

func parseDataName(name string) (tag string, generation int64, ok bool) {
	m := dataName.FindStringSubmatch(name)
	if m == nil {
		return "", 0, false
	}
	generation, err := strconv.ParseInt(m[2], 10, 64)
	return m[1], generation, err == nil
}

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
	for name := range p.Files {
		if name == "" || name == "." || strings.HasPrefix(name, "..") || filepath.Base(name) != name {
			return fmt.Errorf("%q is no name for a published file", name)
		}
	}
	stage := filepath.Join(filepath.Dir(dir), ".."+filepath.Base(dir)+"."+p.Tag)
	if err := os.RemoveAll(stage); err != nil {
		return err
	}
	_, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// All of it is made beside, under a name that readers pass over.
		err = fill(stage, p)
		if err == nil {
			err = os.Rename(stage, dir)
		}
		if err != nil {
			return errors.Join(err, os.RemoveAll(stage))
		}
		return syncDir(filepath.Dir(dir))
	case err != nil:
		return err
	}
	if link, _ := os.Readlink(filepath.Join(dir, dataLink)); !taggedAs(link, p.Tag) {
		return fmt.Errorf("%s: %w", dir, ErrForeign)
	}
	return fill(dir, p)
}

// taggedAs reports whether a data link is of that tag; "" is none.
func taggedAs(link, tag string) bool {
	have, _, ok := parseDataName(link)
	return ok && have == tag
}

// fill gives dir the files of p, and takes away what an earlier publication
// or a crash left in it.
func fill(dir string, p Published) error {
	parent, err := os.Stat(filepath.Dir(dir))
	if err != nil {
		return err
	}
	dirMode := p.Mode | p.Mode&0o444>>2
	if err := makeDir(dir, dirMode, parent); err != nil {
		return err
	}
	data := fmt.Sprintf("..%s-%d-%s", p.Tag, p.Generation, digest(p))
	if _, _, ok := parseDataName(data); !ok {
		return fmt.Errorf("%q and %d are no tag and generation", p.Tag, p.Generation)
	}
	current, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if current != data { // else the files are there and right
		if err := writeData(filepath.Join(dir, data), p, dirMode, parent); err != nil {
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
	return syncDir(dir)
}

func writeData(dir string, p Published, mode fs.FileMode, parent fs.FileInfo) error {
	if err := os.RemoveAll(dir); err != nil { // of a crash
		return err
	}
	if err := makeDir(dir, mode, parent); err != nil {
		return err
	}
	for name, content := range p.Files {
		if err := writeNew(filepath.Join(dir, name), content, p.Mode, parent); err != nil {
			return err
		}
	}
	return syncDir(dir)
}

func writeNew(name string, content []byte, mode fs.FileMode, parent fs.FileInfo) error {
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
		err = f.Sync()
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

// digest names the content of p.
func digest(p Published) string {
	names := make([]string, 0, len(p.Files))
	for name := range p.Files {
		names = append(names, name)
	}
	slices.Sort(names)
	var b bytes.Buffer
	for _, name := range names {
		fmt.Fprintf(&b, "%q%q", name, p.Files[name])
	}
	return Sum(b.Bytes())[:16]
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
	stage := ".." + base + "." + tag
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
	return syncDir(root)
}
