//go:build az

package clienttest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay/internal/testenv"
)

// extension has az think that one of its extensions is installed, which has no
// commands: az hides its own `az containerapp connection` and `az spring connection`
// until there is one of that name. The extensions themselves can't be had from a
// package.
func (a az) extension(name string) {
	a.t.Helper()
	dir := filepath.Join(a.dir, "none", name)
	for file, text := range map[string]string{
		name + "-1.0.0.dist-info/METADATA":       "Metadata-Version: 2.1\nName: " + name + "\nVersion: 1.0.0\n",
		"azext_" + name + "/azext_metadata.json": `{"azext.minCliCoreVersion": "2.0.0"}`,
		"azext_" + name + "/__init__.py": `from azure.cli.core import AzCommandsLoader


class Loader(AzCommandsLoader):
    def load_command_table(self, args):
        return {}

    def load_arguments(self, command):
        pass


COMMAND_LOADER_CLS = Loader
`,
	} {
		path := filepath.Join(dir, filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			a.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
}

// TestAzConnectsWhatItHasExtensionsFor: a container app and a Spring deployment, whose
// parents nobody registered. az of this age has no commands for a slot or a cluster:
// TestAClientConnectsEveryComputeType has those.
func TestAzConnectsWhatItHasExtensionsFor(t *testing.T) {
	t.Parallel()
	cp := start(t, 0)
	pg := testenv.Postgres(t, testenv.PostgresOptions{})
	database := cp.postgres(pg)
	if err := pg.Exec(t.Context(), "postgres", `CREATE ROLE app LOGIN PASSWORD 'the-app''s-own'`); err != nil {
		t.Fatal(err)
	}
	deploy := cp.newAz(t).signIn(cp.granted("deploy", serviceConnectorRole, cp.group))
	for _, source := range []struct {
		group, path string
		names, more []string // how it is named; and what create needs besides
	}{
		{"containerapp", "Microsoft.App/containerApps/api", []string{"--name", "api"}, []string{"--container", "main"}},
		{"spring", "Microsoft.AppPlatform/Spring/shop/apps/api/deployments/default", []string{"--service", "shop", "--app", "api", "--deployment", "default"}, nil},
	} {
		t.Run(source.group, func(t *testing.T) {
			t.Parallel()
			az := deploy.in(t)
			az.extension(source.group)
			id := cp.group + "/providers/" + source.path
			of := func(command string, more ...string) []string {
				return slices.Concat([]string{source.group, "connection"}, strings.Fields(command),
					[]string{"--resource-group", "default", "--connection", "c1"}, source.names, more)
			}
			create := slices.Concat(of("create postgres-flexible"), source.more, []string{"--target-id", database}, given("app", "the-app's-own"))
			// Without a client type az asks the source for it, with a command of the
			// extension's: none, or Spring Boot.
			_, err := az.run(create...)
			if err == nil || !strings.Contains(err.Error(), "SourceNotFound") {
				t.Fatalf("create on what nobody registered: %v", err)
			}
			file := az.cp.byTheFix(err.Error())
			made := az.must(create...)
			client := map[string]string{"containerapp": "none", "spring": "springBoot"}[source.group]
			wantAzLinker(t, made, id, database, client)
			wantListed(t, at(made, "configurations"), file.settings())
			if len(source.more) > 0 && at(made, "scope") != source.more[1] {
				t.Errorf("the scope is %v", at(made, "scope"))
			}
			wantAzLinker(t, az.must(of("show")...), id, database, client)
			if all, _ := az.must(source.group, "connection", "list", "--source-id", id).([]any); len(all) != 1 || at(all, 0, "name") != "c1" {
				t.Errorf("list = %v", all)
			}
			wantListed(t, at(az.must(of("list-configuration")...), "configurations"), file.settings())
			report, _ := az.must(of("validate")...).([]any)
			if len(report) == 0 || slices.ContainsFunc(report, func(d any) bool { return at(d, "result") == "failure" }) {
				t.Errorf("validate = %v", report)
			}
			az.must(of("delete", "--yes")...)
			if got := file.text(); got != original {
				t.Errorf("after the delete the file is\n%s", got)
			}
			az.refused(3, []string{"ResourceNotFound"}, of("show")...)
		})
	}
}
