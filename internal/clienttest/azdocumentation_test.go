//go:build az

package clienttest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"patchbay.dev/patchbay/internal/testenv"
)

func TestTheSnippetForPythonConnectsBesideAz(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	// Debian's packages are the system's Python's.
	said := s.run(".", []string{"REQUESTS_CA_BUNDLE=" + s.ca}, "/usr/bin/python3", "connect.py")
	s.connected(said, "AZURE_POSTGRESQL_CONNECTIONSTRING")
}

// TestTheSnippetsForAzRun runs what the page has its reader type, as it stands
// there and in its order: on the server first, and then with az.
func TestTheSnippetsForAzRun(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	redis := testenv.Redis(t, true)
	s.register("Microsoft.Cache/redis/cache", map[string]any{
		"driver": "external", "endpoint": redis.Addr(), "tls": map[string]string{"ca": string(redis.CA)},
		"admin": map[string]string{"username": redis.User, "password": redis.Password},
	})
	dir, bin := t.TempDir(), t.TempDir()
	s.run(".", nil, "go", "build", "-o", filepath.Join(bin, "patchbay"), "patchbay.dev/patchbay/cmd/patchbay")
	more := []string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "PATCHBAY_DATA=" + filepath.Dir(s.ca),
		"AZURE_CONFIG_DIR=" + filepath.Join(dir, "azure"), "AZURE_CORE_COLLECT_TELEMETRY=no",
	}
	found := snippets(t)
	shell := func(name string) string {
		return s.run(dir, more, "bash", "-euc", found[name].text)
	}
	// The first command prints whom it made.
	var made struct{ TenantID, AppID, Secret string }
	if err := json.NewDecoder(strings.NewReader(shell("setup"))).Decode(&made); err != nil || made.Secret == "" {
		t.Fatalf("the setup says nothing of a principal: %v", err)
	}
	s.signedInAs(credential{tenant: made.TenantID, id: made.AppID, secret: made.Secret})
	more = append(more, "REQUESTS_CA_BUNDLE="+s.ca) // which the first snippet exports for the others
	for _, name := range commands {
		shell(name)
	}
	s.connected("Succeeded", "AZURE_POSTGRESQL_CONNECTIONSTRING")
	if s.web.settings()["AZURE_REDIS_CONNECTIONSTRING"] != "" {
		t.Error("the connection that the page deletes is still there")
	}
}
