package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/cli"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
)

const targetsIntroduction = `# Targets

Generated from what the drivers say of themselves and from what their suite has shown
on the real products (` + "`go test ./targets/… -prove`, `go generate ./cmd/patchbay`" + `): nobody writes
here by hand that something works. What a driver takes and has: [Drivers](drivers.md).

`

// administered are the target drivers that make logins, by name.
func administered(d cli.Deps) []patchbay.Driver {
	return slices.DeleteFunc(slices.Clone(d.Catalog().Targets), func(t patchbay.Driver) bool { return t.Logins == nil })
}

func proofs(t *testing.T, of patchbay.Driver) drivertest.Proofs {
	t.Helper()
	all, err := drivertest.ReadProofs(filepath.Join("..", "..", "targets", of.Name))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Errorf("nothing is shown of the driver %s: its suite's harness names no Product, or was not run with -prove", of.Name)
	}
	return all
}

// provenOn says on which releases the suite has passed, and on what stood in for one.
func provenOn(all drivertest.Proofs) string {
	var real, models []string
	stood := map[string][]string{} // the products that a model stood in for
	for _, product := range all.Products() {
		model := all[product].Model
		switch {
		case model == "":
			real = append(real, product)
			continue
		case stood[model] == nil:
			models = append(models, model)
		}
		stood[model] = append(stood[model], product)
	}
	said := strings.Join(real, ", ")
	if len(real) == 0 {
		said = "*not proven*"
	}
	for _, model := range models {
		said += "; shown on a stand-in for " + strings.Join(stood[model], ", ") + ": " + model
	}
	return said
}

// targetsPage is docs/targets.md.
func targetsPage(t *testing.T, d cli.Deps) func(io.Writer) error {
	return func(w io.Writer) error {
		var b strings.Builder
		b.WriteString(targetsIntroduction + targetsTable(t, d))
		for _, of := range administered(d) {
			all := proofs(t, of)
			fmt.Fprintf(&b, "\n## %s\n\nProven on: %s. Registered with [`patchbay resource add %s`](drivers.md#%[3]s).\n\n%s", of.Title, provenOn(all), of.Name, all.Markdown())
			if len(of.Lacks) > 0 {
				b.WriteString("\nWhat it can't do:\n\n")
			}
			for _, lack := range of.Lacks {
				fmt.Fprintf(&b, "- %s: %s\n", lack.What, lack.Why)
			}
		}
		b.WriteString("\n## The others\n\nWhat has no driver of its own is connected with a login that is given: [External services](external-targets.md)\nlists the kinds, and which of them are signed in to when a connection is validated.\n")
		_, err := io.WriteString(w, b.String())
		return err
	}
}

// targetsTable is the page's first table, which README.md has too.
func targetsTable(t *testing.T, d cli.Deps) string {
	var b strings.Builder
	b.WriteString("| Target | Driver | Types | Logins | Proven on |\n|---|---|---|---|---|\n")
	for _, of := range administered(d) {
		fmt.Fprintf(&b, "| %s | `%s` | `%s` | %s | %s |\n", of.Title, of.Name, strings.Join(of.Types, "`<br>`"),
			strings.Join(driver.Words(of.Logins.Accesses), ", "), provenOn(proofs(t, of)))
	}
	return b.String()
}

// between is a file with what stands between two of its lines made anew.
func between(path, begin, end, text string) func(io.Writer) error {
	return func(w io.Writer) error {
		file, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		before, rest, ok := strings.Cut(string(file), begin)
		_, after, closed := strings.Cut(rest, end)
		if !ok || !closed {
			return fmt.Errorf("%s has no lines %q and %q", path, begin, end)
		}
		_, err = io.WriteString(w, before+begin+text+end+after)
		return err
	}
}
