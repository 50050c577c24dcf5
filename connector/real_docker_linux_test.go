package connector_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/connector"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/controlplane"
	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
)

// TestARealNetworkOfContainers: an application in a container is connected to PostgreSQL in
// another one, with which it shares no network, by the name that it has on theirs.
func TestARealNetworkOfContainers(t *testing.T) {
	engine := testdocker.Start(t, testdocker.Docker)
	image := engine.Image(t, testdocker.App)
	db := newContained(t, engine, image)
	engine.Must(t, "run", "--detach", "--name", "web", image)
	network, err := hosts.NewLocal(hosts.DialRules{}).Network(fmt.Sprintf("/proc/%d/ns/net", engine.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = network.Close() })
	config, err := pgx.ParseConfig("host=127.0.0.1 port=5432 user=postgres password=secret sslmode=disable dbname=postgres")
	if err != nil {
		t.Fatal(err)
	}
	config.DialFunc = network.DialContext
	ready := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for ; ; <-tick.C {
			conn, err := pgx.ConnectConfig(ctx, config)
			if err == nil {
				_, err = conn.Exec(ctx, "SELECT 1")
				err = errors.Join(err, conn.Close(ctx))
			}
			if err == nil {
				return
			}
			if ctx.Err() != nil {
				t.Fatalf("PostgreSQL does not come up: %v\n%s", err, engine.Must(t, "logs", "orders-db"))
			}
		}
	}
	db.run()
	ready()
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "CREATE DATABASE shop"); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close(t.Context())

	p := newPlaceOf(t, connector.Options{Dialer: network, Catalog: controlplane.Catalog()})
	properties := func(of map[string]any) json.RawMessage {
		of["engine"] = "unix://" + engine.Socket
		b, err := json.Marshal(of)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	guard := p.register(patchbay.Resource{ID: p.group.Child("providers/Patchbay.Services/guards", "net1"), Driver: "docker-network", Properties: properties(map[string]any{})}, nil)
	web := p.register(patchbay.Resource{
		ID: p.group + "/providers/Microsoft.App/containerApps/web", Driver: "docker", Endpoint: "web",
		Properties: properties(map[string]any{"wait": map[string]string{"limit": "20s", "steady": "20ms"}}),
	}, nil)
	p.linker = web.Linker("data")
	id := p.register(patchbay.Resource{
		ID: p.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", Driver: "postgres", Endpoint: "127.0.0.1:5432",
		Properties: json.RawMessage(`{"sslmode":"disable"}`), Guards: []patchbay.ID{guard},
	}, map[string]string{"username": "postgres", "password": "secret"})
	networks := func() string {
		return engine.Must(t, "network", "ls", "--quiet", "--filter", "label=patchbay.dev/rule")
	}
	spec := patchbay.Spec{
		Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: id.Child("databases", "shop")}, Auth: secretAuth("", ""), Client: "go",
		VNet: &patchbay.VNetSolution{Type: "privateLink"},
	}
	p.done(p.put(spec))
	environment, err := engine.Environ("web")
	if err != nil || !strings.Contains(environment[connectionString], "orders-db") {
		t.Errorf("the application has %q, %v", environment, err)
	}
	if results := p.validated(); results[patchbay.CheckNetwork] != patchbay.Success || results[patchbay.CheckAuthentication] != patchbay.Success {
		t.Errorf("%v", results)
	}
	// Its owner makes the target anew.
	engine.Must(t, "rm", "--force", "orders-db")
	db.run()
	ready()
	op := p.ends(p.Validate(t.Context(), connector.ValidateRequest{ID: p.linker, Caller: p.caller, Fix: false}))
	p.done(op)
	if !slices.ContainsFunc(op.Result.Checks, func(c patchbay.Check) bool { return c.Code == patchbay.RuleMissing && strings.Contains(c.Fix, "--fix") }) {
		t.Errorf("without a way, %+v", op.Result.Checks)
	}
	p.done(p.ends(p.Validate(t.Context(), connector.ValidateRequest{ID: p.linker, Caller: p.caller, Fix: true})))
	if results := p.validated(); results[patchbay.CheckNetwork] != patchbay.Success || results[patchbay.CheckAuthentication] != patchbay.Success {
		t.Errorf("after the fix, %v", results)
	}
	p.done(p.ends(p.Delete(t.Context(), p.linker, p.caller, "")))
	if left := networks(); left != "" {
		t.Errorf("left is %s", left)
	}
}

// contained is a PostgreSQL of this machine's, run in a container.
type contained struct {
	t                *testing.T
	engine           *testdocker.Engine
	image, bin, data string
}

func newContained(t *testing.T, engine *testdocker.Engine, image string) *contained {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(found) == 0 {
		t.Skip("PostgreSQL is not installed here: make deps")
	}
	dir, err := os.MkdirTemp("", "patchbay-contained-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := &contained{t, engine, image, slices.Max(found), filepath.Join(dir, "data")}
	password := filepath.Join(dir, "password")
	for _, err := range []error{os.Chmod(dir, 0o755), os.WriteFile(password, []byte("secret"), 0o644), os.Mkdir(c.data, 0o700), os.Chown(c.data, nobody, nobody)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	initdb := osexec.Command("setpriv", "--reuid", fmt.Sprint(nobody), "--regid", fmt.Sprint(nobody), "--clear-groups",
		filepath.Join(c.bin, "initdb"), "--pgdata", c.data, "--username", "postgres", "--pwfile", password, "--auth", "scram-sha-256", "--locale", "C", "--encoding", "UTF8", "--no-sync")
	initdb.Dir = dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(c.data, "pg_hba.conf"), []byte("host all all all scram-sha-256\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	engine.Must(t, "network", "create", "own-db")
	return c
}

const nobody = 65534

func (c *contained) run() {
	c.t.Helper()
	args := []string{"run", "--detach", "--name", "orders-db", "--network", "own-db", "--publish", "127.0.0.1:5432:5432", "--user", fmt.Sprintf("%d:%d", nobody, nobody), "--volume", c.data + ":/data"}
	for _, dir := range []string{"/usr", "/lib", "/lib64"} {
		args = append(args, "--volume", dir+":"+dir+":ro")
	}
	c.engine.Must(c.t, append(args, "--entrypoint", filepath.Join(c.bin, "postgres"), c.image, "-D", "/data", "-h", "0.0.0.0", "-k", "/data", "-F")...)
}
