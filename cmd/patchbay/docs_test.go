package main

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"patchbay.dev/patchbay/cli"
	"patchbay.dev/patchbay/cmd/patchbay/app"
)

var update = flag.Bool("update", false, "write what is generated from the commands and the catalogue anew")

// What is made from the catalogue of this build is made where its drivers are
// known.
func TestDocumentationIsCurrent(t *testing.T) {
	d := app.Deps()
	d.Version = cli.Version{}
	for file, write := range map[string]func(io.Writer) error{
		"docs/cli.md":     func(w io.Writer) error { return cli.Markdown(w, d) },
		"docs/targets.md": targetsPage(t, d),
		"README.md":       between(filepath.Join("..", "..", "README.md"), "<!-- targets -->\n", "<!-- end -->\n", targetsTable(t, d)),
		"docs/drivers.md": func(w io.Writer) error { return cli.DriverPage(w, d) },
		"cli/testdata/catalog.json": func(w io.Writer) error {
			e := json.NewEncoder(w)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			return e.Encode(d.Catalog())
		},
	} {
		var b strings.Builder
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("..", "..", filepath.FromSlash(file))
		if *update {
			if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(have) != b.String() {
			t.Errorf("%s is not what the drivers and commands say: go generate ./cmd/patchbay", file)
		}
	}
}

// commandLine is a command in a document: in a block, or in the middle of a text.
var commandLine = regexp.MustCompile("(?m)^ *(?:\\$ )?(?:\\./)?patchbay ((?:[^\n]*\\\\\n)*[^\n]*)|`patchbay ([^`]+)`")

// commandsIn are the commands that a document shows, in words, without what a
// shell does with them.
func commandsIn(document string) (list [][]string) {
	for _, m := range commandLine.FindAllStringSubmatch(document, -1) {
		text := strings.ReplaceAll(m[1]+m[2], "\\\n", " ")
		text = regexp.MustCompile(`(?s) (--|#|&|>|<|\||;|&&) .*| &$| >[^ ]+$|\)$`).ReplaceAllString(text, "")
		list = append(list, strings.Fields(text))
	}
	return list
}

// What a reader copies is a command of this build, with flags that it has.
func TestCommandsInDocumentsAreThere(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/decisions/*.md"} {
		some, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, some...)
	}
	root, seen := cli.New(app.Deps()), 0
	for _, file := range files {
		if filepath.Base(file) == "cli.md" {
			continue // made from the commands
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, words := range commandsIn(string(content)) {
			line := strings.Join(words, " ")
			if strings.ContainsAny(line, "{(=") && !strings.Contains(line, " --") || strings.Contains(line, "jsonfile") {
				continue // a mark, a line of another language; the guide's own driver
			}
			seen++
			cmd, rest, err := root.Find(words)
			switch {
			case err != nil || cmd == root:
				t.Errorf("%s: there is no command patchbay %s", file, line)
			case cmd.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") && rest[0] != "…":
				t.Errorf("%s: patchbay %s: there is no %s", file, line, rest[0])
			default:
				err := cmd.ParseFlags(rest)
				if err != nil && !errors.Is(err, pflag.ErrHelp) && !strings.HasPrefix(err.Error(), "flag needs an argument") {
					t.Errorf("%s: patchbay %s: %v", file, line, err)
				}
			}
		}
	}
	if seen < 80 {
		t.Errorf("the documents have %d commands only: they aren't read rightly", seen)
	}
	t.Logf("%d commands", seen)
}
