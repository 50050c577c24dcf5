package systemd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// manager is a service manager on a host. It is spoken to by the programs that come
// with it, which work over every way to a host alike, and through sudo (decision
// 0023).
type manager struct {
	host  hosts.Host
	user  bool   // the one of a login, not the system's
	login string // "" for that of whoever runs the commands
	// before is what makes a command the login's, once it is found out.
	before atomic.Pointer[[]string]
}

// failure is a command that ran and said no.
type failure struct {
	argv   []string
	exit   int
	output string
}

func (f *failure) Error() string {
	return fmt.Sprintf("%s failed with exit code %d", strings.Join(f.argv[:min(len(f.argv), 3)], " "), f.exit)
}

// maxShow bounds what a command answers, in bytes: more than an environment can be.
const maxShow = 8 << 20

// run runs a command as whom the manager belongs to.
func (m *manager) run(ctx context.Context, argv ...string) (string, error) {
	prefix, err := m.prefix(ctx)
	if err != nil {
		return "", err
	}
	return m.plainRun(ctx, append(prefix, argv...)...)
}

func (m *manager) plainRun(ctx context.Context, argv ...string) (string, error) {
	result, err := m.host.Run(ctx, hosts.Command{Argv: argv, MaxOutput: maxShow})
	if err != nil {
		return "", err
	}
	if result.Exit != 0 {
		return string(result.Output), &failure{argv, result.Exit, string(result.Output)}
	}
	return string(result.Output), nil
}

var loginForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9._-]{0,63}$`)

// prefix makes a command of another login's: nothing, for one's own.
func (m *manager) prefix(ctx context.Context) ([]string, error) {
	if m.login == "" {
		return nil, nil
	}
	if known := m.before.Load(); known != nil {
		return slices.Clone(*known), nil
	}
	uid, err := m.plainRun(ctx, "id", "-u", "--", m.login)
	if err != nil {
		if f := (*failure)(nil); errors.As(err, &f) {
			return nil, patchbay.Errorf(patchbay.SourceNotFound, "there is no login %s on the host", m.login).
				WithFix("register the source with a login that is there: --user LOGIN")
		}
		return nil, err
	}
	me, err := m.plainRun(ctx, "id", "-u")
	if err != nil {
		return nil, err
	}
	uid, me = strings.TrimSpace(uid), strings.TrimSpace(me)
	if _, err := strconv.ParseUint(uid, 10, 32); err != nil {
		return nil, patchbay.Errorf(patchbay.SettingsUnreadable, "the host does not say which user %s is", m.login)
	}
	before := []string{"env", "XDG_RUNTIME_DIR=/run/user/" + uid}
	if uid != me {
		before = append([]string{"runuser", "-u", m.login, "--"}, before...)
	}
	m.before.Store(&before)
	return slices.Clone(before), nil
}

func (m *manager) systemctl(ctx context.Context, args ...string) (string, error) {
	argv := []string{"systemctl"}
	if m.user {
		argv = append(argv, "--user")
	}
	return m.run(ctx, append(append(argv, "--no-ask-password", "--no-pager"), args...)...)
}

func (m *manager) journalctl(ctx context.Context, args ...string) (string, error) {
	argv := []string{"journalctl"}
	if m.user {
		argv = append(argv, "--user")
	}
	return m.run(ctx, append(append(argv, "--no-pager", "--quiet"), args...)...)
}

// facts are what is asked of a unit.
var facts = []string{
	"Id", "LoadState", "ActiveState", "SubState", "Type", "RemainAfterExit", "Result", "Job", "ExecMainCode", "ExecMainStatus", "ExecMainStartTimestamp",
	"InvocationID", "NRestarts", "NeedDaemonReload", "Transient", "UnitFileState", "FragmentPath", "DropInPaths",
	"CanReload", "ExecReload", "RefuseManualStart", "RefuseManualStop",
	"Environment", "EnvironmentFiles", "PassEnvironment", "UnsetEnvironment", "LimitSTACKSoft",
	"PrivateNetwork", "NetworkNamespacePath", "IPAddressAllow", "IPAddressDeny", "RestrictAddressFamilies", "MainPID",
}

// unit is what a manager says of one.
type unit struct {
	facts map[string]string
	files []environmentFile // EnvironmentFile=, in order
}

// environmentFile is one of a unit's: a pattern, as a shell's.
type environmentFile struct {
	pattern  string
	optional bool
}

func (u unit) is(fact, value string) bool { return u.facts[fact] == value }

func (u unit) list(fact string) []string { return words(u.facts[fact]) }

// running reports whether the unit has processes, or is about to have.
func (u unit) running() bool {
	switch u.facts["ActiveState"] {
	case "active", "reloading", "activating", "refreshing":
		return true
	}
	return false
}

// queued reports whether somebody has asked for a start that has not begun.
func (u unit) queued() bool { return !u.running() && u.facts["Job"] != "" }

// show asks what the manager knows of a unit.
func (m *manager) show(ctx context.Context, name string) (unit, error) {
	out, err := m.systemctl(ctx, "show", "--property="+strings.Join(facts, ","), "--", name)
	if err != nil {
		return unit{}, m.unreachable(err)
	}
	u := unit{facts: properties(out)}
	for line := range strings.SplitSeq(out, "\n") {
		if text, ok := strings.CutPrefix(line, "EnvironmentFiles="); ok {
			if pattern, errors, ok := cutLast(text, " (ignore_errors="); ok {
				u.files = append(u.files, environmentFile{pattern, errors == "yes)"})
			}
		}
	}
	if u.facts["Id"] == "" {
		return unit{}, patchbay.Errorf(patchbay.SettingsUnreadable, "systemctl says nothing of %s", name)
	}
	return u, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// ownFacts are what is asked of a manager.
var ownFacts = []string{"Environment", "Version", "UnitPath"}

// own is what the manager says of itself.
type own struct {
	environment map[string]string
	version     int
	units       string   // the directory of the units that an administrator, or the user, has
	paths       []string // all directories of units
	run         string   // where the manager has what is of this boot
}

// systemUnits is where an administrator has the system's units.
const systemUnits = "/etc/systemd/system"

func (m *manager) own(ctx context.Context) (own, error) {
	out, err := m.systemctl(ctx, "show", "--property="+strings.Join(ownFacts, ","))
	if err != nil {
		return own{}, m.unreachable(err)
	}
	says := properties(out)
	o := own{environment: map[string]string{}, units: systemUnits, paths: words(says["UnitPath"]), run: "/run"}
	for _, item := range words(says["Environment"]) {
		name, value, _ := strings.Cut(item, "=")
		o.environment[name] = value
	}
	if digits := regexp.MustCompile(`^\d+`).FindString(says["Version"]); digits != "" {
		o.version, _ = strconv.Atoi(digits)
	}
	if !m.user {
		return o, nil
	}
	o.run = o.environment["XDG_RUNTIME_DIR"]
	// The first of the paths that is no manager's own: ~/.config/systemd/user.
	for _, dir := range words(says["UnitPath"]) {
		if filepath.Base(dir) == "user" && !strings.HasPrefix(dir, o.environment["XDG_RUNTIME_DIR"]+"/") {
			o.units = dir
			return o, nil
		}
	}
	return own{}, patchbay.Errorf(patchbay.SettingsUnreadable, "the user's manager does not say where its units are")
}

// properties are the lines of systemctl show. What the program warns of besides has no
// such form.
func properties(out string) map[string]string {
	all := map[string]string{}
	for line := range strings.SplitSeq(out, "\n") {
		if name, value, ok := strings.Cut(line, "="); ok {
			all[name] = value
		}
	}
	return all
}

// words splits a list as systemctl show writes it: with spaces between the items, and
// those that need it between double quotes, with C's escapes.
func words(text string) []string {
	var all []string
	for i := 0; i < len(text); {
		if text[i] == ' ' {
			i++
			continue
		}
		var word strings.Builder
		inside := false
		for ; i < len(text) && (inside || text[i] != ' '); i++ {
			switch c := text[i]; {
			case c == '"':
				inside = !inside
			case c == '\\' && i+1 < len(text):
				var b []byte
				b, i = unescape(text, i+1)
				word.Write(b)
			default:
				word.WriteByte(c)
			}
		}
		all = append(all, word.String())
	}
	return all
}

// unescape reads the escape whose letter is at i; at is where it ends.
func unescape(text string, i int) (b []byte, at int) {
	switch c := text[i]; c {
	case 'a', 'b', 'f', 'n', 'r', 't', 'v', 's':
		return []byte{"\a\b\f\n\r\t\v "[strings.IndexByte("abfnrtvs", c)]}, i
	case 'x':
		if i+2 < len(text) {
			if n, err := strconv.ParseUint(text[i+1:i+3], 16, 8); err == nil {
				return []byte{byte(n)}, i + 2
			}
		}
	case '0', '1', '2', '3', '4', '5', '6', '7':
		if i+2 < len(text) {
			if n, err := strconv.ParseUint(text[i:i+3], 8, 8); err == nil {
				return []byte{byte(n)}, i + 2
			}
		}
	}
	return []byte{text[i]}, i
}

// unreachable says why the manager does not answer.
func (m *manager) unreachable(err error) error {
	f := (*failure)(nil)
	if !errors.As(err, &f) {
		return fault(patchbay.SettingsUnreadable, "the manager", err)
	}
	e := patchbay.Errorf(patchbay.SettingsUnreadable, "systemd does not answer: %s", driver.LastWords([]byte(f.output), nil))
	if m.user {
		return e.WithFix("let its login have a manager that runs without a session: loginctl enable-linger %s   (and name that login: --user LOGIN)", orLogin(m.login))
	}
	return e.WithFix("systemctl is-system-running   (on the host, as the login that Patchbay works as)")
}

func orLogin(login string) string {
	if login == "" {
		return "LOGIN"
	}
	return login
}
