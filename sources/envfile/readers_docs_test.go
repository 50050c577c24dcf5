package envfile

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

//go:generate go test -run TestTheDocumentedForms -update .

var update = flag.Bool("update", false, "write the tables of docs/dialects.md anew")

// documented are the client types that are written for apart, and values that
// they differ about.
var documented = struct {
	clients [][]patchbay.ClientType
	values  []string
}{
	[][]patchbay.ClientType{{"go"}, pythonClients, nodeClients, phpClients, {"ruby"}, springClients, {"none"}},
	[]string{
		"x-1.2", "two words", "it's", `say "x"`, `it's "x"`, `a="b"`, `a\`, `C:\dir name\`, `\n`, `it's \n`,
		"$HOME", "${HOME}", "it's $HOME", `it's "$HOME"`, "it's $(id)", "`id`", "a #b", "it's #b", "é", "one\ntwo",
	},
}

// TestTheDocumentedForms: docs/dialects.md has what is written, and who reads it
// otherwise; that this is so, TestReadersReadAsTheyAreSaidTo asks them.
func TestTheDocumentedForms(t *testing.T) {
	const file = "../../docs/dialects.md"
	content, err := os.ReadFile(file)
	must(t, err)
	page := string(content)
	for name, table := range map[string]string{"readers": readersTable(), "forms": formsTable()} {
		start, end := "<!-- "+name+" -->\n", "<!-- end of "+name+" -->\n"
		before, rest, ok1 := strings.Cut(page, start)
		have, after, ok2 := strings.Cut(rest, end)
		if !ok1 || !ok2 {
			t.Fatalf("the page has no place for the %s", name)
		}
		if have != table && !*update {
			t.Errorf("docs/dialects.md is old: go generate ./sources/envfile\n%s", table)
		}
		page = before + start + table + end + after
	}
	if *update {
		must(t, os.WriteFile(file, []byte(page), 0o644)) // #nosec G306 -- documentation
	}
}

func readersTable() string {
	var b strings.Builder
	b.WriteString("| Client types | Readers |\n|---|---|\n")
	for _, group := range documented.clients {
		own, any, _ := readersOf(group[0])
		if slices.Contains(group, "none") {
			less := slices.DeleteFunc(slices.Clone(dotenvReaders), func(r reader) bool { return !r.beside })
			fmt.Fprintf(&b, "| every other, and none | all of the above, less %s |\n| all, beside their own | %s |\n", inWords(less), inWords(any))
			continue
		}
		fmt.Fprintf(&b, "| %s | %s |\n", clientsInWords(group), inWords(own))
	}
	return b.String()
}

func clientsInWords(list []patchbay.ClientType) string {
	var words []string
	for _, c := range list {
		words = append(words, "`"+string(c)+"`")
	}
	return strings.Join(words, ", ")
}

func formsTable() string {
	var b strings.Builder
	b.WriteString("| Value | Client types | Written | Read otherwise by |\n|---|---|---|---|\n")
	for _, value := range documented.values {
		type row struct{ written, otherwise string }
		var rows []row
		clients := map[row][]patchbay.ClientType{}
		for _, group := range documented.clients {
			c := choose(value, group[0])
			r := row{inCode(c.written), inWords(slices.Concat(c.own, c.any))}
			if why := c.why(); why != "" {
				r = row{"refused", "it " + why}
			}
			if clients[r] == nil {
				rows = append(rows, r)
			}
			clients[r] = append(clients[r], group...)
		}
		for i, r := range rows {
			what, who := "", clientsInWords(clients[r])
			if i == 0 {
				what = inCode(value)
			}
			if len(rows) == 1 {
				who = "all"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", what, who, r.written, r.otherwise)
		}
	}
	return b.String()
}

// inCode shows a value in a table; a line break as what it is called.
func inCode(text string) string {
	text = strings.ReplaceAll(text, "\n", "⏎")
	if strings.Contains(text, "`") {
		return "`` " + text + " ``"
	}
	return "`" + text + "`"
}
