//go:build az

package clienttest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"patchbay.dev/patchbay/internal/testenv"
)

func TestAzManagesLocalConnections(t *testing.T) {
	t.Parallel()
	cp := start(t, 0)
	deploy := cp.newAz(t).signIn(cp.granted("deploy", serviceConnectorRole, cp.group))
	properties, auth := servePostgres(t)
	target := cp.register("Microsoft.DBforPostgreSQL/flexibleServers/pg", properties) + "/databases/shop"
	of := func(command string, more ...string) []string {
		return slices.Concat([]string{"connection"}, strings.Fields(command), []string{"--resource-group", "default", "--connection", "mine"}, more)
	}
	made := deploy.must(of("create postgres-flexible", slices.Concat([]string{"--target-id", target, "--client-type", "python"}, auth)...)...)
	if got := at(made, "targetService", "id"); got != target {
		t.Errorf("the target is %v", got)
	}
	values := func(of any) string { return fmt.Sprint(at(of, "configurations")) }
	if !strings.Contains(values(made), "the-app") {
		t.Errorf("the configurations are %s", values(made))
	}
	if all, _ := deploy.must("connection", "list", "--resource-group", "default").([]any); len(all) != 1 || at(all, 0, "name") != "mine" {
		t.Errorf("list = %v", all)
	}
	if shown := deploy.must(of("show")...); at(shown, "clientType") != "python" || values(shown) != values(made) {
		t.Errorf("show = %v", shown)
	}
	if got := values(deploy.must(of("generate-configuration")...)); got != values(made) {
		t.Errorf("generate-configuration = %s, and create said %s", got, values(made))
	}
	changed := deploy.must(of("update postgres-flexible", slices.Concat([]string{"--client-type", "go"}, auth)...)...)
	if at(changed, "clientType") != "go" || values(changed) == values(made) {
		t.Errorf("update = %v", changed)
	}
	report, _ := deploy.must(of("validate")...).([]any)
	if len(report) == 0 || slices.ContainsFunc(report, func(d any) bool { return at(d, "result") == "failure" }) {
		t.Errorf("validate = %v", report)
	}
	deploy.must(of("delete", "--yes")...)
	deploy.refused(3, []string{"ResourceNotFound"}, of("show")...)

	names := deploy.must("connection", "preview-configuration", "postgres-flexible", "--client-type", "go")
	if !strings.Contains(fmt.Sprint(names), "AZURE_POSTGRESQL_CONNECTIONSTRING") {
		t.Errorf("preview-configuration = %v", names)
	}
}

func TestAzListsWhatItSupports(t *testing.T) {
	t.Parallel()
	cp := start(t, 0)
	az := cp.newAz(t).signIn(cp.granted("reader", readerRole, cp.group))
	began := time.Now()
	az.must("version")
	t.Logf("az version took %s", time.Since(began).Round(time.Millisecond))
	began = time.Now()
	list, _ := az.must("webapp", "connection", "list-support-types").([]any)
	t.Logf("a command that asks no server took %s", time.Since(began).Round(time.Millisecond))
	if len(list) < 12 {
		t.Errorf("list-support-types = %v", list)
	}
	for _, k := range kinds {
		if !slices.ContainsFunc(list, func(e any) bool { return at(e, "target") == k.name }) {
			t.Errorf("az has no %s", k.name)
		}
	}
}

func TestAzShowsAnAccount(t *testing.T) {
	t.Parallel()
	cp := start(t, 0)
	who := cp.granted("reader", readerRole, cp.group)
	az := cp.newAz(t)
	wrong := who
	wrong.secret = "wrong"
	_, err := az.run("login", "--service-principal", "--username", wrong.id, "--password", wrong.secret, "--tenant", wrong.tenant)
	if err == nil || !strings.Contains(err.Error(), "secret") {
		t.Errorf("with a wrong secret az says %v", err)
	}
	az = az.signIn(who)
	if shown := az.must("account", "show"); at(shown, "id") != cp.subscription || at(shown, "tenantId") != cp.tenant || at(shown, "user", "name") != who.id {
		t.Errorf("account show = %v", shown)
	}
	if list, _ := az.must("account", "list").([]any); len(list) != 1 || at(list, 0, "id") != cp.subscription {
		t.Errorf("account list = %v", list)
	}
	tenants := az.must("rest", "--method", "get", "--url", "/tenants?api-version=2020-01-01")
	if at(tenants, "value", 0, "tenantId") != cp.tenant {
		t.Errorf("the tenants are %v", tenants)
	}
	if token := az.must("account", "get-access-token"); at(token, "tenant") != cp.tenant || at(token, "accessToken") == nil {
		t.Error("there is no token")
	}
}

// TestAzIsRefused: what one may not read is not there, and what one may read
// but not change is refused with the action and the scope.
func TestAzIsRefused(t *testing.T) {
	t.Parallel()
	cp := start(t, 0)
	pg := testenv.Postgres(t, testenv.PostgresOptions{})
	database := cp.postgres(pg)
	source, _ := cp.source("web", nil)
	status, answer := cp.call("PUT", linkerPath(source, "c1"), linkerVersion, secretLinker(database, "go", nil))
	if status != 201 {
		t.Fatalf("PUT = %d %v", status, answer)
	}
	cp.settled(source, "c1")
	of := func(command string, more ...string) []string {
		return slices.Concat([]string{"webapp", "connection"}, strings.Fields(command), []string{"--resource-group", "default", "--name", "web", "--connection", "c1"}, more)
	}
	reader := cp.newAz(t).signIn(cp.granted("reader", readerRole, source))
	if got := at(reader.must(of("show")...), "name"); got != "c1" {
		t.Errorf("show = %v", got)
	}
	reader.refused(1, []string{"AuthorizationFailed", "Microsoft.ServiceLinker/linkers/listConfigurations/action", "c1"}, of("list-configuration")...)
	reader.refused(1, []string{"AuthorizationFailed", "Microsoft.ServiceLinker/linkers/delete"}, of("delete", "--yes")...)
	create := of("create postgres-flexible", "--target-id", database, "--client-type", "go", "--secret", "name=app", "secret=x")
	reader.refused(1, []string{"AuthorizationFailed", "Microsoft.ServiceLinker/linkers/write"}, create...)

	// The source is the caller's, the target is not: connecting to it is refused,
	// and it says no more of it than of one that is not there.
	half := cp.newAz(t).signIn(cp.granted("half", serviceConnectorRole, source))
	half.refused(1, nil, create...)

	other, _ := cp.source("other", nil)
	stranger := cp.newAz(t).signIn(cp.granted("stranger", readerRole, other))
	stranger.refused(3, []string{"ResourceNotFound"}, of("show")...)
}

func TestAzManagesTheInventory(t *testing.T) {
	t.Parallel()
	cp := start(t, 0)
	az := cp.newAz(t).signIn(cp.granted("owner", ownerRole, "/subscriptions/"+cp.subscription))
	az.must("group", "create", "--name", "shop", "--location", "local")
	if shown := az.must("group", "show", "--name", "shop"); at(shown, "name") != "shop" {
		t.Errorf("group show = %v", shown)
	}
	if got := az.must("group", "exists", "--name", "shop"); got != true {
		t.Errorf("group exists = %v", got)
	}
	if all, _ := az.must("group", "list").([]any); len(all) != 2 {
		t.Errorf("group list = %v", all)
	}
	_, file := cp.source("other", nil)
	full := fmt.Sprintf(`{"driver": "envfile", "endpoint": %q, "dialect": "dotenv"}`, file.path+".own")
	made := az.must("resource", "create", "--resource-group", "shop", "--resource-type", "Microsoft.Web/sites", "--name", "web", "--location", "local", "--properties", full)
	id := "/subscriptions/" + cp.subscription + "/resourceGroups/shop/providers/Microsoft.Web/sites/web"
	if at(made, "id") != id || at(made, "properties", "driver") != "envfile" {
		t.Errorf("resource create = %v", made)
	}
	if shown := az.must("resource", "show", "--ids", id); at(shown, "name") != "web" {
		t.Errorf("resource show = %v", shown)
	}
	if all, _ := az.must("resource", "list", "--resource-group", "shop").([]any); len(all) != 1 || at(all, 0, "id") != id {
		t.Errorf("resource list = %v", all)
	}
	az.must("resource", "delete", "--ids", id)
	az.refused(3, []string{"NotFound"}, "resource", "show", "--ids", id)
	az.must("group", "delete", "--name", "shop", "--yes")
	if got := az.must("group", "exists", "--name", "shop"); got != false {
		t.Errorf("group exists = %v after the delete", got)
	}
}

// TestAzAssignsRoles goes through az rest: in Debian's az, role assignment
// create and list end with an AttributeError before they ask anything.
func TestAzAssignsRoles(t *testing.T) {
	t.Parallel()
	cp := start(t, 0)
	source, _ := cp.source("web", nil)
	az := cp.newAz(t).signIn(cp.granted("owner", ownerRole, "/subscriptions/"+cp.subscription))
	other := cp.principal("other")
	id := source + "/providers/Microsoft.Authorization/roleAssignments/" + uuid.NewString()
	url := id + "?api-version=2022-04-01"
	body := fmt.Sprintf(`{"properties": {"roleDefinitionId": "/subscriptions/%s/providers/Microsoft.Authorization/roleDefinitions/%s", "principalId": %q, "principalType": "ServicePrincipal"}}`,
		cp.subscription, readerRole, other.object)
	made := az.must("rest", "--method", "put", "--url", url, "--body", body)
	if at(made, "properties", "principalId") != other.object || at(made, "properties", "scope") != source {
		t.Errorf("PUT = %v", made)
	}
	theirs := cp.newAz(t).signIn(other)
	if got := at(theirs.must("resource", "show", "--ids", source), "name"); got != "web" {
		t.Errorf("who was given a role reads %v", got)
	}
	az.must("role", "assignment", "delete", "--ids", id)
	az.refused(1, []string{"ResourceNotFound"}, "rest", "--method", "get", "--url", url)
	theirs.refused(3, nil, "resource", "show", "--ids", source)
}

// TestAzNamesAServicePrincipalByItsClientID: az looks its object id up by itself,
// as whoever makes the connection, who may read no principals.
func TestAzNamesAServicePrincipalByItsClientID(t *testing.T) {
	t.Parallel()
	cp := start(t, 0)
	cp.register("Microsoft.Storage/storageAccounts/files", service(t))
	source, file := cp.source("web", nil)
	app := cp.principal("app")
	deploy := cp.newAz(t)
	// az finds Graph where the cloud was said to have it, and nowhere else.
	deploy.must("cloud", "update", "--name", "patchbay", "--cloud-config", `{"endpoints":{"microsoftGraphResourceId":"`+cp.url+`/"}}`)
	deploy.signIn(cp.granted("deploy", serviceConnectorRole, cp.group))
	made := deploy.must("webapp", "connection", "create", "storage-blob", "--resource-group", "default", "--name", "web", "--connection", "files",
		"--target-resource-group", "default", "--account", "files", "--client-type", "python",
		"--service-principal", "client-id="+app.id, "secret="+app.secret)
	if at(made, "id") != linkerPath(source, "files") || at(made, "authInfo", "principalId") != app.object || at(made, "authInfo", "clientId") != app.id {
		t.Errorf("create = %v", made)
	}
	if got := file.settings()["AZURE_STORAGEBLOB_CLIENTID"]; got != app.id {
		t.Errorf("the file has the client id %q", got)
	}
}
