package clienttest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay/internal/testenv"
)

// compute is what Azure's clients have connections of, none with a parent that is
// registered; scope is the part that they name.
var compute = []struct{ path, scope string }{
	{"Microsoft.Web/sites/web", ""},
	{"Microsoft.Web/sites/web/slots/staging", ""},
	{"Microsoft.App/containerApps/api", "main"},
	{"Microsoft.AppPlatform/Spring/shop/apps/api/deployments/default", ""},
	{"Microsoft.ContainerService/managedClusters/fleet", "default"},
}

// TestAClientConnectsEveryComputeType goes from nothing: what nobody registered is
// refused with the command that registers exactly that, and then has a connection's
// whole life.
func TestAClientConnectsEveryComputeType(t *testing.T) {
	cp := start(t, finished)
	pg := testenv.Postgres(t, testenv.PostgresOptions{})
	database := cp.postgres(pg)
	client := newAzcore(cp, cp.granted("deploy", serviceConnectorRole, cp.group))
	for _, c := range compute {
		t.Run(c.path, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			source := cp.group + "/providers/" + c.path
			body := secretLinker(database, "go", nil)
			if c.scope != "" {
				body["properties"].(map[string]any)["scope"] = c.scope
			}
			_, err := client.create(ctx, source, "orders", body)
			if err == nil || !strings.Contains(err.Error(), "SourceNotFound") {
				t.Fatalf("create on what nobody registered: %v", err)
			}
			file := cp.in(t).byTheFix(err.Error())
			status, shown := cp.in(t).call("GET", source, "2024-01-01", nil)
			if status != 200 || at(shown, "id") != source || at(shown, "properties", "driver") != "envfile" {
				t.Fatalf("the fix registers something else: %d %v", status, shown)
			}
			made, err := client.create(ctx, source, "orders", body)
			if err != nil {
				t.Fatalf("create: %v", err)
			}
			wantLinker(t, made, source, "orders", database)
			if got := at(made, "properties", "scope"); c.scope != "" && got != nil && got != c.scope {
				t.Errorf("the scope is %v", got)
			}
			if all, err := client.list(ctx, source); err != nil || len(all) != 1 {
				t.Errorf("list = %v, %v", all, err)
			}
			if signedIn(ctx, t, file.settings()) == "" {
				t.Error("what the file has signs nobody in")
			}
			if got, err := client.configurations(ctx, source, "orders"); err != nil || len(got) == 0 {
				t.Errorf("listConfigurations = %v, %v", got, err)
			}
			wantAvailable(ctx, t, client, source, "orders", true)
			if _, err := client.update(ctx, source, "orders", "python"); err != nil {
				t.Errorf("update: %v", err)
			}
			if err := client.delete(ctx, source, "orders"); err != nil {
				t.Errorf("delete: %v", err)
			}
			if got := file.text(); got != original {
				t.Errorf("after the delete the file is\n%s", got)
			}
		})
	}
	if left := logins(t.Context(), t, pg); len(left) > 0 {
		t.Errorf("after the deletes there is %v", left)
	}
}

// byTheFix does what the fix of an error says, with a settings file of its own.
func (cp *controlPlane) byTheFix(said string) settingsFile {
	cp.t.Helper()
	file := settingsFile{cp.t, filepath.Join(cp.t.TempDir(), "app.env")}
	if err := os.WriteFile(file.path, []byte(original), 0o600); err != nil {
		cp.t.Fatal(err)
	}
	at := strings.LastIndex(said, "patchbay resource add ")
	if at < 0 {
		cp.t.Fatalf("there is no fix in %s", said)
	}
	command, _, _ := strings.Cut(said[at:], "\n")
	command = strings.ReplaceAll(command, `\u2026`, "…") // as az writes it where there is no UTF-8
	// Where several drivers would do, the choice is left; so is what only the user knows.
	command, _, _ = strings.Cut(strings.TrimRight(command, `",`), "   (")
	command = strings.Replace(command, " DRIVER ", " envfile ", 1)
	command = strings.TrimSuffix(strings.TrimSuffix(command, " …"), " --path FILE")
	args := append(strings.Fields(command)[1:], "--path", file.path)
	cp.mustPatchbay(args...)
	cp.t.Log(fmt.Sprint("did ", strings.Join(args, " ")))
	return file
}
