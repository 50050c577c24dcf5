package docker

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Compose is the path of Compose's program. Where tools/compose.sh has not built it,
// the test is skipped, unless PATCHBAY_TESTENV is "required".
func Compose(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	built, _ := filepath.Glob(filepath.Join(cache, "patchbay", "compose", "v*", "docker-compose"))
	if len(built) == 0 {
		if os.Getenv("PATCHBAY_TESTENV") == "required" {
			t.Fatal("Compose is not built: tools/compose.sh build")
		}
		t.Skip("Compose is not built here: tools/compose.sh build")
	}
	return slices.Max(built)
}
