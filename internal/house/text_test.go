package house

import (
	"bytes"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// places are strings that tie the repository to one machine or one mirror,
// with the reason. They are put together here so that this file doesn't name
// them.
var places = []struct {
	pattern *regexp.Regexp
	reason  string
}{
	{regexp.MustCompile(`(^|[^A-Za-z0-9._~@/-])/(` + strings.Join([]string{"wo" + "rk", "ro" + "ot", "Us" + "ers", "ho" + "me/[a-z]+"}, "|") + `)/`),
		"a path of one machine is wrong on every other"},
	{regexp.MustCompile(`\b(` + strings.Join([]string{
		"proxy.gol" + "ang", "sum.gol" + "ang", "registry.npm" + "js", "deb.deb" + "ian", "security.deb" + "ian", "archive.ubu" + "ntu",
		"registry-1.dock" + "er", "index.dock" + "er", "files.pythonhost" + "ed", "py" + "pi", "goproxy",
	}, "|") + `)\.(org|io|com|cn)\b`),
		"which registry or mirror serves a package is the machine's business, not the project's"},
}

// isText reports whether a file is one that a person reads.
func isText(content []byte) bool { return !bytes.Contains(content, []byte{0}) }

func TestNoFileNamesAMachineOrAMirror(t *testing.T) {
	for _, name := range mustFiles(t) {
		content := []byte(text(t, name))
		if !isText(content) {
			continue
		}
		for i, line := range strings.Split(string(content), "\n") {
			for _, p := range places {
				if found := p.pattern.FindString(line); found != "" {
					t.Errorf("%s:%d: %q: %s", name, i+1, found, p.reason)
				}
			}
		}
	}
}

func TestTheSearchForMachinesAndMirrorsFindsThem(t *testing.T) {
	bad := []string{
		"cd /wo" + "rk/main", `"/ro` + `ot/.cache"`, "HOME=/ro" + "ot/x", "/ho" + "me/jo/patchbay",
		"https://proxy.gol" + "ang.org/x", "registry.npm" + "js.org",
	}
	good := []string{
		"network/port", "frame/work/x", "https://example.org/work/x", "the root/", "go/root/x", "/var/lib/patchbay", "docs/root.md",
		"$HOME/work", "./root/x", "/home/$USER/x", "a home below /root",
	}
	match := func(s string) bool {
		for _, p := range places {
			if p.pattern.MatchString(s) {
				return true
			}
		}
		return false
	}
	for _, s := range bad {
		if !match(s) {
			t.Errorf("%q is not found", s)
		}
	}
	for _, s := range good {
		if match(s) {
			t.Errorf("%q is found, and is harmless", s)
		}
	}
}

var (
	fence    = regexp.MustCompile("(?ms)^[ \t]*(```|~~~).*?^[ \t]*(```|~~~)[ \t]*$")
	inline   = regexp.MustCompile("`[^`\n]*`")
	link     = regexp.MustCompile(`!?\[[^\]]*\]\(\s*<?([^)\s>]+)>?(?:\s+"[^"]*")?\s*\)`)
	refLink  = regexp.MustCompile(`(?m)^\[[^\]]+\]:\s+<?(\S+?)>?\s*$`)
	heading  = regexp.MustCompile(`(?m)^#{1,6}[ \t]+(.+?)[ \t]*#*$`)
	anchor   = regexp.MustCompile(`<a (?:id|name)="([^"]+)"`)
	external = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:`)
)

// links are the link targets of a Markdown text, outside of code.
func links(markdown string) []string {
	markdown = inline.ReplaceAllString(fence.ReplaceAllString(markdown, ""), "`")
	var list []string
	for _, m := range slices.Concat(link.FindAllStringSubmatch(markdown, -1), refLink.FindAllStringSubmatch(markdown, -1)) {
		list = append(list, m[1])
	}
	return list
}

// anchors are the fragments that a Markdown text offers: its headings, as the
// usual forges name them, and explicit ones.
func anchors(markdown string) map[string]bool {
	markdown = fence.ReplaceAllString(markdown, "")
	m := map[string]bool{}
	for _, h := range heading.FindAllStringSubmatch(markdown, -1) {
		var b strings.Builder
		for _, r := range strings.ToLower(h[1]) {
			switch {
			case r == ' ':
				b.WriteByte('-')
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				b.WriteRune(r)
			}
		}
		m[b.String()] = true
	}
	for _, a := range anchor.FindAllStringSubmatch(markdown, -1) {
		m[a[1]] = true
	}
	return m
}

func TestLinksInDocumentsResolve(t *testing.T) {
	names := mustFiles(t)
	there := map[string]bool{}
	for _, name := range names {
		for p := name; p != "."; p = path.Dir(p) {
			there[p] = true
		}
	}
	for _, name := range names {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, target := range links(text(t, name)) {
			if external.MatchString(target) {
				continue
			}
			file, fragment, _ := strings.Cut(target, "#")
			to := name
			if file != "" {
				to = path.Join(path.Dir(name), file)
			}
			switch {
			case strings.HasPrefix(file, "/"), to == "..", strings.HasPrefix(to, "../"):
				t.Errorf("%s: %s leads out of the repository", name, target)
			case to != "." && !there[to]:
				t.Errorf("%s: %s leads nowhere", name, target)
			case fragment != "" && path.Ext(to) == ".md" && !anchors(text(t, to))[fragment]:
				t.Errorf("%s: %s has no heading #%s", name, to, fragment)
			}
		}
	}
}

func TestLinksAreFoundOutsideOfCodeOnly(t *testing.T) {
	got := links("[a](x.md#y) ![i](p.png \"t\") `[no](no.md)`\n```\n[no](no.md)\n```\n[r]: z.md\n")
	if want := []string{"x.md#y", "p.png", "z.md"}; !slices.Equal(got, want) {
		t.Errorf("links = %q, want %q", got, want)
	}
	if a := anchors("# The `API`, v1.2\n```\n# no\n```\n"); !a["the-api-v12"] || len(a) != 1 {
		t.Errorf("anchors = %v", a)
	}
}

// named are the files and directories that a Markdown text names in code: paths
// from a directory of the repository's root on. What stands for several
// (targets/…, sources/*, {kind}) is not among them.
func named(markdown string, root map[string]bool) []string {
	var list []string
	for _, m := range inline.FindAllString(fence.ReplaceAllString(markdown, ""), -1) {
		name := strings.Trim(m, "`")
		first, rest, ok := strings.Cut(name, "/")
		if ok && rest != "" && root[first] && !strings.ContainsAny(name, " *{…=:") {
			list = append(list, strings.TrimSuffix(name, "/"))
		}
	}
	return list
}

func TestFilesThatDocumentsNameAreThere(t *testing.T) {
	there, root := map[string]bool{}, map[string]bool{}
	for _, name := range mustFiles(t) {
		for p := name; p != "."; p = path.Dir(p) {
			there[p] = true
		}
		if first, _, ok := strings.Cut(name, "/"); ok {
			root[first] = true
		}
	}
	found := 0
	for _, name := range mustFiles(t) {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, file := range named(text(t, name), root) {
			if found++; !there[file] {
				t.Errorf("%s names %s, and there is none", name, file)
			}
		}
	}
	if found < 50 {
		t.Errorf("documents name %d files only: they aren't read rightly", found)
	}
	got := named("`cli/run.go` `cli/` `cli/*` `web/orders` `cli a/b`\n```\n`cli/no.go`\n```\n", map[string]bool{"cli": true})
	if want := []string{"cli/run.go"}; !slices.Equal(got, want) {
		t.Errorf("named = %q, want %q", got, want)
	}
}

// TestEveryDependencyIsAccountedFor: what is compiled into something that
// people trust with their admin credentials has a reason to be there.
func TestEveryDependencyIsAccountedFor(t *testing.T) {
	const page = "docs/decisions/dependencies.md"
	direct, required := map[string]bool{}, map[string]bool{}
	inBlock := false
	for _, line := range strings.Split(text(t, "go.mod"), "\n") {
		line = strings.TrimSpace(line)
		switch {
		case line == "require (":
			inBlock = true
			continue
		case line == ")":
			inBlock = false
			continue
		case strings.HasPrefix(line, "require "):
			line = strings.TrimPrefix(line, "require ")
		case !inBlock:
			continue
		}
		if fields := strings.Fields(line); len(fields) >= 2 {
			required[fields[0]] = true
			if !strings.HasSuffix(line, "// indirect") {
				direct[fields[0]] = true
			}
		}
	}
	if len(direct) == 0 {
		t.Fatal("go.mod has no direct dependencies: it isn't read rightly")
	}
	row := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]+) \\| ([^|]+) \\|")
	listed := map[string]bool{}
	for _, m := range row.FindAllStringSubmatch(text(t, page), -1) {
		listed[m[1]] = true
		if len(strings.Fields(m[2])) < 2 || len(strings.Fields(m[3])) < 3 {
			t.Errorf("%s: %s needs what for, and why this one", page, m[1])
		}
	}
	linked, _, _ := strings.Cut(text(t, page), "\nIn tests only:")
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` .*$").FindAllStringSubmatch(linked, -1) {
		if !regexp.MustCompile(`\| ([\d.]+ %, [\d.]+ MB|–) \|$`).MatchString(m[0]) {
			t.Errorf("%s: %s is in the binary without its weight, as make bench BENCH='-only build' measures it", page, m[1])
		}
	}
	for module := range direct {
		if !listed[module] {
			t.Errorf("%s is a direct dependency without a line in %s: what for, and why this one?", module, page)
		}
	}
	for module := range listed {
		if !required[module] {
			t.Errorf("%s has a line for %s, which go.mod does not require", page, module)
		}
	}
}
