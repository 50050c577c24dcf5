package envfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
)

const testID patchbay.ID = "/subscriptions/s/resourceGroups/it's a group/providers/Microsoft.Web/sites/my web"

// layout is one way in which a settings file may lie there.
type layout struct {
	name    string
	dialect string
	begin   *string // nil: no file yet
	symlink bool
	files   bool
	reload  string // command, signal or ""
}

func text(s string) *string { return &s }

var layouts = []layout{
	{name: "dotenv, no file yet", dialect: "dotenv", files: true, reload: "command"},
	{name: "dotenv", dialect: "dotenv", begin: text("# ours\n\n  # more\n"), reload: "command"},
	{name: "dotenv, empty", dialect: "dotenv", begin: text("")},
	{name: "dotenv, CRLF and a byte order mark", dialect: "dotenv", begin: text(byteOrderMark + "# ours\r\n\r\n"), files: true},
	{name: "dotenv, no final line end, behind links", dialect: "dotenv", begin: text("# ours\n# end"), symlink: true},
	{name: "docker", dialect: "docker", begin: text("# ours\n\nFROM_HOST\n"), files: true},
	{name: "docker, CRLF", dialect: "docker", begin: text("# ours\r\n")},
	{name: "systemd", dialect: "systemd", begin: text("# ours\n; and ours\n\nnot an assignment\n"), files: true, reload: "signal"},
	{name: "systemd, no file yet", dialect: "systemd", symlink: true},
}

func TestSourceSuite(t *testing.T) {
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) { drivertest.Source(t, l.harness(l.place)) })
	}
}

func (l layout) harness(place func(testing.TB) drivertest.SourcePlace) drivertest.SourceHarness {
	h := drivertest.SourceHarness{
		Driver:  Driver(),
		New:     place,
		Refused: map[string]patchbay.Setting{},
		Watches: true,
	}
	refuse := func(what, name, value string) {
		h.Refused[what] = patchbay.Setting{Name: name, Value: patchbay.NewSecret(value)}
	}
	switch l.dialect {
	case "docker":
		refuse("newline", "A", "canary\nline two")
		refuse("carriage return", "A", "canary\r")
		refuse("very long", "A", strings.Repeat("canary", 20_000))
		refuse("comment", "#A", "canary")
	case "systemd":
		h.Values = multiLine
		refuse("dots", "spring.datasource.url", "canary")
		refuse("dashes", "my-name", "canary")
		refuse("digit", "1A", "canary")
	default:
		h.Values = multiLine
		refuse("shell", "$(date)", "canary")
		refuse("colon", "A:B", "canary")
		refuse("quote", "A'", "canary")
	}
	return h
}

var multiLine = []string{
	"one\ntwo\n", "\n", "\n\n", "it's\n\"two\"\n", "-----BEGIN KEY-----\nAAAA\n-----END KEY-----\n",
	"cr\rlf\r\n", "\r", "a\\\nb", "#\n#", "K=1\nPB_AFTER=stolen", "'\nPB_AFTER='x", "\"\nPB_AFTER=\"x", "\x01\x7f",
}

func (l layout) place(t testing.TB) drivertest.SourcePlace {
	dir := t.TempDir()
	app := filepath.Join(dir, "app")
	path := filepath.Join(app, ".env")
	must(t, os.Mkdir(app, 0o750))
	target := path
	if l.symlink {
		// A relative link in a linked directory, to a link, to the file.
		must(t, os.Mkdir(filepath.Join(dir, "real"), 0o750))
		must(t, os.Symlink("real", filepath.Join(dir, "linked")))
		must(t, os.Symlink("../linked/link", path))
		must(t, os.Symlink("settings", filepath.Join(dir, "real", "link")))
		target = filepath.Join(dir, "real", "settings")
	}
	if l.begin != nil {
		must(t, os.WriteFile(target, []byte(*l.begin), 0o640))
	}
	properties := map[string]any{"egress": []string{"127.0.0.1/32", "fd00::/64"}}
	if l.dialect != "dotenv" {
		properties["dialect"] = l.dialect
	}
	p := drivertest.SourcePlace{
		Content: func() (string, error) { return tree(dir) },
		Read:    func() (map[string]string, error) { return independent(l.dialect, target) },
		Set:     func(name, value string) error { return setByHand(l.dialect, target, name, value) },
		Leftovers: func() ([]string, error) {
			var left []string
			err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
				if strings.Contains(filepath.Base(p), ".tmp") || strings.HasSuffix(p, "_tmp") || strings.HasPrefix(filepath.Base(p), "..orders") {
					left = append(left, p)
				}
				return err
			})
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
			return left, err
		},
		Remove: func() error { return errors.Join(os.RemoveAll(app), os.RemoveAll(filepath.Join(dir, "real"))) },
		Make: func() error {
			err := os.Mkdir(app, 0o750)
			if l.symlink {
				err = errors.Join(err, os.Mkdir(filepath.Join(dir, "real"), 0o750),
					os.Symlink("../linked/link", path), os.Symlink("settings", filepath.Join(dir, "real", "link")))
			}
			if l.begin == nil {
				return errors.Join(err, os.WriteFile(target, nil, 0o640))
			}
			return errors.Join(err, os.WriteFile(target, []byte(*l.begin), 0o640))
		},
	}
	if l.files {
		root := filepath.Join(dir, "bindings")
		must(t, os.MkdirAll(filepath.Join(root, "theirs"), 0o750))
		must(t, os.WriteFile(filepath.Join(root, "theirs", "password"), []byte("theirs"), 0o600))
		properties["bindingRoot"] = root
		p.ReadFiles = func(name string) (map[string]string, error) {
			files := map[string]string{}
			entries, err := os.ReadDir(filepath.Join(root, name))
			if errors.Is(err, fs.ErrNotExist) {
				return files, nil
			}
			for _, e := range entries {
				if strings.HasPrefix(e.Name(), ".") {
					continue
				}
				b, err := os.ReadFile(filepath.Join(root, name, e.Name()))
				if err != nil {
					return nil, err
				}
				files[e.Name()] = string(b)
			}
			return files, err
		}
	}
	count := filepath.Join(dir, "reloads")
	switch l.reload {
	case "command":
		properties["reload"] = map[string]any{"command": []string{"sh", "-c", `echo told >> "$1"`, "sh", count}}
		p.Restarts = func() (int, error) {
			b, err := os.ReadFile(count)
			return bytes.Count(b, []byte("\n")), err
		}
	case "signal":
		properties["reload"] = map[string]any{"pidFile": filepath.Join(dir, "pid"), "signal": "USR1"}
		properties["wait"] = map[string]any{"steady": "100ms"}
		p.Restarts = signaled(t, filepath.Join(dir, "pid"))
	}
	raw, err := json.Marshal(properties)
	must(t, err)
	p.Config = driver.Config{ID: testID, Endpoint: path, Properties: raw}
	return p
}

// TestMain lets this program be the application that is signaled.
func TestMain(m *testing.M) {
	if pidFile, ok := strings.CutPrefix(job(), "signaled|"); ok {
		os.Exit(application(pidFile))
	}
	os.Exit(m.Run())
}

// application writes a line for every SIGUSR1, until its input ends.
func application(pidFile string) int {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGUSR1)
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ready")
	go func() {
		for range signals {
			fmt.Println("told")
		}
	}()
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// signaled starts the application, and counts the lines that it writes.
func signaled(t testing.TB, pidFile string) func() (int, error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PATCHBAY_TEST_JOB=signaled|"+pidFile)
	feed, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = feed.Close()
		_ = cmd.Wait()
	})
	line := func() (string, error) {
		var b []byte
		for {
			one := make([]byte, 1)
			if _, err := out.Read(one); err != nil {
				return "", err
			}
			if one[0] == '\n' {
				return string(b), nil
			}
			b = append(b, one[0])
		}
	}
	if got, err := line(); err != nil || got != "ready" {
		t.Fatalf("the application says %q, %v", got, err)
	}
	n := 0
	return func() (int, error) {
		got, err := line()
		if got == "told" {
			n++
		}
		return n, err
	}
}

// tree is all that is below a directory: names, modes, links and contents.
func tree(dir string) (string, error) {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %s", strings.TrimPrefix(p, dir), info.Mode())
		switch {
		case d.Type().IsRegular():
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %q", content)
		case d.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " -> %s", link)
		}
		b.WriteByte('\n')
		return nil
	})
	return b.String(), err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// independent reads a settings file with code that shares nothing with the
// driver: a shell for systemd (what is written for it, a shell reads alike),
// and the rules of the package comment, once more, for the others.
func independent(dialect, path string) (map[string]string, error) {
	values := map[string]string{}
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return values, nil
	}
	if err != nil {
		return nil, err
	}
	s := strings.TrimPrefix(string(content), byteOrderMark)
	switch dialect {
	case "docker":
		for line := range strings.SplitSeq(s, "\n") {
			line = strings.TrimSuffix(line, "\r")
			if name, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(name, "#") {
				values[name] = value
			}
		}
	case "systemd":
		// The lines that a shell would run are not assignments for systemd.
		s = regexp.MustCompile(`(?m)^(;|not an ).*$`).ReplaceAllString(s, "")
		cmd := exec.Command("env", "-i", "sh", "-c", "set -a; "+"eval \"$1\"; exec env -0", "sh", s)
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("a shell reads the file: %w", err)
		}
		for v := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
			if name, value, ok := strings.Cut(v, "="); ok && name != "PWD" && name != "_" && name != "PATH" && name != "SHLVL" {
				values[name] = value
			}
		}
	default:
		form := regexp.MustCompile(`^(?:[ \t]*#[^\n]*|\s*)(?:\n|$)|^([\w.-]+)=(?:'([^']*)'|"((?:[^"\\]|\\.)*)"|([^'"\n][^\n]*?)?)\r?(?:\n|$)`)
		for s != "" {
			m := form.FindStringSubmatch(s)
			if m == nil {
				return nil, fmt.Errorf("no rule for %.40q", s)
			}
			if m[1] != "" {
				values[m[1]] = m[2] + strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\$`, `$`, `\r`, "\r").Replace(m[3]) + m[4]
			}
			s = s[len(m[0]):]
		}
	}
	return values, nil
}

// setByHand is a person with an editor.
func setByHand(dialect, path, name, value string) error {
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s := string(content)
	switch dialect {
	case "dotenv":
		if strings.ContainsAny(value, "'\"\\$") {
			value = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`).Replace(value) + `"`
		} else {
			value = "'" + value + "'"
		}
	case "systemd":
		value = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(value) + `"`
	}
	line := regexp.MustCompile(`(?m)^` + name + `=[^\r\n]*`)
	if all := line.FindAllStringIndex(s, -1); all != nil {
		at := all[len(all)-1]
		s = s[:at[0]] + name + "=" + value + s[at[1]:]
	} else {
		end := "\n"
		if strings.Contains(s, "\r\n") {
			end = "\r\n"
		}
		if s != "" && s != byteOrderMark && !strings.HasSuffix(s, "\n") {
			s += end
		}
		s += name + "=" + value + end
	}
	mode := fs.FileMode(0o600)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode()
	}
	return os.WriteFile(path, []byte(s), mode)
}
