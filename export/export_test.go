package export

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/joho/godotenv"
	yamlreader "go.yaml.in/yaml/v4"

	"patchbay.dev/patchbay"
)

// hostile is what a value may hold that means something to somebody.
var hostile = map[string]string{
	"EMPTY": "", "PLAIN": "p4ss", "SPACES": "  two words  ", "QUOTES": `it's "x"`, "DOLLAR": `$x ${x} $$ a$`, "BACKSLASH": `a\b\\c\n\`,
	"LINES": "one\ntwo\n\nthree\n", "HASH": "a #b", "TAB": "a\tb", "UNICODE": "naïve 🎉 \u2028", "YAML": "yes: [1, *a] !!x", "COLON": "a: b", "TICK": "`id`", "SHELL": "$(id)",
	"JSON": `{"a": "<&>"}`, "CONTROL": "\x01\x7f\u0085",
}

func settings(values map[string]string, file bool) []patchbay.Setting {
	var set []patchbay.Setting
	for _, name := range slices.Sorted(maps.Keys(values)) {
		set = append(set, patchbay.Setting{Name: name, Value: patchbay.NewSecret(values[name]), File: file, Secret: true})
	}
	return set
}

func write(t *testing.T, format string, c Connection) []byte {
	t.Helper()
	text, _, err := named(t, format).Write(c)
	if err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	return text
}

func named(t *testing.T, format string) Format {
	t.Helper()
	at := slices.IndexFunc(Formats(), func(f Format) bool { return f.Name == format })
	if at < 0 {
		t.Fatalf("there is no format %s", format)
	}
	return Formats()[at]
}

func without(values map[string]string, names ...string) map[string]string {
	rest := maps.Clone(values)
	for _, name := range names {
		delete(rest, name)
	}
	return rest
}

func same(t *testing.T, who string, got, want map[string]string) {
	t.Helper()
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s reads %s as %q, and it is %q", who, name, got[name], want[name])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s reads %d settings of %d: %q", who, len(got), len(want), got)
	}
}

// ask hands a text to a program that answers JSON.
func ask(t *testing.T, in []byte, answer any, command ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Stdin = bytes.NewReader(in)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if _, missing := exec.LookPath(command[0]); missing != nil || strings.Contains(errs.String(), "is not installed") || strings.Contains(errs.String(), "No module named") {
			t.Skipf("%s can't be asked here: %v %s", command[0], err, errs.String())
		}
		t.Fatalf("%s: %v %s", strings.Join(command[:1], " "), err, errs.String())
	}
	if err := json.Unmarshal(out.Bytes(), answer); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
}

func TestALibraryReadsWhatIsWrittenForIt(t *testing.T) {
	c := Connection{Name: "orders", Client: "go", Set: settings(hostile, false)}
	got, err := godotenv.UnmarshalBytes(write(t, "dotenv", c))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "godotenv", got, hostile)
}

// What no form suits is said, or refused by name; other clients' libraries are the
// business of the dialect's own tests.
func TestALibraryThatReadsOtherwiseIsNamed(t *testing.T) {
	_, warnings, err := named(t, "dotenv").Write(Connection{Name: "orders", Client: "python", Set: settings(map[string]string{"A": "${x}"}, false)})
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "A holds what some read otherwise") {
		t.Errorf("%q, %v", warnings, err)
	}
}

func TestSystemdReadsTheFileThatIsWrittenForIt(t *testing.T) {
	values := without(hostile, "CONTROL")
	var got map[string]string
	ask(t, write(t, "systemd", Connection{Name: "orders", Set: settings(values, false)}), &got, "python3", "testdata/systemd.py")
	same(t, "systemd", got, values)
}

func TestComposeReadsTheOverrideThatIsWrittenForIt(t *testing.T) {
	set := slices.Concat(settings(hostile, false), settings(map[string]string{"type": "postgresql", "password": hostile["DOLLAR"], "ca.crt": hostile["LINES"]}, true))
	override := write(t, "compose", Connection{Name: "orders", Source: "group/web", Set: set})
	in, err := json.Marshal([]string{"services:\n  web:\n    image: shop\n    environment:\n      KEPT: 'yes'\n  other:\n    image: shop\n", string(override)})
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]map[string]string
	ask(t, in, &got, "go", "-C", filepath.FromSlash("../sources/envfile/testdata/compose"), "run", ".", "project")
	want := maps.Clone(hostile)
	want["KEPT"], want["SERVICE_BINDING_ROOT"] = "yes", "/bindings"
	same(t, "Compose", got["web"], want)
	same(t, "Compose", got["configs"], map[string]string{"orders-type": "postgresql", "orders-password": hostile["DOLLAR"], "orders-ca.crt": hostile["LINES"]})
	if len(got["other"]) != 0 {
		t.Errorf("another service has %q", got["other"])
	}
}

// secret is what a Secret may have, and nothing else.
type secret struct {
	APIVersion string                           `yaml:"apiVersion" json:"apiVersion"`
	Kind       string                           `yaml:"kind" json:"kind"`
	Metadata   struct{ Name, Namespace string } `yaml:"metadata" json:"metadata"`
	Type       string                           `yaml:"type" json:"type"`
	StringData map[string]string                `yaml:"stringData" json:"stringData"`
}

func TestAClusterReadsTheSecretsThatAreWrittenForIt(t *testing.T) {
	files := map[string]string{"type": "postgresql", "uri": hostile["DOLLAR"]}
	text := write(t, "kubernetes", Connection{Name: "My_orders.1", Set: slices.Concat(settings(hostile, false), settings(files, true))})
	check := func(who string, got []secret) {
		t.Helper()
		if len(got) != 2 {
			t.Fatalf("%s reads %d documents", who, len(got))
		}
		for i, want := range []secret{{Type: "Opaque", StringData: hostile}, {Type: "servicebinding.io/postgresql", StringData: files}} {
			same(t, who, got[i].StringData, want.StringData)
			name := []string{"sc-myorders1-secret", "sc-myorders1-binding"}[i]
			if s := got[i]; s.Type != want.Type || s.Kind != "Secret" || s.APIVersion != "v1" || s.Metadata.Name != name {
				t.Errorf("%s reads %+v", who, s)
			}
		}
	}
	var strict []secret
	dec := yamlreader.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	for {
		var s secret
		if dec.Decode(&s) != nil {
			break
		}
		strict = append(strict, s)
	}
	check("a strict decoder", strict)
	var other []secret
	ask(t, text, &other, "python3", "-c", "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin.buffer))))")
	check("PyYAML", other)
}

func TestTarUnpacksTheBinding(t *testing.T) {
	files := map[string]string{"type": "postgresql", "password": hostile["LINES"], "ca.crt": hostile["QUOTES"]}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "tar", "-x", "-C", dir)
	cmd.Stdin = bytes.NewReader(write(t, "servicebinding", Connection{Name: "orders", Set: settings(files, true)}))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v %s", err, out)
	}
	got := map[string]string{}
	entries, err := os.ReadDir(filepath.Join(dir, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, "orders", e.Name()))
		info, err2 := e.Info()
		if err != nil || err2 != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v %v %v", e.Name(), err, err2, info.Mode())
		}
		got[e.Name()] = string(text)
	}
	same(t, "tar", got, files)
}

// The shape is the one that Cloud Foundry's documentation gives of a service that the
// user provides.
func TestVCAPServicesHasItsShape(t *testing.T) {
	text := write(t, "vcap", Connection{Name: "orders", Set: settings(hostile, false)})
	var got map[string][]struct {
		Label        string            `json:"label"`
		Name         string            `json:"name"`
		Tags         []string          `json:"tags"`
		InstanceName string            `json:"instance_name"`
		BindingName  *string           `json:"binding_name"`
		Credentials  map[string]string `json:"credentials"`
		Drain        string            `json:"syslog_drain_url"`
		Mounts       []string          `json:"volume_mounts"`
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&got); err != nil || len(got["user-provided"]) != 1 {
		t.Fatalf("%v: %s", err, text)
	}
	s := got["user-provided"][0]
	same(t, "JSON", s.Credentials, hostile)
	if s.Name != "orders" || s.Label != "user-provided" || s.Tags == nil || s.Mounts == nil || bytes.Count(text, []byte("\n")) != 1 {
		t.Errorf("%s", text)
	}
}

func TestWhatAFormatCantHoldIsRefusedByName(t *testing.T) {
	one := func(name, value string, file bool) Connection {
		return Connection{Name: "orders", Source: "web", Set: settings(map[string]string{name: value}, file)}
	}
	const canary = "c4n4ry"
	for format, all := range map[string][]Connection{
		"dotenv":         {one("A B", canary, false), one("A", canary+"\x00", false), one("A=B", canary, false)},
		"systemd":        {one("A.B", canary, false), one("1A", canary, false), one("A\nB", canary, false)},
		"compose":        {one("A=B", canary, false), one("", canary, false), one("../x", canary, true), one("A$B", canary, false)},
		"kubernetes":     {one("A/B", canary, false), one("..A", canary, false), one("A", canary+strings.Repeat("x", 1<<20), false), one("A%sB", canary, false)},
		"servicebinding": {one("../x", canary, true), one(".x", canary, true), one("a/b", canary, true)},
		"vcap":           {one("A", canary+"\xff", false)},
	} {
		for _, c := range all {
			_, _, err := named(t, format).Write(c)
			e := patchbay.AsError(err)
			if e == nil || e.Code != patchbay.InvalidArgument || strings.Contains(err.Error()+e.Fix, canary) || strings.Contains(err.Error(), "%!") {
				t.Errorf("%s of %q: %v", format, c.Set[0].Name, err)
			}
		}
	}
	for format, c := range map[string]Connection{
		"servicebinding": one("A", canary, false), "dotenv": one("ca.crt", canary, true), "systemd": one("ca.crt", canary, true),
	} {
		if _, _, err := named(t, format).Write(c); patchbay.CodeOf(err) != patchbay.NotSupported || patchbay.AsError(err).Fix == "" {
			t.Errorf("%s of what it has no place for: %v", format, err)
		}
	}
	mixed := one("A", "b", false)
	mixed.Set = append(mixed.Set, settings(map[string]string{"ca.crt": "x"}, true)...)
	for format, left := range map[string]string{"dotenv": "files: ca.crt", "servicebinding": "environment variables: A"} {
		if _, warnings, err := named(t, format).Write(mixed); err != nil || len(warnings) != 1 || !strings.HasSuffix(warnings[0], left) {
			t.Errorf("%s: %q, %v", format, warnings, err)
		}
	}
	for _, f := range Formats() {
		if _, _, err := f.Write(Connection{Name: "orders"}); patchbay.CodeOf(err) != patchbay.ResourceNotFound {
			t.Errorf("%s of nothing: %v", f.Name, err)
		}
	}
}

// Whatever stands in a value, YAML reads it back, and nothing besides.
func FuzzYAMLReadsWhatIsWritten(f *testing.F) {
	for _, v := range hostile {
		f.Add(v, v)
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		c := Connection{Name: "orders", Source: "web", Set: []patchbay.Setting{{Name: name, Value: patchbay.NewSecret(value)}}}
		for _, format := range []string{"kubernetes", "compose"} {
			text, _, err := named(t, format).Write(c)
			if err != nil {
				continue
			}
			var doc struct {
				StringData map[string]string                                  `yaml:"stringData"`
				Services   map[string]struct{ Environment map[string]string } `yaml:"services"`
				Rest       map[string]any                                     `yaml:",inline"`
			}
			if err := yamlreader.Unmarshal(text, &doc); err != nil {
				t.Fatalf("%v: %s", err, text)
			}
			got, want := doc.StringData, value
			if format == "compose" {
				got, want = doc.Services["web"].Environment, strings.ReplaceAll(value, "$", "$$")
			}
			if len(got) != 1 || got[name] != want {
				t.Errorf("%s reads %q as %q", format, value, got)
			}
		}
	})
}
