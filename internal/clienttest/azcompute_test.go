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
// commands: az hides its own `az spring connection`, and an older one its `az
// containerapp connection`, until there is one of that name. The extensions themselves
// can't be had from a package.
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

// azSource is what az has connections of, and how it names it.
type azSource struct {
	group     string // of az's commands
	path      string // its type and name
	names     []string
	part      []string // what create says besides
	scope     any      // what part becomes
	client    string   // its client type; "" for none, and then it is made
	made      string
	extension bool // az has the group only with an extension of its name
	short     bool // is tried in a short run
}

// inEachAz are the sources that an az of each age has commands for.
var inEachAz = map[string][]azSource{
	"2.45": {
		{group: "containerapp", path: "Microsoft.App/containerApps/api", names: []string{"--name", "api"},
			part: []string{"--container", "main"}, scope: "main", made: "none", extension: true, short: true},
		{group: "spring", path: "Microsoft.AppPlatform/Spring/shop/apps/api/deployments/default",
			names: []string{"--service", "shop", "--app", "api", "--deployment", "default"}, made: "springBoot", extension: true},
	},
	"today": {
		{group: "webapp", path: "Microsoft.Web/sites/web/slots/staging", names: []string{"--name", "web", "--slot", "staging"}, client: "go", made: "go", short: true},
		{group: "functionapp", path: "Microsoft.Web/sites/jobs", names: []string{"--name", "jobs"}, client: "python", made: "python"},
		{group: "containerapp", path: "Microsoft.App/containerApps/api", names: []string{"--name", "api"}, part: []string{"--container", "main"}, scope: "main", made: "none"},
		{group: "spring", path: "Microsoft.AppPlatform/Spring/shop/apps/api/deployments/default",
			names: []string{"--service", "shop", "--app", "api", "--deployment", "default"}, client: "springBoot", made: "springBoot", extension: true},
		{group: "aks", path: "Microsoft.ContainerService/managedClusters/fleet", names: []string{"--name", "fleet"},
			part: []string{"--kube-namespace", "shop"}, scope: "shop", client: "go", made: "go", short: true},
		{group: "aks", path: "Microsoft.ContainerService/managedClusters/other", names: []string{"--name", "other"}, scope: "default", client: "go", made: "go"},
	},
}

// of is a command about a connection of the source.
func (s azSource) of(connection, command string, more ...string) []string {
	return slices.Concat([]string{s.group, "connection"}, strings.Fields(command), []string{"--resource-group", "default", "--connection", connection}, s.names, more)
}

// TestAzConnectsEveryComputeType is the life of a connection of each of them, none with a
// parent that is registered. It goes from nothing: what nobody registered is refused with
// the command that registers exactly that.
func TestAzConnectsEveryComputeType(t *testing.T) {
	t.Parallel()
	for _, age := range []struct {
		name string
		az   func(*controlPlane, *testing.T) az
	}{{"2.45", (*controlPlane).newAz}, {"today", (*controlPlane).azOfToday}} {
		t.Run(age.name, func(t *testing.T) {
			t.Parallel()
			cp := start(t, 0)
			pg := testenv.Postgres(t, testenv.PostgresOptions{})
			database := cp.postgres(pg)
			if err := pg.Exec(t.Context(), "postgres", `CREATE ROLE app LOGIN PASSWORD 'the-app''s-own'`); err != nil {
				t.Fatal(err)
			}
			deploy := age.az(cp, t).signIn(cp.granted("deploy", serviceConnectorRole, cp.group))
			for _, s := range inEachAz[age.name] {
				if testing.Short() && !s.short {
					continue
				}
				t.Run(s.path, func(t *testing.T) {
					t.Parallel()
					s.manage(deploy.in(t), database)
				})
			}
		})
	}
}

func (s azSource) manage(az az, database string) {
	t := az.t
	if s.extension {
		az.extension(s.group)
	}
	id := az.cp.group + "/providers/" + s.path
	login := given("app", "the-app's-own")
	create := slices.Concat(s.of("c1", "create postgres-flexible"), s.part, []string{"--target-id", database}, login)
	// Without a client type az asks the source for it, with a command of the
	// extension's: none, or Spring Boot.
	if s.client != "" {
		create = append(create, "--client-type", s.client)
	}
	_, err := az.run(create...)
	if err == nil || !strings.Contains(err.Error(), "SourceNotFound") {
		t.Fatalf("create on what nobody registered: %v", err)
	}
	file := az.cp.byTheFix(err.Error())
	if status, shown := az.cp.call("GET", id, "2024-01-01", nil); status != 200 || at(shown, "id") != id || at(shown, "properties", "driver") != "envfile" {
		t.Fatalf("the fix registers something else: %d %v", status, shown)
	}
	made := az.must(create...)
	wantAzLinker(t, made, id, database, s.made)
	wantListed(t, at(made, "configurations"), file.settings())
	wantScope := func(of any, when string) {
		t.Helper()
		if got := at(of, "scope"); got != s.scope {
			t.Errorf("%s: the scope is %v, want %v", when, got, s.scope)
		}
	}
	wantScope(made, "create")
	shown := az.must(s.of("c1", "show")...)
	wantAzLinker(t, shown, id, database, s.made)
	wantScope(shown, "show")
	// The same by the connection's own id, as az lists it.
	wantScope(az.must(s.group, "connection", "show", "--id", linkerPath(id, "c1")), "show --id")
	if all, _ := az.must(s.group, "connection", "list", "--source-id", id).([]any); len(all) != 1 || at(all, 0, "name") != "c1" || at(all, 0, "scope") != s.scope {
		t.Errorf("list = %v", all)
	}
	wantListed(t, at(az.must(s.of("c1", "list-configuration")...), "configurations"), file.settings())
	report, _ := az.must(s.of("c1", "validate")...).([]any)
	if len(report) == 0 || slices.ContainsFunc(report, func(d any) bool { return at(d, "result") == "failure" }) {
		t.Errorf("validate = %v", report)
	}
	changed := az.must(s.of("c1", "update postgres-flexible", append([]string{"--client-type", "nodejs"}, login...)...)...)
	wantAzLinker(t, changed, id, database, "nodejs")
	wantScope(changed, "update")
	wantListed(t, at(az.must(s.of("c1", "list-configuration")...), "configurations"), file.settings())

	// Told not to wait, az is back at once, and waits when it is told to. What it prints
	// then it can't: this is as far as it comes with what is no connection yet.
	again := slices.Clone(create)
	again[slices.Index(again, "c1")] = "c2"
	if _, err := az.run(append(again, "--no-wait")...); err != nil && !strings.Contains(err.Error(), "'NoneType' object has no attribute 'get'") {
		t.Fatalf("create --no-wait: %v", err)
	}
	az.must(s.of("c2", "wait", "--created", "--interval", "1", "--timeout", "60")...)
	wantScope(az.must(s.of("c2", "show")...), "show after wait")
	if one, two := len(at(made, "configurations").([]any)), len(file.settings()); two <= one+1 {
		t.Errorf("two connections have %d settings, and one has %d", two-1, one)
	}
	az.must(s.of("c2", "delete", "--yes", "--no-wait")...)
	az.must(s.of("c2", "wait", "--deleted", "--interval", "1", "--timeout", "60")...)

	az.must(s.of("c1", "delete", "--yes")...)
	if got := file.text(); got != original {
		t.Errorf("after the deletes the file is\n%s", got)
	}
	az.refused(3, []string{"ResourceNotFound"}, s.of("c1", "show")...)
}
