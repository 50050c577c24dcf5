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

// sudoersWord is a word as sudoers(5) takes it: characters that mean something there
// have a backslash before them, and a user whose name has others is quoted.
func sudoersWord(word string, user bool) string {
	const special = `@!=:,()\ "#%+*?[]{}'<>&|;$` + "`"
	if user && (strings.ContainsAny(word, special) || strings.ContainsFunc(word, func(r rune) bool { return r > '~' })) {
		return `"` + strings.ReplaceAll(word, `"`, `\"`) + `"`
	}
	var b strings.Builder
	for _, r := range word {
		if strings.ContainsRune(`:,=\ *?[]!"#`, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// service is something that a kind of source needs, and other hosts do not have.
type service struct {
	program string // that the kind runs; "" for none
	socket  string // that it speaks to
	what    string
	fix     string
}

var services = []service{
	{program: "systemctl", what: "units of systemd", fix: "it is no machine with systemd"},
	{program: "journalctl", what: "the journal of units", fix: "usermod -aG systemd-journal %s"},
	{socket: "/run/docker.sock", what: "containers of Docker", fix: "usermod -aG docker %s   (which makes it root there)"},
	{socket: "/run/podman/podman.sock", what: "containers of Podman", fix: "systemctl enable --now podman.socket"},
	{program: "docker", what: "projects of Compose", fix: "apt-get install docker-compose-plugin"},
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

// Rules are the lines of sudoers that let who signs in do as whom is become what
// every kind of source needs there; none where nobody else is become.
func (h *Host) Rules(ctx context.Context) ([]string, error) {
	if h.files.pool.become == "" {
		return nil, nil
	}
	rules, _, err := h.files.rules(ctx)
	return rules, err
}

// rules are those that are needed, and of them those that lack.
func (f *files) rules(ctx context.Context) (all, missing []string, err error) {
	server, err := f.serverPath(ctx)
	if err != nil {
		return nil, nil, err
	}
	commands := []string{server + ` ""`}
	for _, name := range slices.Concat(needed, []string{"systemctl", "journalctl"}) {
		path, err := f.program(ctx, name)
		if err != nil {
			return nil, nil, err
		}
		if path != "" {
			commands = append(commands, path)
		}
	}
	for _, command := range commands {
		rule := f.pool.rule(command)
		all = append(all, rule)
		path, _, _ := strings.Cut(command, " ")
		allowed, err := f.allowed(ctx, []string{path})
		if err != nil {
			return nil, nil, err
		}
		if !allowed {
			missing = append(missing, rule)
		}
	}
	return all, missing, nil
}

func (f *files) checkSudo(ctx context.Context) error {
	path, err := f.program(ctx, "sudo")
	if err != nil {
		return err
	}
	if path == "" {
		return f.without("sudo")
	}
	_, missing, err := f.rules(ctx)
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
	got, err := f.pool.exec(ctx, quote(argv), hosts.Command{Argv: argv})
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

func (f *files) checkService(ctx context.Context, s service) hosts.Finding {
	what := s.what + " (needed for such sources only)"
	fix := s.fix
	if strings.Contains(fix, "%s") {
		fix = fmt.Sprintf(fix, f.pool.user())
	}
	if s.program != "" {
		path, err := f.program(ctx, s.program)
		switch {
		case err != nil:
			return finding(what, err)
		case path == "":
			return hosts.Finding{What: what, Problem: "there is no program " + s.program, Fix: fix}
		}
		return f.asks(ctx, what, s, fix)
	}
	conn, err := f.dialSocket(ctx, s.socket)
	switch {
	case err == nil:
		_ = conn.Close()
		return hosts.Finding{What: what, OK: true}
	case errors.Is(err, fs.ErrNotExist):
		return hosts.Finding{What: what, Problem: "there is no socket " + s.socket, Fix: fix}
	case errors.Is(err, fs.ErrPermission):
		return hosts.Finding{What: what, Problem: f.pool.user() + " may not speak to " + s.socket, Fix: fix}
	case errors.Is(err, syscall.ECONNREFUSED):
		return hosts.Finding{What: what, Problem: "nobody answers at " + s.socket, Fix: fix}
	}
	return finding(what, err)
}

// asks runs the harmless question of a program.
func (f *files) asks(ctx context.Context, what string, s service, fix string) hosts.Finding {
	question := map[string][]string{
		"systemctl":  {"systemctl", "list-units", "--no-pager", "--no-legend", "--type=target"},
		"journalctl": {"journalctl", "--no-pager", "-n", "0", "--quiet"},
		"docker":     {"docker", "compose", "version"},
	}[s.program]
	got, err := f.run(ctx, hosts.Command{Argv: question})
	if err != nil {
		return finding(what, err)
	}
	if got.Exit == 0 {
		return hosts.Finding{What: what, OK: true}
	}
	said := strings.TrimSpace(string(got.Output))
	return hosts.Finding{What: what, Problem: strings.Join(question, " ") + " fails: " + driver.Quoted(said), Fix: fix}
}
