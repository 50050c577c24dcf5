package connector_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/connector"
	"patchbay.dev/patchbay/internal/testenv"
)

const connectionString = "AZURE_POSTGRESQL_CONNECTIONSTRING"

// A delete that the server would refuse, because another administrator made the login,
// changes nothing and says what helps; with that it does what it says.
func TestADeleteIsNoSuccessWhileTheLoginSignsIn(t *testing.T) {
	server := testenv.Postgres(t, testenv.PostgresOptions{Version: 18})
	super := fmt.Sprintf("host=%s port=%d user=%s password=%s sslmode=disable dbname=", server.Host, server.Port, server.User, server.Password)
	exec(t, super+"postgres", "CREATE ROLE adm1 LOGIN CREATEROLE PASSWORD 'one-password'", "CREATE ROLE adm2 LOGIN CREATEROLE PASSWORD 'two-password'",
		"CREATE DATABASE shop", "CREATE ROLE shop_owner", "GRANT shop_owner TO adm1, adm2", "ALTER DATABASE shop OWNER TO shop_owner")
	exec(t, super+"shop", "ALTER SCHEMA public OWNER TO shop_owner")

	p := newPlace(t)
	id := p.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db"
	as := func(admin, password string) {
		p.register(patchbay.Resource{ID: id, Driver: "postgres", Endpoint: fmt.Sprintf("%s:%d", server.Host, server.Port), Properties: json.RawMessage(`{"sslmode":"disable"}`)},
			map[string]string{"username": admin, "password": password})
	}
	as("adm1", "one-password")
	spec := patchbay.Spec{Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: id.Child("databases", "shop")}, Auth: secretAuth("", ""), Client: "go"}
	p.done(p.put(spec))
	before := p.held(connectionString)

	as("adm2", "two-password")
	const fix = "GRANT adm1 TO adm2"
	for what, op := range map[string]patchbay.Operation{
		"a delete":   p.ends(p.Delete(t.Context(), p.linker, p.caller, "")),
		"a rotation": p.ends(p.Rotate(t.Context(), connector.RotateRequest{ID: p.linker, Caller: p.caller})),
	} {
		if op.State != patchbay.Undone || op.Error.Code != patchbay.AdminRights || op.Error.Fix != fix {
			t.Fatalf("%s is %s: %v, fix %q; want it refused with %q", what, op.State, op.Error, op.Error.Fix, fix)
		}
		if p.held(connectionString) != before {
			t.Fatalf("%s changed the settings", what)
		}
		exec(t, before, "SELECT 1")
		if c, err := p.Get(t.Context(), p.linker); err != nil || c.State != patchbay.Succeeded {
			t.Errorf("after %s the connection is %+v, %v", what, c, err)
		}
	}
	exec(t, super+"postgres", fix)
	p.done(p.ends(p.Rotate(t.Context(), connector.RotateRequest{ID: p.linker, Caller: p.caller})))
	before = p.held(connectionString)
	exec(t, before, "SELECT 1")
	p.done(p.ends(p.Delete(t.Context(), p.linker, p.caller, "")))
	if conn, err := pgx.Connect(t.Context(), before); err == nil {
		_ = conn.Close(t.Context())
		t.Error("the deleted login signs in")
	}
	exec(t, super+"postgres", "DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname LIKE 'pb\\_%') THEN RAISE 'something is left'; END IF; END $$")
}

// What goes with a generation, and what its access does not promise, is said.
func TestWhatARotationTakesAwayIsSaid(t *testing.T) {
	server := testenv.Postgres(t, testenv.PostgresOptions{})
	super := fmt.Sprintf("host=%s port=%d user=%s password=%s sslmode=disable dbname=", server.Host, server.Port, server.User, server.Password)
	exec(t, super+"postgres", "CREATE DATABASE shop", "CREATE ROLE other")
	exec(t, super+"shop", "CREATE TABLE theirs (n int)", "ALTER TABLE theirs OWNER TO other")
	p := newPlace(t)
	id := p.register(patchbay.Resource{
		ID: p.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", Driver: "postgres", Endpoint: fmt.Sprintf("%s:%d", server.Host, server.Port), Properties: json.RawMessage(`{"sslmode":"disable"}`),
	}, map[string]string{"username": server.User, "password": server.Password})
	spec := patchbay.Spec{
		Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: id.Child("databases", "shop")}, Auth: secretAuth("", ""), Client: "go", Access: patchbay.Owner,
	}
	made := p.put(spec)
	p.done(made)
	if !strings.Contains(made.Message, "public.theirs belongs to other") || !strings.Contains(made.Message, "GRANT ") {
		t.Errorf("the create says %q", made.Message)
	}
	if results := p.validated(); results[patchbay.CheckAuthentication] != patchbay.Warning {
		t.Errorf("%v, want a warning", results)
	}
	_, grant, _ := strings.Cut(made.Message, "to hand it over: ")
	exec(t, super+"shop", grant)
	if results := p.validated(); results[patchbay.CheckAuthentication] != patchbay.Success {
		t.Errorf("%v", results)
	}
	exec(t, p.held(connectionString), "ALTER TABLE theirs ADD COLUMN m int")

	spec.Access = patchbay.Writer
	p.done(p.put(spec))
	c, err := p.Get(t.Context(), p.linker)
	if err != nil {
		t.Fatal(err)
	}
	exec(t, super+"shop", "GRANT TRUNCATE ON theirs TO "+c.Login)
	rotated := p.ends(p.Rotate(t.Context(), connector.RotateRequest{ID: p.linker, Caller: p.caller}))
	p.done(rotated)
	if !strings.Contains(rotated.Message, c.Login+" has what its access does not give") || !strings.Contains(rotated.Message, "TRUNCATE on table public.theirs") {
		t.Errorf("the rotation says %q", rotated.Message)
	}
	p.done(p.ends(p.Delete(t.Context(), p.linker, p.caller, "")))
}

// The administrator's password is replaced while connections are there: they go on, and
// whoever had the old one is refused.
func TestTheAdministratorsPasswordOfAServerIsReplaced(t *testing.T) {
	server := testenv.Postgres(t, testenv.PostgresOptions{})
	super := fmt.Sprintf("host=%s port=%d user=%s password=%s sslmode=disable dbname=", server.Host, server.Port, server.User, server.Password)
	exec(t, super+"postgres", "CREATE ROLE adm LOGIN CREATEROLE PASSWORD 'adm-password'", "CREATE DATABASE shop OWNER adm")
	p := newPlace(t)
	id := p.register(patchbay.Resource{
		ID: p.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", Driver: "postgres", Endpoint: fmt.Sprintf("%s:%d", server.Host, server.Port), Properties: json.RawMessage(`{"sslmode":"disable"}`),
	}, map[string]string{"username": "adm", "password": "adm-password"})
	spec := patchbay.Spec{Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: id.Child("databases", "shop")}, Auth: secretAuth("", ""), Client: "go"}
	p.done(p.put(spec))
	for range 2 {
		op, err := p.RotateAdmin(t.Context(), connector.RotateAdminRequest{ID: id, Caller: p.caller})
		p.done(p.ends(connector.Begun{Operation: op}, err))
	}
	old := fmt.Sprintf("host=%s port=%d user=adm password=adm-password sslmode=disable dbname=postgres", server.Host, server.Port)
	if conn, err := pgx.Connect(t.Context(), old); err == nil {
		_ = conn.Close(t.Context())
		t.Error("the old password signs in")
	}
	exec(t, p.held(connectionString), "SELECT 1")
	p.done(p.ends(p.Rotate(t.Context(), connector.RotateRequest{ID: p.linker, Caller: p.caller})))
	exec(t, p.held(connectionString), "SELECT 1")
	p.done(p.ends(p.Delete(t.Context(), p.linker, p.caller, "")))
}
