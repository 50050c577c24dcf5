package house

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// tests are the names of all tests, by package.
func tests(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, s := range mustSources(t) {
		if !s.test {
			continue
		}
		for _, d := range s.ast.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && regexp.MustCompile(`^(Test|Fuzz|Benchmark)`).MatchString(f.Name.Name) {
				found[s.pkg] = append(found[s.pkg], f.Name.Name)
			}
		}
	}
	return found
}

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(text)), " ")
}

// What the pages about security promise is held by a test each. A promise that
// is reworded, or whose test is gone, is looked at again.
func TestEveryPromiseHasItsTest(t *testing.T) {
	text, err := os.ReadFile("testdata/promises.txt")
	if err != nil {
		t.Fatal(err)
	}
	known, pages := tests(t), map[string]string{}
	promised := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, " | ")
		if len(fields) != 4 {
			t.Errorf("a line has %d fields: %s", len(fields), line)
			continue
		}
		name, words, pkg, test := fields[0], fields[1], fields[2], fields[3]
		if pages[name] == "" {
			pages[name] = page(t, name)
		}
		if !strings.Contains(pages[name], words) {
			t.Errorf("docs/%s does not say %q any more", name, words)
		}
		if !slices.Contains(known[pkg], test) {
			t.Errorf("there is no test %s in %s, which would hold %q", test, pkg, words)
		}
		promised[name] = append(promised[name], words)
	}
	// Each paragraph that says against whom, or what happens, promises something.
	for _, section := range []string{"## Against whom", "## Probes: who names an address, who speaks, with what"} {
		_, rest, ok := strings.Cut(pages["security.md"], section)
		if !ok {
			t.Fatalf("docs/security.md has no section %q", section)
		}
		rest, _, _ = strings.Cut(rest, " ## ")
		starts := regexp.MustCompile(`\*\*[A-Z][^*]*\*\*`).FindAllStringIndex(rest, -1)
		for i, at := range starts {
			end := len(rest)
			if i+1 < len(starts) {
				end = starts[i+1][0]
			}
			paragraph := rest[at[0]:end]
			if !slices.ContainsFunc(promised["security.md"], func(words string) bool { return strings.Contains(paragraph, words) }) {
				t.Errorf("no test holds what docs/security.md says of %s", rest[at[0]:at[1]])
			}
		}
	}
}

// The track record's commands run something.
func TestTheCommandsInTheTrackRecordNameTests(t *testing.T) {
	known := tests(t)
	command := regexp.MustCompile("`(?:go test )?((?:\\./\\S+ ?)+)-run '?([^'` ]+)'?")
	found := command.FindAllStringSubmatch(page(t, "faults.md"), -1)
	if len(found) < 20 {
		t.Errorf("only %d commands are found", len(found))
	}
	for _, c := range found {
		var names []string
		for _, arg := range strings.Fields(c[1]) {
			pkg := strings.TrimPrefix(arg, "./")
			for p, list := range known {
				if base, family := strings.CutSuffix(pkg, "/..."); p == pkg || family && under(p, base) {
					names = append(names, list...)
				}
			}
		}
		for _, alternative := range strings.Split(strings.ReplaceAll(c[2], `\|`, "|"), "|") {
			re, err := regexp.Compile(alternative)
			if err != nil || !slices.ContainsFunc(names, re.MatchString) {
				t.Errorf("%s names no test of %s: %q", c[0], c[1], alternative)
			}
		}
	}
}

// So do its tables.
func TestTheTestsInTheTrackRecordAreThere(t *testing.T) {
	var known []string
	for _, list := range tests(t) {
		known = append(known, list...)
	}
	found := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(page(t, "faults.md"), -1)
	if len(found) < 50 {
		t.Errorf("only %d tests are found", len(found))
	}
	for _, name := range found {
		if !slices.Contains(known, name[1]) {
			t.Errorf("there is no test %s", name[1])
		}
	}
}
