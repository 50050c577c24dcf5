package access

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the generated part of docs/access.md anew")

const (
	rolesBegin = "<!-- roles: written by go test ./access -run TestTheDocumentedRoles -update -->\n"
	rolesEnd   = "<!-- end of roles -->"
)

// rolesTable is the built-in roles for people.
func rolesTable() string {
	var b strings.Builder
	b.WriteString("| Role | For | Actions | Not |\n|---|---|---|---|\n")
	short := func(list []string) string {
		if len(list) == 0 {
			return ""
		}
		s := make([]string, len(list))
		for i, a := range list {
			s[i] = "`" + a + "`"
		}
		return strings.Join(s, "<br>")
	}
	for _, d := range Builtin() {
		fmt.Fprintf(&b, "| **%s**<br>`%s` | %s | %s | %s |\n", d.Name, d.ID, d.Description, short(d.Actions), short(d.NotActions))
	}
	return b.String()
}

func TestTheDocumentedRolesAreThoseThatAre(t *testing.T) {
	path := filepath.Join("..", "docs", "access.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), rolesBegin)
	_, after, ok2 := strings.Cut(rest, rolesEnd)
	if !ok || !ok2 {
		t.Fatal("docs/access.md has no place for the roles")
	}
	want := before + rolesBegin + rolesTable() + rolesEnd + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != want {
		t.Error("docs/access.md has other roles: go test ./access -run TestTheDocumentedRoles -update")
	}
}
