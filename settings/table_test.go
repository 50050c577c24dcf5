package settings

import (
	"testing"
)

func TestEveryFileOfTheTableLoads(t *testing.T) {
	all, err := load()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d kinds", len(all))
}
