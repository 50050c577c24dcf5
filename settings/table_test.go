package settings

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEveryFileOfTheTableLoads(t *testing.T) {
	all, err := load()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d kinds", len(all))
}

func TestTheDocumentationIsCurrent(t *testing.T) {
	page, err := os.ReadFile("../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(page), Markdown()); d != "" {
		t.Errorf("docs/settings.md is not what the table says; run go generate ./settings (-page +table):\n%s", d)
	}
}
