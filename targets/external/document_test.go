package external

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/settings"
)

//go:generate go test -run TestTheDocumentedTable -update .

var update = flag.Bool("update", false, "write the table of docs/external-targets.md anew")

// TestTheDocumentedTableIsTheDrivers: docs/external-targets.md has what the
// driver does for every kind of the settings table.
func TestTheDocumentedTableIsTheDrivers(t *testing.T) {
	const file, start, end = "../../docs/external-targets.md", "<!-- kinds -->\n", "<!-- end of kinds -->\n"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(content), start)
	have, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatal("the document has no place for the table")
	}
	want := table()
	if *update {
		if err := os.WriteFile(file, []byte(before+start+want+end+after), 0o644); err != nil { // #nosec G306 -- documentation
			t.Fatal(err)
		}
		return
	}
	if have != want {
		t.Errorf("docs/external-targets.md is old: go generate ./targets/external\n%s", want)
	}
	for _, k := range settings.Kinds() {
		if !strings.Contains(have, "\n| `"+k.Name+"` ") {
			t.Errorf("%s is not documented", k.Name)
		}
	}
}

func table() string {
	var b strings.Builder
	b.WriteString("| Kind | Target | Without an endpoint | Login | Signed in |\n|---|---|---|---|---|\n")
	for _, k := range settings.Kinds() {
		s := serviceOf(k)
		fmt.Fprintf(&b, "| `%s` %s | %s | %s | %s | %s |\n", k.Name, k.Title, code(targets(k)), without(k, s), signs(s), map[bool]string{true: "yes", false: "network only"}[s.probe != nil])
	}
	return b.String()
}

func targets(k patchbay.TargetKind) []string {
	var types []string
	for _, t := range k.Types() {
		if strings.Contains(t, "/") {
			types = append(types, t)
		}
	}
	if len(types) > 0 {
		return types
	}
	switch k.Name {
	case "openai":
		return []string{"Microsoft.CognitiveServices/accounts", "kind OpenAI"}
	case "aiservices":
		return []string{"Microsoft.CognitiveServices/accounts", "kind AIServices"}
	case "keyvault-csi":
		return []string{"Microsoft.KeyVault/vaults"}
	}
	return []string{ownTypes + k.Name}
}

func code(words []string) string { return "`" + strings.Join(words, "`, `") + "`" }

func without(k patchbay.TargetKind, s service) string {
	host := s.host
	for _, v := range k.Values {
		if host == "" && v.Name == "host" {
			host = strings.ReplaceAll(v.Default, "{cloud}", "azure.com")
		}
	}
	if host == "" {
		return "needs one"
	}
	return "`" + host + "`"
}

func signs(s service) string {
	switch {
	case s.login.secret == "":
		return "identity only"
	case s.kind == "nats":
		return "`username`, `password`; or a creds file"
	case s.kind == "vault":
		return "`token`; or `roleId`, `secretId`"
	case s.login.name == "":
		return "`" + s.login.secret + "`" + orString(s)
	}
	name := "`" + s.login.name + "`"
	switch {
	case s.login.fallback != "":
		name += " (default `" + s.login.fallback + "`)"
	case s.login.nameless:
		name += " (may be left out)"
	}
	return name + ", `" + s.login.secret + "`" + orString(s)
}

func orString(s service) string {
	if s.login.parts != nil {
		return "; or a connection string"
	}
	return ""
}
