package docker

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Compose is the path of Compose's program: PATCHBAY_COMPOSE names it, or else
// tools/compose.sh has built it. Where it is not there the test is skipped.
func Compose(t testing.TB) string {
	t.Helper()
	if named := os.Getenv("PATCHBAY_COMPOSE"); named != "" {
		return named
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("Compose is not built here: %v", err)
	}
	built, _ := filepath.Glob(filepath.Join(cache, "patchbay", "compose", "v*", "docker-compose"))
	if len(built) == 0 {
		t.Skip("Compose is not built here: tools/compose.sh build")
	}
	return slices.Max(built)
}
