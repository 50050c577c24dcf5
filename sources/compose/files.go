package compose

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/hosts"
)

// maxFile bounds a file of a project, in bytes.
const maxFile = 4 << 20

// file is one of ours, as it is at a moment.
type file struct {
	exists bool
	text   string
}

func (f file) sum() string {
	if !f.exists {
		return ""
	}
	return hosts.Sum([]byte(f.text))
}

func (s *source) readFile(ctx context.Context, name string) (file, error) {
	f, err := s.host.ReadFile(ctx, name, maxFile)
	switch {
	case err == nil:
		return file{true, string(f.Content)}, nil
	case errors.Is(err, fs.ErrNotExist):
		return file{}, nil
	}
	return file{}, s.unreadable(name, err)
}

// ours reports whether a file is one that Patchbay made.
func (f file) ours() bool { return strings.HasPrefix(f.text, header[:16]) || len(marksIn(f.text)) > 0 }

// form is how a file of ours holds the settings of a service.
type form interface {
	// split finds the lines of the service; put puts them back. What a file has
	// besides stays byte for byte.
	split(f file, service string) (region, error)
	put(f file, service string, r region) (file, error)
}

// dotenv is an env file as Compose reads it: all of its lines are the service's.
type dotenv struct{}

func (dotenv) split(f file, _ string) (region, error) {
	r := region{codec: dotenvLine{}}
	for line := range strings.Lines(strings.TrimPrefix(f.text, header)) {
		r.lines = append(r.lines, strings.TrimRight(line, "\r\n"))
	}
	return r, nil
}

func (dotenv) put(_ file, _ string, r region) (file, error) {
	if len(r.lines) == 0 {
		return file{}, nil
	}
	return file{true, header + strings.Join(r.lines, "\n") + "\n"}, nil
}

type dotenvLine struct{}

// line writes a value in the one form that has no exception: Compose interpolates
// between double quotes, and leaves other backslashes as they are.
func (dotenvLine) line(name, value string) string {
	return name + `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "\n", `\n`, "\r", `\r`).Replace(value) + `"`
}

func (dotenvLine) parse(line string) (name, value string, ok bool) {
	name, written, ok := strings.Cut(line, "=")
	if !ok || !settingName.MatchString(name) {
		return "", "", false
	}
	if len(written) < 2 || written[0] != '"' || written[len(written)-1] != '"' {
		return name, written, true // somebody's: what it is read as matters to nobody
	}
	return name, strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\$`, `$`, `\n`, "\n", `\r`, "\r").Replace(written[1 : len(written)-1]), true
}

// override is a Compose file that is merged into the project's: only there has a
// connection's setting precedence over the environment that the service has already.
type override struct{}

const indent = "      " // of an environment's lines

func (override) split(f file, service string) (region, error) {
	r := region{codec: yamlLine{}}
	from, to, found := locate(f.text, service)
	if !found {
		return r, nil
	}
	for _, line := range strings.SplitAfter(f.text, "\n")[from:to] {
		r.lines = append(r.lines, strings.TrimPrefix(strings.TrimRight(line, "\n"), indent))
	}
	return r, nil
}

// locate finds the lines of services.SERVICE.environment, in the form that we write.
func locate(text, service string) (from, to int, found bool) {
	all := strings.SplitAfter(text, "\n")
	at := 0
	for depth, key := range []string{"services:", yamlKey(service) + ":", "environment:"} {
		begin := strings.Repeat("  ", depth) + key
		for ; ; at++ {
			if at == len(all) {
				return 0, 0, false
			}
			line := strings.TrimRight(all[at], " \r\n")
			if line == begin {
				break
			}
			if depth > 0 && line != "" && indentOf(line) < 2*depth && !strings.HasPrefix(strings.TrimSpace(line), "#") {
				return 0, 0, false
			}
		}
		at++
	}
	for to = at; to < len(all) && strings.HasPrefix(all[to], indent); to++ {
	}
	return at, to, true
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

func (o override) put(f file, service string, r region) (file, error) {
	var body strings.Builder
	for _, line := range r.lines {
		body.WriteString(indent + line + "\n")
	}
	all := strings.SplitAfter(f.text, "\n")
	from, to, found := locate(f.text, service)
	var next string
	switch {
	case found && len(r.lines) > 0:
		next = strings.Join(all[:from], "") + body.String() + strings.Join(all[to:], "")
	case found:
		next = withoutEmpty(all[:from], all[to:])
	case len(r.lines) == 0:
		return f, nil
	case f.text == "":
		next = header + "services:\n" + serviceHead(service) + body.String()
	default:
		next = insertService(f.text, service, body.String())
	}
	if strings.TrimSpace(strings.Replace(next, header, "", 1)) == "" {
		return file{}, o.same(f, file{}, service, r)
	}
	after := file{true, next}
	return after, o.same(f, after, service, r)
}

func serviceHead(service string) string {
	return "  " + yamlKey(service) + ":\n    environment:\n"
}

// withoutEmpty takes out the keys that now have nothing below them.
func withoutEmpty(before, after []string) string {
	for depth := 2; depth >= 0; depth-- {
		behind := ""
		for _, line := range after {
			if strings.TrimSpace(line) != "" {
				behind = line
				break
			}
		}
		last := ""
		if len(before) > 0 {
			last = strings.TrimRight(before[len(before)-1], "\n")
		}
		if behind != "" && indentOf(behind) > 2*depth || indentOf(last) != 2*depth || !strings.HasSuffix(last, ":") {
			break
		}
		before = before[:len(before)-1]
	}
	return strings.Join(before, "") + strings.Join(after, "")
}

// insertService puts the environment of a service that has none into a file: at the
// service, where it stands there, or behind the last one.
func insertService(text, service, body string) string {
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	all := strings.SplitAfter(text, "\n")
	at := slices.IndexFunc(all, func(line string) bool { return strings.TrimRight(line, " \r\n") == "services:" })
	if at < 0 {
		return text + "services:\n" + serviceHead(service) + body
	}
	end := at + 1
	for i := at + 1; i < len(all); i++ {
		line := strings.TrimRight(all[i], " \r\n")
		if line == "  "+yamlKey(service)+":" {
			return strings.Join(all[:i+1], "") + "    environment:\n" + body + strings.Join(all[i+1:], "")
		}
		if line != "" && indentOf(line) == 0 && !strings.HasPrefix(line, "#") {
			break
		}
		if strings.HasPrefix(all[i], "  ") {
			end = i + 1
		}
	}
	return strings.Join(all[:end], "") + serviceHead(service) + body + strings.Join(all[end:], "")
}

// same fails unless the new text says what the old one did, but for the service's
// environment, which is the region's.
func (override) same(f, after file, service string, r region) error {
	tree := func(text string) (map[string]any, error) {
		var all map[string]any
		err := yaml.Unmarshal([]byte(text), &all)
		return all, err
	}
	odd := patchbay.Errorf(patchbay.SettingsUnwritable, "Patchbay's file beside the project is written in a way that it can't change: a service's environment there is NAME: value, a line each, below services, indented by two").
		WithFix("move what was added to it by hand into the project's own file")
	was, err := tree(f.text)
	if err != nil {
		return odd
	}
	is, err := tree(after.text)
	if err != nil {
		return odd
	}
	want := map[string]any{}
	for name, value := range valuesOf(r.items()) {
		want[name] = value
	}
	got := map[string]any{}
	for name, value := range cutEnvironment(is, service) {
		got[name] = fmt.Sprint(value)
		if text, ok := value.(string); ok {
			got[name] = strings.ReplaceAll(text, "$$", "$")
		}
	}
	cutEnvironment(was, service)
	if !reflect.DeepEqual(got, want) || len(was)+len(is) > 0 && !reflect.DeepEqual(was, is) {
		return odd
	}
	return nil
}

// cutEnvironment takes a service's environment out of a file's tree, and what is
// empty without it.
func cutEnvironment(tree map[string]any, service string) map[string]any {
	services, _ := tree["services"].(map[string]any)
	of, _ := services[service].(map[string]any)
	environment, _ := of["environment"].(map[string]any)
	if environment != nil || of["environment"] == nil {
		delete(of, "environment")
	}
	if len(of) == 0 {
		delete(services, service)
	}
	if len(services) == 0 {
		delete(tree, "services")
	}
	return environment
}

type yamlLine struct{}

func (yamlLine) line(name, value string) string { return yamlKey(name) + ": " + yamlText(value) }

var yamlForm = regexp.MustCompile(`^(?:"([A-Za-z_][A-Za-z0-9_.-]*)"|([A-Za-z_][A-Za-z0-9_.-]*)):(?: (.*))?$`)

func (yamlLine) parse(line string) (name, value string, ok bool) {
	m := yamlForm.FindStringSubmatch(line)
	if m == nil {
		return "", "", false
	}
	var scalar any
	if err := yaml.Unmarshal([]byte(m[3]), &scalar); err != nil {
		return m[1] + m[2], m[3], true
	}
	if text, isText := scalar.(string); isText {
		return m[1] + m[2], strings.ReplaceAll(text, "$$", "$"), true
	}
	return m[1] + m[2], fmt.Sprint(scalar), true
}

// yamlWords mean something else than a name where they stand alone.
var yamlWords = []string{"null", "true", "false", "yes", "no", "on", "off", "y", "n"}

func yamlKey(name string) string {
	if name == "" || !unicode.IsLetter(rune(name[0])) && name[0] != '_' || slices.Contains(yamlWords, strings.ToLower(name)) {
		return `"` + name + `"`
	}
	return name
}

// yamlText is a text between double quotes, with Compose's own variables in it off.
func yamlText(value string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range value {
		switch {
		case r == '"' || r == '\\':
			b.WriteString(`\` + string(r))
		case r == '$':
			b.WriteString("$$")
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r > 0xffff && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\U%08X`, r)
		case r != ' ' && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// snapshot is [driver.Snapshot].Content.
type snapshot struct {
	Exists bool   `json:"exists"`
	Text   string `json:"text"`
}

func (f file) snapshot() string {
	b, _ := json.Marshal(snapshot{f.exists, f.text}) // strings
	return string(b)
}

// temp is the temporary file of a writer; a glob finds those of all.
func temp(name, who string) string { return "." + path.Base(name) + ".patchbay-" + who + ".tmp" }
