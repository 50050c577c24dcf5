package arm

import (
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

// codesOf are the values of the constants of type Code in a file.
func codesOf(t *testing.T, file string) []patchbay.Code {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []patchbay.Code
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		name := ""
		switch typ := spec.Type.(type) {
		case *ast.Ident:
			name = typ.Name
		case *ast.SelectorExpr:
			name = typ.Sel.Name
		}
		if lit, ok := spec.Values[0].(*ast.BasicLit); ok && name == "Code" {
			s, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, patchbay.Code(s))
		}
		return true
	})
	if len(codes) == 0 {
		t.Fatalf("%s has no codes", file)
	}
	return codes
}

func TestEveryCodeHasAStatus(t *testing.T) {
	for _, code := range append(codesOf(t, "../error.go"), codesOf(t, "error.go")...) {
		if _, ok := statuses[code]; !ok {
			t.Errorf("%s has no HTTP status", code)
		}
	}
	if got := Status("NobodyKnows"); got != http.StatusInternalServerError {
		t.Errorf("an unknown code is %d", got)
	}
}

func TestOnlyAMissingThingIs404(t *testing.T) {
	for code, status := range statuses {
		if status == http.StatusNotFound && code != patchbay.ResourceNotFound && code != InvalidResourceType && code != InvalidResourceNamespace {
			t.Errorf("%s is 404, which azurerm takes for a connection that is not there", code)
		}
	}
}

func TestAnErrorSurvivesTheWire(t *testing.T) {
	for _, e := range []*patchbay.Error{
		{Code: patchbay.ResourceNotFound, Message: "there is no connection db"},
		{Code: patchbay.TargetUnreachable, Op: "connect web to orders", Subject: "/subscriptions/s", Message: "no route", Fix: "patchbay connection validate web/db --fix", Transient: true},
		{Code: patchbay.Timeout, Message: "come back", Transient: true},
		{Code: patchbay.Conflict, Message: `with "quotes", <angles> and ünïcode`, Fix: "a"},
	} {
		body, err := Marshal(ErrorBody(e))
		if err != nil {
			t.Fatal(err)
		}
		got := ParseError(Status(e.Code), body)
		got.Err = nil
		if *got != *e {
			t.Errorf("sent %+v, read %+v from %s", e, got, body)
		}
	}
}

func TestAProxysPageBecomesAnError(t *testing.T) {
	for status, code := range map[int]patchbay.Code{502: patchbay.Internal, 404: patchbay.ResourceNotFound} {
		for _, body := range []string{"<html>Bad Gateway</html>", "", "{}", `{"error":"x"}`, `{"error":{}}`} {
			if e := ParseError(status, []byte(body)); e.Code != code || e.Message == "" {
				t.Errorf("%d %q: %v", status, body, e)
			}
		}
	}
}

// TestTheDocumentedStatusesAreTheRealOnes holds the table in docs/api.md
// against the one here.
func TestTheDocumentedStatusesAreTheRealOnes(t *testing.T) {
	text, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| ([0-9, ]+) \| (.*) \|$`)
	word := regexp.MustCompile("`([A-Z][A-Za-z]+)`")
	documented := map[patchbay.Code]bool{}
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		for _, w := range word.FindAllStringSubmatch(m[2], -1) {
			status, ok := statuses[patchbay.Code(w[1])]
			if !ok {
				continue // a header
			}
			documented[patchbay.Code(w[1])] = true
			if !strings.Contains(m[1], strconv.Itoa(status)) {
				t.Errorf("docs/api.md has %s under %s; it is %d", w[1], m[1], status)
			}
		}
	}
	for code := range statuses {
		if !documented[code] {
			t.Errorf("docs/api.md does not say that %s is %d", code, statuses[code])
		}
	}
}
