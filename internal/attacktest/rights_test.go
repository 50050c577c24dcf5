package attacktest

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"

	"patchbay.dev/patchbay/internal/testenv"
)

// onPostgres registers a server in the tenant, and gives the id of its database.
func (n *tenant) onPostgres(pg *testenv.PostgresServer, database string) string {
	n.s.t.Helper()
	id := n.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/orders"
	n.s.must(2, n.s.token, "PUT", id, own, map[string]any{"properties": map[string]any{
		"driver": "postgres", "endpoint": pg.Addr(), "sslmode": "disable",
		"admin": map[string]any{"username": pg.User, "password": pg.Password},
	}})
	return id + "/databases/" + database
}

func toResource(id string) map[string]any {
	return map[string]any{"properties": map[string]any{
		"targetService": map[string]any{"type": "AzureResource", "id": id},
		"authInfo":      map[string]any{"authType": "secret"}, "clientType": "go",
	}}
}

// custom gives c a role of these actions alone.
func (n *tenant) custom(c caller, actions ...string) {
	n.s.t.Helper()
	scope := "/subscriptions/" + n.subscription
	definition := scope + "/providers/Microsoft.Authorization/roleDefinitions/" + uuid.NewString()
	n.s.must(2, n.s.token, "PUT", definition, authorities, map[string]any{"properties": map[string]any{
		"roleName": "custom " + uuid.NewString(), "assignableScopes": []string{scope},
		"permissions": []any{map[string]any{"actions": actions}},
	}})
	n.s.must(2, n.s.token, "PUT", scope+"/providers/Microsoft.Authorization/roleAssignments/"+uuid.NewString(), authorities, map[string]any{
		"properties": map[string]any{"roleDefinitionId": definition, "principalId": c.object, "principalType": "ServicePrincipal"},
	})
}

// With the right to read and to validate alone, the source's file was written.
func TestWhoMayOnlyValidateFixesNothing(t *testing.T) {
	s := start(t)
	n := s.tenant("shop")
	pg := testenv.Postgres(t, testenv.PostgresOptions{})
	must(t, pg.Exec(t.Context(), "postgres", "create database shop"))
	target := n.onPostgres(pg, "shop")
	source, file := n.source("web")
	id := linker(source, "db")
	s.must(2, s.token, "PUT", id, linkers, toResource(target))
	if op := s.operation(s.token, id); op["state"] != "done" {
		t.Fatalf("%v", op)
	}
	changed := strings.ReplaceAll(read(t, file), "password=", "password=x")
	must(t, os.WriteFile(file, []byte(changed), 0o600))
	validator := n.principal("validator")
	n.custom(validator, "*/read", "Microsoft.ServiceLinker/linkers/validateLinker/action", "Patchbay.Connector/linkers/validate/action")

	fix := id + "/providers/Patchbay.Connector/validate"
	if status, answer := s.call(validator.token, "POST", fix, own, map[string]any{"fix": true}); status != http.StatusForbidden {
		t.Errorf("a fix is answered %d %v", status, answer)
	}
	if read(t, file) != changed {
		t.Error("the file was written")
	}
	s.must(2, validator.token, "POST", fix, own, map[string]any{})
	if op := s.operation(s.token, id); text(op, "kind") != "validate" {
		t.Errorf("%v", op)
	}
}

// In another tenant a login came back, after that tenant had taken the role away
// and dropped it.
func TestALoginDoesNotComeBackToATenantThatTookTheRoleAway(t *testing.T) {
	s := start(t)
	web, data := s.tenant("web"), s.tenant("data")
	pg := testenv.Postgres(t, testenv.PostgresOptions{})
	must(t, pg.Exec(t.Context(), "postgres", "create database shop"))
	target := data.onPostgres(pg, "shop")
	source, file := web.source("app")
	here, there := web.with("Service Connector Contributor", ""), data.principal("partner")
	assignment := data.assign(there, "Service Connector Contributor", "")
	auxiliary := []string{"x-ms-authorization-auxiliary", "Bearer " + there.token}
	id := linker(source, "db")
	s.must(2, here.token, "PUT", id, linkers, toResource(target), auxiliary...)
	if op := s.operation(s.token, id); op["state"] != "done" {
		t.Fatalf("%v", op)
	}
	login := logins(t, pg)
	if len(login) != 1 {
		t.Fatalf("the logins are %v", login)
	}
	s.must(2, s.token, "DELETE", assignment, authorities, nil)
	must(t, pg.Exec(t.Context(), "shop", "drop owned by "+login[0], "drop role "+login[0]))
	before := read(t, file)
	for what, try := range map[string]func() (int, map[string]any){
		"fix": func() (int, map[string]any) {
			return s.call(here.token, "POST", id+"/providers/Patchbay.Connector/validate", own, map[string]any{"fix": true}, auxiliary...)
		},
		"fix without the other tenant's token": func() (int, map[string]any) {
			return s.call(here.token, "POST", id+"/providers/Patchbay.Connector/validate", own, map[string]any{"fix": true})
		},
		"rotate": func() (int, map[string]any) {
			return s.call(here.token, "POST", id+"/providers/Patchbay.Connector/rotate", own, map[string]any{}, auxiliary...)
		},
		"update": func() (int, map[string]any) {
			return s.call(here.token, "PUT", id, linkers, toResource(target), auxiliary...)
		},
	} {
		if status, answer := try(); status/100 == 2 {
			t.Errorf("%s is answered %d %v", what, status, answer)
			s.operation(s.token, id)
		}
	}
	if now := logins(t, pg); len(now) != 0 {
		t.Errorf("the other tenant has the logins %v again", now)
	}
	if read(t, file) != before {
		t.Error("the file was written")
	}
	// What is ours can be taken away at any time.
	s.must(2, here.token, "DELETE", id, linkers, nil)
	if op := s.operation(s.token, id); op["state"] != "done" {
		t.Errorf("the delete: %v", op)
	}
}

// logins are the roles on a server that bear Patchbay's name.
func logins(t *testing.T, pg *testenv.PostgresServer) []string {
	t.Helper()
	conn, err := pg.Connect(t.Context(), "postgres")
	must(t, err)
	defer func() { _ = conn.Close(t.Context()) }()
	rows, err := conn.Query(t.Context(), `select rolname from pg_roles where rolname ~ '^pb_[a-z2-7]{12}_g[0-9]+$'`)
	must(t, err)
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		must(t, rows.Scan(&name))
		names = append(names, name)
	}
	must(t, rows.Err())
	return names
}

// 40 of 120 assignments that raced the deletion of their scope stood again when
// it was made anew.
func TestARoleDoesNotOutliveItsScope(t *testing.T) {
	s := start(t)
	n := s.tenant("shop")
	c := n.principal("racer")
	rounds := 12
	if *whole {
		rounds = 120
	}
	stood := 0
	for round := range rounds {
		group := fmt.Sprintf("/subscriptions/%s/resourceGroups/race%d", n.subscription, round%3)
		resource := group + "/providers/Microsoft.Cache/redis/cache"
		put := func() {
			s.must(2, s.token, "PUT", group, "2021-04-01", map[string]any{"location": "local"})
			s.must(2, s.token, "PUT", resource+"?check=false", own, map[string]any{"properties": map[string]any{"driver": "external", "endpoint": "redis://127.0.0.1:1"}})
		}
		put()
		scope := []string{group, resource}[round%2]
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for range 4 {
				s.call(s.token, "PUT", scope+"/providers/Microsoft.Authorization/roleAssignments/"+uuid.NewString(), authorities, map[string]any{
					"properties": map[string]any{
						"roleDefinitionId": "/subscriptions/" + n.subscription + "/providers/Microsoft.Authorization/roleDefinitions/" + roles["Reader"],
						"principalId":      c.object, "principalType": "ServicePrincipal",
					}})
			}
		}()
		s.call(s.token, "DELETE", resource, own, nil)
		s.call(s.token, "DELETE", group, "2021-04-01", nil)
		<-ended
		s.call(s.token, "DELETE", resource, own, nil)
		s.call(s.token, "DELETE", group, "2021-04-01", nil)
		put()
		if status, _ := s.call(c.token, "GET", resource, own, nil); status == http.StatusOK {
			stood++
		}
		s.must(2, s.token, "DELETE", resource, own, nil)
	}
	if stood > 0 {
		t.Errorf("%d of %d assignments stand at what was made anew", stood, rounds)
	}
}

func TestARegisteredKeyGoesNowhereElse(t *testing.T) {
	s := start(t)
	n := s.tenant("shop")
	id := n.group + "/providers/Microsoft.CognitiveServices/accounts/mind"
	s.must(2, s.token, "PUT", id+"?check=false", own, map[string]any{"kind": "OpenAI", "properties": map[string]any{
		"driver": "external", "admin": map[string]any{"secret": "registered-key"},
	}})
	who := n.with("Contributor", "")
	for what, body := range map[string]map[string]any{
		"another kind":     {"kind": "CognitiveServices"},
		"another endpoint": {"properties": map[string]any{"endpoint": "https://127.0.0.1:1"}},
		"another value":    {"properties": map[string]any{"values": map[string]any{"endpoint": "https://127.0.0.1:1"}}},
	} {
		if status, answer := s.call(who.token, "PATCH", id+"?check=false", own, body); status/100 == 2 {
			t.Errorf("%s is taken: %v", what, answer)
		}
	}
}

func TestPathsOfPatchbaysOwnAreNobodysSettings(t *testing.T) {
	s := start(t)
	n := s.tenant("shop")
	link := s.dir + "/link.env"
	must(t, os.Symlink(s.data()+"/admin.token", link))
	hard := s.dir + "/hard.env"
	must(t, os.Link(s.data()+"/sealing.key", hard))
	for _, path := range []string{
		s.data() + "/sealing.key", s.data() + "/admin.token", s.data() + "/patchbay.db", s.data() + "/new.env", link, hard,
		fmt.Sprintf("/proc/%d/root%s/admin.token", s.cmd.Process.Pid, s.data()),
	} {
		id := n.group + "/providers/Microsoft.Web/sites/" + uuid.NewString()
		status, answer := s.call(s.token, "PUT", id, own, map[string]any{"properties": map[string]any{"driver": "envfile", "endpoint": path}})
		if status/100 == 2 {
			t.Errorf("%s is taken: %v", path, answer)
		}
		if status, answer = s.call(s.token, "POST", id+"/providers/Patchbay.Connector/environment", own, nil); status/100 == 2 {
			t.Errorf("%s is read: %v", path, answer)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	return string(b)
}
