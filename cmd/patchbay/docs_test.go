package main

import (
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"patchbay.dev/patchbay/cli"
)

var update = flag.Bool("update", false, "write what is generated from the commands and the catalogue anew")

// What is made from the catalogue of this build is made where its drivers are
// known.
func TestDocumentationIsCurrent(t *testing.T) {
	d := deps()
	d.Version = cli.Version{}
	for file, write := range map[string]func(io.Writer) error{
		"docs/cli.md":     func(w io.Writer) error { return cli.Markdown(w, d) },
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
