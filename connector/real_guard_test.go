package connector_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/connector"
	"patchbay.dev/patchbay/internal/testenv"
)

// TestARealGuard: PostgreSQL lets a connection's login in from where its source runs, and
// from nowhere else, in each generation, and its pg_hba.conf is in the end as it was.
func TestARealGuard(t *testing.T) {
	server := testenv.Postgres(t, testenv.PostgresOptions{})
	super := fmt.Sprintf("host=%s port=%d user=%s password=%s sslmode=disable dbname=postgres", server.Host, server.Port, server.User, server.Password)
	exec(t, super, "CREATE DATABASE shop")
	rules := func() string { return hbaRules(t, super) }
	before := rules()
	p := newPlace(t)
	guard := p.register(patchbay.Resource{ID: p.group.Child("providers/Patchbay.Services/guards", "hba"), Driver: "pghba", Properties: json.RawMessage(`{"tls":"optional"}`)}, nil)
	id := p.register(patchbay.Resource{
		ID: p.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", Driver: "postgres", Endpoint: fmt.Sprintf("%s:%d", server.Host, server.Port),
		Properties: json.RawMessage(`{"sslmode":"disable"}`), Guards: []patchbay.ID{guard},
	}, map[string]string{"username": server.User, "password": server.Password})
	spec := patchbay.Spec{Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: id.Child("databases", "shop")}, Auth: secretAuth("", ""), Client: "go"}
	p.done(p.put(spec))
	check := func() {
		t.Helper()
		c, err := p.Get(t.Context(), p.linker)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"{shop} {" + c.Login + "} " + server.Host, "{all,replication} {" + c.Login + "} all reject"} {
			if !strings.Contains(rules(), line) {
				t.Errorf("no rule %q in\n%s", line, rules())
			}
		}
		exec(t, p.held(connectionString), "SELECT 1")
		if results := p.validated(); results[patchbay.CheckNetwork] != patchbay.Success || results[patchbay.CheckAuthentication] != patchbay.Success {
			t.Errorf("%v", results)
		}
	}
	check()
	old, _ := p.Get(t.Context(), p.linker)
	p.done(p.ends(p.Rotate(t.Context(), connector.RotateRequest{ID: p.linker, Caller: p.caller})))
	check()
	if strings.Contains(rules(), old.Login) {
		t.Errorf("the old login may still come in:\n%s", rules())
	}
	p.done(p.ends(p.Delete(t.Context(), p.linker, p.caller, "")))
	if after := rules(); after != before {
		t.Errorf("the server has\n%s\nand had\n%s", after, before)
	}
}

// TestARealGuardStaysShut: to a server to which public access is denied, a connection is
// made, works where others get in anyway, and not a line of pg_hba.conf changes before it
// is allowed again and a fix opens the way.
func TestARealGuardStaysShut(t *testing.T) {
	server := testenv.Postgres(t, testenv.PostgresOptions{})
	super := fmt.Sprintf("host=%s port=%d user=%s password=%s sslmode=disable dbname=postgres", server.Host, server.Port, server.User, server.Password)
	exec(t, super, "CREATE DATABASE shop")
	before := hbaRules(t, super)
	p := newPlace(t)
	guard := p.register(patchbay.Resource{ID: p.group.Child("providers/Patchbay.Services/guards", "hba"), Driver: "pghba", Properties: json.RawMessage(`{"tls":"optional"}`)}, nil)
	target := patchbay.Resource{
		ID: p.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", Driver: "postgres", Endpoint: fmt.Sprintf("%s:%d", server.Host, server.Port),
		Properties: json.RawMessage(`{"sslmode":"disable"}`), Guards: []patchbay.ID{guard}, PublicAccess: patchbay.PublicDisabled,
	}
	admin := map[string]string{"username": server.User, "password": server.Password}
	id := p.register(target, admin)
	spec := patchbay.Spec{Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: id.Child("databases", "shop")}, Auth: secretAuth("", ""), Client: "go"}
	op := p.put(spec)
	p.done(op)
	if !strings.Contains(op.Message, "public access to db is denied") {
		t.Errorf("it says %q", op.Message)
	}
	p.done(p.ends(p.Rotate(t.Context(), connector.RotateRequest{ID: p.linker, Caller: p.caller})))
	fix := func() {
		t.Helper()
		p.done(p.ends(p.Validate(t.Context(), connector.ValidateRequest{ID: p.linker, Caller: p.caller, Fix: true})))
	}
	fix()
	p.done(p.put(spec))
	if after := hbaRules(t, super); after != before {
		t.Fatalf("the server has\n%s\nand had\n%s", after, before)
	}
	exec(t, p.held(connectionString), "SELECT 1")
	target.PublicAccess = patchbay.PublicEnabled
	p.register(target, admin)
	found := p.ends(p.Validate(t.Context(), connector.ValidateRequest{ID: p.linker, Caller: p.caller}))
	if p.done(found); !slices.ContainsFunc(found.Result.Checks, func(c patchbay.Check) bool { return c.Group == patchbay.CheckNetwork && c.Code == patchbay.RuleMissing }) {
		t.Errorf("allowed again, it finds %+v", found.Result.Checks)
	}
	fix()
	c, err := p.Get(t.Context(), p.linker)
	if line := "{shop} {" + c.Login + "} " + server.Host; err != nil || !strings.Contains(hbaRules(t, super), line) {
		t.Errorf("%v, no rule %q in\n%s", err, line, hbaRules(t, super))
	}
	if results := p.validated(); results[patchbay.CheckNetwork] != patchbay.Success {
		t.Errorf("after the fix, it finds %v", results)
	}
	p.done(p.ends(p.Delete(t.Context(), p.linker, p.caller, "")))
	if after := hbaRules(t, super); after != before {
		t.Errorf("in the end, the server has\n%s\nand had\n%s", after, before)
	}
}

// hbaRules are the rules that a server has read.
func hbaRules(t *testing.T, super string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), super)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	var text string
	if err := conn.QueryRow(t.Context(), "SELECT coalesce(string_agg(concat_ws(' ', type, database, user_name, address, auth_method), E'\\n'), '') FROM pg_hba_file_rules").Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}
