package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// program is one that runs there, with its channel.
type program struct {
	ssh.Channel
	conn   *conn
	exit   int           // 128 + n when signal n ended it
	exited chan struct{} // it has, and exit says how
	gone   chan struct{} // the channel is
	known  bool          // exit is
}

// signalNumbers are those that a program may be ended by, as POSIX numbers them.
var signalNumbers = map[string]int{
	"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15,
}

// start starts a program: a line for the login's shell. asked says that it may have
// been started, whatever the error.
func (p *pool) start(ctx context.Context, line string) (r *program, asked bool, err error) {
	r, asked, err = p.ask(ctx, "exec", line)
	if errors.Is(err, errNoPrograms) {
		err = lacks("the sshd of %s runs no programs for %s", p.name, p.user()).
			WithFix("look for ForceCommand in sshd_config, and for command= and restrict in ~%s/.ssh/authorized_keys, on %s", p.user(), hostOf(p.at()))
	}
	return r, asked, err
}

var errNoPrograms = errors.New("refused")

// ask opens a session for a program or a file server.
func (p *pool) ask(ctx context.Context, kind, what string) (_ *program, asked bool, err error) {
	c, ch, requests, err := p.channel(ctx)
	if err != nil {
		return nil, false, err
	}
	r := &program{Channel: ch, conn: c, exited: make(chan struct{}), gone: make(chan struct{})}
	go func() {
		exited := sync.OnceFunc(func() { close(r.exited) })
		for request := range requests {
			in := decoder{request.Payload}
			switch {
			case r.known: // it ends once
			case request.Type == "exit-status":
				r.exit, r.known = int(in.uint32()), in.data != nil
				exited()
			case request.Type == "exit-signal":
				r.exit, r.known = 128+signalNumbers[in.text()], true
				exited()
			}
			if request.WantReply {
				_ = request.Reply(false, nil)
			}
		}
		exited()
		_ = ch.Close()
		p.release(c)
		close(r.gone)
	}()
	answer := make(chan error, 1)
	go func() {
		ok, err := ch.SendRequest(kind, true, text(what))
		if err == nil && !ok {
			err = errNoPrograms
		}
		answer <- err
	}()
	select {
	case err = <-answer:
	case <-ctx.Done():
		err = ctx.Err()
	}
	switch {
	case err == nil:
		return r, true, nil
	case errors.Is(err, errNoPrograms):
		_ = ch.Close()
		return nil, false, err
	case ctx.Err() != nil:
		r.kill()
		return nil, true, ctx.Err()
	}
	_ = ch.Close()
	return nil, true, p.lost()
}

// kill ends the program with what it started, where sshd may signal it: not what
// runs as somebody else.
func (r *program) kill() {
	_, _ = r.SendRequest("signal", false, text("KILL"))
	_ = r.Close()
}

// line is what is asked for, so that argv runs as whom it should.
func (p *pool) line(argv []string) string {
	if p.become != "" {
		argv = append([]string{"sudo", "-n", "-u", p.become, "--"}, argv...)
	}
	return quote(argv)
}

// output keeps what several goroutines write.
type output struct {
	mu   sync.Mutex
	tail *hosts.Tail
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.tail.Write(b)
}

// lingering is how long the outputs of a program that has ended are waited for: a
// daemon that it started may keep them open for ever.
const lingering = time.Second

// exec runs a line of the login's shell, and keeps what it says on both outputs.
func (p *pool) exec(ctx context.Context, line string, c hosts.Command) (hosts.Result, error) {
	return p.execute(ctx, line, c, true)
}

// says runs a program as who signs in, and keeps what it says on its standard output.
func (p *pool) says(ctx context.Context, argv ...string) (hosts.Result, error) {
	return p.execute(ctx, quote(argv), hosts.Command{Argv: argv}, false)
}

func (p *pool) execute(ctx context.Context, line string, c hosts.Command, complaints bool) (hosts.Result, error) {
	leave, err := take(ctx, p.programs)
	if err != nil {
		return hosts.Result{}, err
	}
	defer leave()
	r, asked, err := p.start(ctx, line)
	if err != nil {
		if asked && errors.Is(err, hosts.ErrCut) {
			err = p.unknown(c.Argv[0])
		}
		return hosts.Result{}, err
	}
	out := &output{tail: hosts.NewTail(c.MaxOutput)}
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(out, r) })
	reading.Go(func() {
		to := io.Discard
		if complaints {
			to = out
		}
		_, _ = io.Copy(to, r.Stderr())
	})
	go func() {
		_, _ = r.Write(c.Stdin)
		_ = r.CloseWrite()
	}()
	select {
	case <-r.exited:
	case <-ctx.Done():
		r.kill()
		return hosts.Result{}, fmt.Errorf("run %s: %w", c.Argv[0], ctx.Err())
	}
	read := make(chan struct{})
	go func() { reading.Wait(); close(read) }()
	late := time.NewTimer(lingering)
	defer late.Stop()
	select {
	case <-read:
	case <-late.C:
	case <-ctx.Done():
	}
	_ = r.Close()
	select { // so that the next one finds its place free
	case <-r.gone:
	case <-r.conn.done:
	case <-ctx.Done():
	}
	out.mu.Lock()
	defer out.mu.Unlock()
	if !r.known {
		return hosts.Result{}, p.unknown(c.Argv[0])
	}
	return hosts.Result{Exit: r.exit, Output: append([]byte(nil), out.tail.Bytes()...)}, nil
}

// unknown is a program of which nobody knows what it did.
func (p *pool) unknown(program string) error {
	return &patchbay.Error{
		Code: patchbay.TargetUnreachable, Transient: true, Err: hosts.ErrCut, Fix: "patchbay host check " + p.name,
		Message: fmt.Sprintf("the connection to the host %s was cut while %s ran there: whether it did what it should is not known", p.name, program),
	}
}

// shell asks once whether the login's shell reads arguments as they are meant.
func (f *files) shell(ctx context.Context) error {
	f.mu.Lock()
	ok := f.shellReads
	f.mu.Unlock()
	if ok {
		return nil
	}
	argv := append([]string{"printf", `%s\0`}, told...)
	got, err := f.pool.says(ctx, argv...)
	if err != nil {
		return err
	}
	want := strings.Join(told, "\x00") + "\x00"
	if string(got.Output) == want && got.Exit == 0 {
		f.mu.Lock()
		f.shellReads = true
		f.mu.Unlock()
		return nil
	}
	e := patchbay.Errorf(patchbay.AdminRights, "the login shell of %s on %s does not read commands as a POSIX shell does", f.pool.user(), f.pool.name)
	if strings.Contains(string(got.Output), want) {
		e = patchbay.Errorf(patchbay.AdminRights, "the login shell of %s on %s says something before it runs a command", f.pool.user(), f.pool.name)
		return e.WithFix("let ~%[1]s/.bashrc and /etc/bash.bashrc (or what its shell reads) print nothing when there is no terminal: ssh %[1]s@%[2]s true", f.pool.user(), hostOf(f.pool.at()))
	}
	return e.WithSaid(string(got.Output)).WithFix("chsh -s /bin/sh %s   (as root on %s)", f.pool.user(), hostOf(f.pool.at()))
}

// run is [hosts.Host].Run.
func (f *files) run(ctx context.Context, c hosts.Command) (hosts.Result, error) {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return hosts.Result{}, errors.New("no command")
	}
	for _, arg := range c.Argv {
		if strings.ContainsRune(arg, 0) {
			return hosts.Result{}, errors.New("an argument has a zero byte")
		}
	}
	if err := ctx.Err(); err != nil {
		return hosts.Result{}, fmt.Errorf("run %s: %w", c.Argv[0], err)
	}
	if err := f.shell(ctx); err != nil {
		return hosts.Result{}, err
	}
	result, err := f.pool.exec(ctx, f.pool.line(c.Argv), c)
	if err != nil {
		return hosts.Result{}, err
	}
	return result, f.ran(ctx, c.Argv, result)
}

// ran tells a program that could not be started from one that failed: both are an
// exit code.
func (f *files) ran(ctx context.Context, argv []string, result hosts.Result) error {
	sudo := f.pool.become != ""
	switch {
	case sudo && result.Exit == 1:
		allowed, err := f.allowed(ctx, argv)
		if err != nil || allowed {
			return err
		}
	case result.Exit == 126, result.Exit == 127:
	default:
		return nil
	}
	there, err := f.program(ctx, argv[0])
	switch {
	case err != nil:
		return err
	case there == "":
		return fmt.Errorf("run %s on %s: %w", argv[0], f.pool.name, &fs.PathError{Op: "exec", Path: argv[0], Err: fs.ErrNotExist})
	case sudo && result.Exit == 1:
		return f.sudoRefused(there)
	}
	return nil
}

// allowed reports whether sudo lets it run.
func (f *files) allowed(ctx context.Context, argv []string) (bool, error) {
	ask := append([]string{"sudo", "-n", "-l", "-u", f.pool.become, "--"}, argv...)
	got, err := f.pool.exec(ctx, quote(ask), hosts.Command{Argv: ask})
	return got.Exit == 0, err
}

// paths are where programs are, as sudo and sshd look for them.
var paths = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/snap/bin"}

// program is the path of a program, "" when there is none. The shell's own word for
// it would be that of a builtin.
func (f *files) program(ctx context.Context, name string) (string, error) {
	candidates := []string{name}
	if !strings.Contains(name, "/") {
		candidates = nil
		for _, dir := range paths {
			candidates = append(candidates, dir+"/"+name)
		}
	}
	got, err := f.pool.says(ctx, append([]string{"ls", "-d", "-p", "--"}, candidates...)...) // a directory ends with a slash
	if err != nil {
		return "", err
	}
	there := strings.Split(string(got.Output), "\n")
	for _, path := range candidates {
		if slices.Contains(there, path) {
			return path, nil
		}
	}
	return "", nil
}

// sudoRefused says which rule lacks.
func (f *files) sudoRefused(program string) error {
	return patchbay.Errorf(patchbay.AdminRights, "sudo on %s does not let %s run %s as %s without a password", f.pool.name, f.pool.user(), driver.Quoted(program), f.pool.become).
		WithFix("echo '%s' | sudo tee -a %s   (on %s, and visudo -cf it)", f.pool.rule(program), sudoersFile, hostOf(f.pool.at()))
}

// signal is [hosts.Host].Signal.
func (f *files) signal(ctx context.Context, pid int, name string) error {
	if !hosts.IsSignal(name) {
		return fmt.Errorf("no signal is called %q", name)
	}
	if pid < 1 {
		return fmt.Errorf("%d is no process id", pid) // 0 and below mean whole groups
	}
	result, err := f.run(ctx, hosts.Command{Argv: []string{"kill", "-s", name, strconv.Itoa(pid)}})
	if err != nil || result.Exit == 0 {
		return err
	}
	there, err := f.exists(ctx, "/proc/"+strconv.Itoa(pid))
	switch {
	case err != nil:
		return err
	case !there:
		return hosts.ErrNoProcess
	}
	return fmt.Errorf("signal process %d on %s: %w", pid, f.pool.name, fs.ErrPermission)
}
