package server

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

//go:generate go test -run TestTheAPIPageListsEveryRoute -update .

// The words that docs/api.md has for where an action is held, and for what a
// request takes of what all share.
var (
	heldWords = map[hold]string{
		atScope: "there", inside: "there or in it", anywhere: "anywhere", listed: "each item", signedIn: "nowhere", byRecord: "its connection", atServer: "operator",
	}
	takesWords = map[cost]string{light: "", lists: "lists", dials: "speaks", wholeLog: "whole log"}
)

// routeList is the table of routes as docs/api.md has it.
func routeList(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| Request | Asks for | At | From version | At once |\n|---|---|---|---|---|\n")
	for _, e := range table {
		order := []string{"GET", "PUT", "PATCH", "POST", "DELETE"}
		keys := slices.SortedFunc(maps.Keys(e.methods), func(a, b string) int {
			m, n := strings.Fields(a), strings.Fields(b)
			if d := slices.Index(order, m[0]) - slices.Index(order, n[0]); d != 0 {
				return d
			}
			return strings.Compare(a, b)
		})
		for _, key := range keys {
			m := e.methods[key]
			method, action, _ := strings.Cut(key, " ")
			held, known := heldWords[m.held]
			takes, known2 := takesWords[m.takes]
			if !known || !known2 {
				t.Errorf("%s %s: docs/api.md has no word for where its action is held, or for what it takes", key, e.name)
			}
			version := string(m.of.first)
			if version == "" {
				version = "any"
			}
			// A bar ends a cell.
			pattern := strings.ReplaceAll(strings.Replace(e.pattern, "{action}", action, 1), "|", `\|`)
			fmt.Fprintf(&b, "| `%s %s` | `%s` | %s | %s | %s |\n", method, pattern, m.action, held, version, takes)
		}
	}
	return b.String()
}

const (
	routesBegin = "<!-- the list of routes: go generate ./server writes it -->\n"
	routesEnd   = "<!-- end of the list -->\n"
)

func TestTheAPIPageListsEveryRoute(t *testing.T) {
	file := filepath.Join("..", "docs", "api.md")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), routesBegin)
	_, after, ok2 := strings.Cut(rest, routesEnd)
	if !ok || !ok2 {
		t.Fatal("docs/api.md has no place for the list of routes")
	}
	want := before + routesBegin + routeList(t) + routesEnd + after
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want != string(text) {
		t.Error("docs/api.md does not list the routes that there are: go generate ./server")
	}
}
