package ssh

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"syscall"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// sudoersFile is where the rules may be.
const sudoersFile = "/etc/sudoers.d/patchbay"

// lacks is something that the host can't do, or does not let us.
func lacks(format string, args ...any) *patchbay.Error {
	return patchbay.Errorf(patchbay.AdminRights, format, args...)
}

// without is a program that is not there.
func (f *files) without(program string) error {
	packages := map[string]string{
		"flock": "util-linux", "timeout": "coreutils", "cat": "coreutils", "cp": "coreutils", "getent": "libc-bin", "sudo": "sudo", "kill": "procps",
	}
	return lacks("there is no program %s on %s", program, f.pool.name).WithFix("apt-get install %s   (on %s)", packages[program], hostOf(f.pool.at()))
}

// rule is a line of sudoers that lets who signs in run a program, with its arguments
// where it has some.
func (p *pool) rule(command string) string {
	path, arguments, _ := strings.Cut(command, " ")
	if arguments != "" {
		arguments = " " + arguments
	}
	return sudoersWord(p.user(), true) + " ALL=(" + sudoersWord(p.become, true) + ") NOPASSWD: " + sudoersWord(path, false) + arguments
}

// sudoersWord is a word as sudoers(5) takes it: a user whose name has characters that
// mean something there is quoted, and those in a path have a backslash before them.
// What it could not write, no path here has.
func sudoersWord(word string, user bool) string {
	const special = `@!=:,()\ "#%+*?[]{}'<>&|;$` + "`"
	if user && (strings.ContainsAny(word, special) || strings.ContainsFunc(word, func(r rune) bool { return r > '~' })) {
		return `"` + strings.ReplaceAll(word, `"`, `\"`) + `"`
	}
	var b strings.Builder
	for _, r := range word {
		if strings.ContainsRune(":,= #", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// service is something that a kind of source needs, and other hosts do not have.
type service struct {
	what     string
	program  string   // that the kind runs, and
	question []string // what it is asked, without an effect
	socket   string   // or that it speaks to
	fix      string   // where it is there, and not for us
}

var services = []service{
	{what: "units of systemd", program: "systemctl", question: []string{"systemctl", "list-units", "--no-pager", "--no-legend", "--type=target"}},
	{what: "the journal of units", program: "journalctl", question: []string{"journalctl", "--no-pager", "-n", "0", "--quiet"}},
	{what: "containers of Docker", socket: "/run/docker.sock", fix: "usermod -aG docker %s   (which makes it root there)"},
	{what: "containers of Podman", socket: "/run/podman/podman.sock", fix: "systemctl enable --now podman.socket   (and let %s speak to it, which makes it root there)"},
	{what: "projects of Compose", program: "docker", question: []string{"docker", "compose", "version"}},
}

// check is [hosts.Remote].Check.
func (f *files) check(ctx context.Context) ([]hosts.Finding, error) {
	var all []hosts.Finding
	add := func(what string, err error) bool {
		all = append(all, finding(what, err))
		return err == nil
	}
	if _, err := f.pool.get(ctx, nil); err != nil {
		return nil, err // nothing can be asked
	}
	add("signing in", nil)
	if !add("shell", f.shell(ctx)) {
		return all, ctx.Err()
	}
	if f.pool.become != "" {
		add("sudo", f.checkSudo(ctx))
	}
	add("files", f.checkFiles(ctx))
	add("locks", f.checkLock(ctx))
	add("attributes of files", f.checkCopy(ctx))
	add("names", f.checkNames(ctx))
	add("connections", f.checkForward(ctx))
	all = append(all, f.checkSockets(ctx))
	for _, s := range services {
		all = append(all, f.checkService(ctx, s))
	}
	return all, ctx.Err()
}

func finding(what string, err error) hosts.Finding {
	if err == nil {
		return hosts.Finding{What: what, OK: true}
	}
	e := patchbay.AsError(err)
	problem := e.Message
	if e.Said != "" {
		problem += "; it says: " + driver.Quoted(e.Said)
	}
	return hosts.Finding{What: what, Problem: problem, Fix: e.Fix}
}

// needed are what is run as whom is become, for every kind of source.
var needed = []string{"flock", "cp", "kill", "test"}

// missingRules are lines of sudoers that let who signs in do as whom is become what
// every kind of source needs there, and are not there yet.
func (f *files) missingRules(ctx context.Context) ([]string, error) {
	server, err := f.serverPath(ctx)
	if err != nil {
		return nil, err
	}
	commands := []string{server + ` ""`}
	names := slices.Clone(needed)
	if f.pool.become == "root" { // whose units they are
		names = append(names, "systemctl", "journalctl")
	}
	for _, name := range names {
		path, err := f.program(ctx, name)
		if err != nil {
			return nil, err
		}
		if path != "" {
			commands = append(commands, path)
		}
	}
	var missing []string
	for _, command := range commands {
		path, _, _ := strings.Cut(command, " ")
		allowed, err := f.allowed(ctx, []string{path})
		if err != nil {
			return nil, err
		}
		if !allowed {
			missing = append(missing, f.pool.rule(command))
		}
	}
	return missing, nil
}

func (f *files) checkSudo(ctx context.Context) error {
	path, err := f.program(ctx, "sudo")
	if err != nil {
		return err
	}
	if path == "" {
		return f.without("sudo")
	}
	missing, err := f.missingRules(ctx)
	if err != nil || len(missing) == 0 {
		return err
	}
	return lacks("sudo does not let %s do all that is needed as %s", f.pool.user(), f.pool.become).
		WithFix("%s", strings.Join(missing, "\n"))
}

func (f *files) checkFiles(ctx context.Context) error {
	s, err := f.session(ctx)
	if err != nil {
		return err
	}
	if !s.extensions[extRename] {
		return lacks("the file server can't replace a file in one instant").WithFix("Subsystem sftp internal-sftp   (in sshd_config, and reload sshd)")
	}
	if !s.extensions[extSync] {
		return lacks("the file server can't write through to the disk: a power cut may lose what was written last").WithFix("apt-get install openssh-sftp-server   (6.5 or newer)")
	}
	_, err = s.do(ctx, fxName, fxRealpath, text("."))
	return s.fault(ctx, "open", ".", err)
}

func (f *files) checkLock(ctx context.Context) error {
	h, err := f.lock(ctx, "/")
	if err == nil {
		h.release()
	}
	return err
}

func (f *files) checkCopy(ctx context.Context) error {
	if path, err := f.program(ctx, "cp"); err != nil || path == "" {
		return errors.Join(err, f.without("cp"))
	}
	argv := []string{"cp", "--help"}
	got, err := f.pool.says(ctx, argv...)
	if err != nil {
		return err
	}
	if !strings.Contains(string(got.Output), "--remove-destination") || !strings.Contains(string(got.Output), "--preserve") {
		return lacks("cp there can't copy extended attributes: a file that is replaced keeps its owner and mode, and loses an access control list").
			WithFix("apk add coreutils attr   (or what the distribution calls GNU's)")
	}
	return nil
}

func (f *files) checkNames(ctx context.Context) error {
	_, err := f.resolve(ctx, "tcp", "localhost")
	return err
}

// checkForward connects to the sshd itself: whether it listens there does not
// matter, only whether it is tried.
func (f *files) checkForward(ctx context.Context) error {
	conn, err := f.forward(ctx, netip.MustParseAddrPort("127.0.0.1:22"))
	return tried(conn, err)
}

// sockets are such as everybody may connect to, where they are.
var sockets = []string{"/run/dbus/system_bus_socket", "/run/systemd/journal/stdout"}

// checkSockets connects to one that everybody may: of any other sshd does not say
// whether it is to blame.
func (f *files) checkSockets(ctx context.Context) hosts.Finding {
	const what = "sockets"
	for _, path := range sockets {
		conn, err := f.dialSocket(ctx, path)
		switch {
		case err == nil:
			_ = conn.Close()
			return hosts.Finding{What: what, OK: true}
		case errors.Is(err, syscall.ECONNREFUSED):
			return finding(what, lacks("the sshd of %s makes no connections to sockets", f.pool.name).
				WithFix("AllowStreamLocalForwarding yes   (in its sshd_config; then reload sshd)"))
		case patchbay.CodeOf(err) != patchbay.Internal:
			return finding(what, err)
		}
	}
	return hosts.Finding{What: what, OK: true, Problem: "not tried: there is no socket that everybody may connect to"}
}

// tried is nil when a connection was made, or failed for a reason of its own.
func tried(conn interface{ Close() error }, err error) error {
	if err == nil {
		_ = conn.Close()
		return nil
	}
	if known := (*patchbay.Error)(nil); errors.As(err, &known) {
		return known
	}
	return nil
}

// checkService says whether sources of a kind can be there. A machine that has no
// such thing lacks nothing; one that does not let us have it does.
func (f *files) checkService(ctx context.Context, s service) hosts.Finding {
	absent := func(format string, args ...any) hosts.Finding {
		return hosts.Finding{What: s.what, OK: true, Problem: fmt.Sprintf(format, args...) + ": no sources of that kind can be there"}
	}
	fix := s.fix
	if strings.Contains(fix, "%s") {
		fix = fmt.Sprintf(fix, f.pool.user())
	}
	refused := func(format string, args ...any) hosts.Finding {
		return hosts.Finding{What: s.what, Problem: fmt.Sprintf(format, args...), Fix: fix}
	}
	if s.program != "" {
		switch path, err := f.program(ctx, s.program); {
		case err != nil:
			return finding(s.what, err)
		case path == "":
			return absent("there is no program %s", s.program)
		}
		got, err := f.question(ctx, s.question)
		switch {
		case err != nil:
			return finding(s.what, err)
		case got.Exit != 0:
			return absent("%s fails (%s)", strings.Join(s.question, " "), driver.Quoted(strings.TrimSpace(string(got.Output))))
		}
		return hosts.Finding{What: s.what, OK: true}
	}
	conn, err := f.dialSocket(ctx, s.socket)
	switch {
	case err == nil:
		_ = conn.Close()
		return hosts.Finding{What: s.what, OK: true}
	case errors.Is(err, fs.ErrNotExist):
		return absent("there is no socket %s", s.socket)
	case errors.Is(err, fs.ErrPermission):
		return refused("%s may not speak to %s", f.pool.user(), s.socket)
	case errors.Is(err, syscall.ECONNREFUSED):
		return refused("nobody answers at %s", s.socket)
	}
	return finding(s.what, err)
}

// question runs a program as root where that is become, and as who signs in otherwise:
// an application's user has no units.
func (f *files) question(ctx context.Context, argv []string) (hosts.Result, error) {
	if f.pool.become == "root" {
		return f.run(ctx, hosts.Command{Argv: argv})
	}
	return f.pool.exec(ctx, quote(argv), hosts.Command{Argv: argv})
}
