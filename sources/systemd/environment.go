package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/sources/internal/environmentfile"
)

// maxFile bounds an environment file, and all files of a connection, in bytes:
// systemd hands a service at most as much in credentials.
const maxFile = 1 << 20

// ownVariables are those that a manager gives its services (systemd.exec(5),
// "Environment variables in spawned processes"): they are nobody's settings.
var ownVariables = []string{
	"PATH", "LANG", "LC_*", "USER", "LOGNAME", "HOME", "SHELL", "PWD", "TERM", "COLORTERM", "NO_COLOR", "INVOCATION_ID", "XDG_*", "DBUS_SESSION_BUS_ADDRESS",
	"RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY", "LOGS_DIRECTORY", "CONFIGURATION_DIRECTORY", "CREDENTIALS_DIRECTORY",
	"MAINPID", "MANAGERPID", "MANAGERPIDFDID", "LISTEN_*", "NOTIFY_SOCKET", "WATCHDOG_*", "SYSTEMD_*", "JOURNAL_STREAM", "SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS",
	"MONITOR_*", "PIDFILE", "FDSTORE", "REMOTE_ADDR", "REMOTE_PORT", "TRIGGER_*", "MEMORY_PRESSURE_*", "DEBUG_INVOCATION", "MAIL",
}

func ownVariable(name string) bool {
	return slices.ContainsFunc(ownVariables, func(pattern string) bool {
		begin, family := strings.CutSuffix(pattern, "*")
		return pattern == name || family && strings.HasPrefix(name, begin)
	})
}

// environmentText is one file that a unit's environment comes from.
type environmentText struct {
	path string
	text string
}

// texts reads the files of the unit's EnvironmentFile=, in order. Files that are not
// there say nothing; whether the unit can start without them is not asked here.
func (s *source) texts(ctx context.Context, u unit) ([]environmentText, error) {
	var all []environmentText
	for _, file := range u.files {
		found, err := s.expand(ctx, file.pattern)
		if err != nil {
			return nil, fault(patchbay.SettingsUnreadable, file.pattern, err)
		}
		for _, name := range found {
			f, err := s.host.ReadFile(ctx, name, maxFile)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				continue
			case errors.Is(err, hosts.ErrIrregular):
				continue // systemd does not wait for a FIFO either
			case err != nil:
				return nil, fault(patchbay.SettingsUnreadable, name, err)
			}
			all = append(all, environmentText{name, string(f.Content)})
		}
	}
	return all, nil
}

// expand is the files that a pattern names, sorted as glob(3) sorts them.
func (s *source) expand(ctx context.Context, pattern string) ([]string, error) {
	found := []string{"/"}
	parts := strings.Split(strings.Trim(pattern, "/"), "/")
	for i, part := range parts {
		plain := unglobbed.Replace(part)
		if !strings.ContainsAny(strings.NewReplacer(`\*`, "", `\?`, "", `\[`, "").Replace(part), "*?[") {
			for j := range found {
				found[j] = filepath.Join(found[j], plain)
			}
			continue
		}
		var next []string
		for _, dir := range found {
			names, err := s.host.ListDir(ctx, dir)
			if errors.Is(err, fs.ErrNotExist) || err != nil && i < len(parts)-1 && !errors.Is(err, ctx.Err()) {
				continue
			}
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				if strings.HasPrefix(name, ".") && !strings.HasPrefix(part, ".") {
					continue
				}
				if ok, err := path.Match(part, name); err == nil && ok {
					next = append(next, filepath.Join(dir, name))
				}
			}
		}
		found = next
	}
	slices.Sort(found)
	return found, nil
}

var unglobbed = strings.NewReplacer(`\\`, `\`, `\*`, `*`, `\?`, `?`, `\[`, `[`)

// variable is one of an environment, and who says so, for people.
type variable struct {
	value string
	from  string
}

// environment is what the unit's next process would have, but for what its manager
// gives every one: systemd.exec(5), Environment=, has the order.
func (s *source) environment(ctx context.Context, v view) (map[string]variable, error) {
	texts, err := s.texts(ctx, v.unit)
	if err != nil {
		return nil, err
	}
	return s.environmentOf(v, texts)
}

func (s *source) environmentOf(v view, texts []environmentText) (map[string]variable, error) {
	all := map[string]variable{}
	for name, value := range v.own.environment {
		if !ownVariable(name) {
			all[name] = variable{value, "its manager's environment"}
		}
	}
	for _, name := range v.list("PassEnvironment") {
		// What the system's manager itself was started with, nobody is told. A user's says it
		// as the environment that every unit has.
		if _, told := all[name]; !told && !s.user {
			all[name] = variable{"", "PassEnvironment= of " + s.unit}
		}
	}
	for _, item := range v.list("Environment") {
		name, value, _ := strings.Cut(item, "=")
		if name == rootVariable && value == v.place.bindings() {
			continue // ours; nobody's setting
		}
		all[name] = variable{value, "Environment= of " + s.unit}
	}
	for _, t := range texts {
		statements, err := environmentfile.Parse(t.text)
		if bad := (*environmentfile.Ambiguity)(nil); errors.As(err, &bad) {
			return nil, patchbay.Errorf(patchbay.SettingsUnreadable, "%s, an environment file of %s, can't be told apart: line %d %s", t.path, s.unit, bad.Line, bad.Why).
				WithFix("sed -n %dp %s   (and mend that line)", bad.Line, quoted(t.path))
		}
		for _, st := range statements {
			if st.Kind == environmentfile.Assignment && environmentfile.IsName(st.Name) {
				all[st.Name] = variable{st.Value, t.path}
			}
		}
	}
	for _, item := range v.list("UnsetEnvironment") {
		name, value, exact := strings.Cut(item, "=")
		if set, ok := all[name]; ok && (!exact || set.value == value) {
			delete(all, name)
		}
	}
	return all, nil
}

// maxString is the longest that Linux hands a process in one piece, in bytes: an
// argument, or a name with its value.
const maxString = 128<<10 - 1

// reserved is left for arguments, and what the manager adds, in bytes.
const reserved = 64 << 10

// maxEnvironment is how much an environment may be, in bytes: a quarter of the
// stack's limit, as execve(2) has it.
func (u unit) maxEnvironment() int {
	stack, err := strconv.ParseUint(u.facts["LimitSTACKSoft"], 10, 63)
	if err != nil { // infinity
		stack = 24 << 20
	}
	return int(max(min(stack/4, 6<<20), 128<<10)) - reserved
}

func sizeOf(name, value string) int { return len(name) + len(value) + 2 + 8 }

// checkSetting refuses what systemd would not hand on exactly. The value is never a
// part of the error.
func checkSetting(name, value string) error {
	bad := func(format string, args ...any) *patchbay.Error {
		e := patchbay.Errorf(patchbay.InvalidArgument, format, args...)
		e.Subject = clip(name)
		return e
	}
	switch {
	case len(name) > 255:
		return bad("the setting name %q is longer than 255 bytes", clip(name))
	case !environmentfile.IsName(name):
		return bad("the setting name %q is none that systemd sets (it leaves others out without a word): letters, digits and underscores, not beginning with a digit", clip(name)).
			WithFix("name it with letters, digits and underscores, beginning with a letter")
	case ownVariable(name) || name == rootVariable:
		return bad("%s is a variable that systemd itself gives a service", name).WithFix("give the setting another name")
	case strings.ContainsRune(value, 0):
		return bad("the value of %s holds a NUL byte, which no environment variable can", name)
	case !utf8.ValidString(value):
		return bad("the value of %s is not UTF-8, and with it the unit would not start", name)
	case strings.ContainsFunc(value, noncharacter):
		return bad("the value of %s holds a code point that is no character of Unicode, and with it the unit would not start", name)
	case len(name)+1+len(value) > maxString:
		return bad("the value of %s is longer than the %d bytes that a process can be handed in one variable", name, maxString-len(name)-1).
			WithFix("register the source with --deliver files, and connect it with --naming servicebinding")
	}
	return nil
}

// noncharacter: systemd refuses a whole file for one.
func noncharacter(r rune) bool { return r >= 0xFDD0 && r <= 0xFDEF || r&0xFFFE == 0xFFFE }

func clip(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}

func textsSum(texts []environmentText) string {
	var b strings.Builder
	for _, t := range texts {
		fmt.Fprintf(&b, "%q%q", t.path, t.text)
	}
	return b.String()
}
