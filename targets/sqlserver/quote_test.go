package sqlserver_test

import (
	"encoding/json"
	"strings"
	"testing"

	"patchbay.dev/patchbay/targets/sqlserver"
)

func jsonOf(t *testing.T, values map[string]string) []byte {
	t.Helper()
	b, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// unquoted reads what stands between marks of which the second is doubled inside, as the
// server does; ok is false when it ends before the text does.
func unquoted(text, before, end string) (string, bool) {
	rest, ok := strings.CutPrefix(text, before)
	if !ok {
		return "", false
	}
	var b strings.Builder
	for {
		i := strings.Index(rest, end)
		if i < 0 {
			return "", false
		}
		b.WriteString(rest[:i])
		rest = rest[i+len(end):]
		if !strings.HasPrefix(rest, end) {
			return b.String(), rest == ""
		}
		b.WriteString(end)
		rest = rest[len(end):]
	}
}

// Whatever a name is, the server reads back that name and nothing behind it.
func FuzzQuotes(f *testing.F) {
	for _, name := range append([]string{"", "]", "]]", "'", "''", "a]'b", "--", "/*", "[x]", "x]; drop database shop; --", "N'", "\\", "\n"}, hostileNames...) {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if got, ok := unquoted(sqlserver.Ident(name), "[", "]"); !ok || got != name {
			t.Errorf("%q is read as %q", name, got)
		}
		if got, ok := unquoted(sqlserver.Literal(name), "N'", "'"); !ok || got != name {
			t.Errorf("%q is read as the text %q", name, got)
		}
	})
}
