//go:build terraform

package clienttest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay/internal/testenv"
)

// terraform is Terraform itself, with azurerm, in a directory of its own.
type terraform struct {
	t   *testing.T
	dir string
	env []string
}

// newTerraform has it know the server as its cloud. make test-terraform builds the
// provider and says where it is.
func newTerraform(t *testing.T, cp *controlPlane, who credential) terraform {
	t.Helper()
	provider := os.Getenv("PATCHBAY_TERRAFORM_PROVIDER")
	if provider == "" {
		t.Fatal("there is no provider: `make test-terraform` builds it")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "terraformrc")
	text := fmt.Sprintf("provider_installation {\n  dev_overrides {\n    \"hashicorp/azurerm\" = %q\n  }\n}\n", provider)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), who.environment(cp)...)
	env = append(env, "ARM_SUBSCRIPTION_ID="+cp.subscription, "SSL_CERT_FILE="+cp.ca,
		"TF_CLI_CONFIG_FILE="+config, "TF_IN_AUTOMATION=1", "TF_INPUT=0", "CHECKPOINT_DISABLE=1", "TF_CLI_ARGS=-no-color")
	return terraform{t, dir, env}
}

// run gives a command, and returns its exit code and what it said.
func (tf terraform) run(args ...string) (int, string) {
	tf.t.Helper()
	program := "terraform"
	if _, err := exec.LookPath(program); err != nil {
		program = "tofu"
	}
	ctx, cancel := context.WithTimeout(tf.t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = tf.dir, tf.env
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		tf.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), said.String()
}

func (tf terraform) must(args ...string) {
	tf.t.Helper()
	if code, said := tf.run(args...); code != 0 {
		tf.t.Fatalf("terraform %s: %d\n%s", strings.Join(args, " "), code, said)
	}
}

// quiet holds that a plan wants nothing.
func (tf terraform) quiet(after string) {
	tf.t.Helper()
	if code, said := tf.run("plan", "-detailed-exitcode"); code != 0 {
		tf.t.Errorf("after %s the plan is not empty: %d\n%s", after, code, said)
	}
}

func (tf terraform) write(main string) {
	tf.t.Helper()
	if err := os.WriteFile(filepath.Join(tf.dir, "main.tf"), []byte(main), 0o600); err != nil {
		tf.t.Fatal(err)
	}
}

// kept are the connections of a configuration: the type and body of each, less
// what all have. %[1]s is their client type, %[2]s a password.
type kept struct {
	resource, body string
	// forgets says that an import does not know what the configuration has: a
	// secret is never answered.
	forgets bool
}

func TestTerraformManagesConnections(t *testing.T) {
	cp := start(t, 0)
	database := cp.postgres(testenv.Postgres(t, testenv.PostgresOptions{}))
	redis := testenv.Redis(t, true)
	cache := cp.register("Microsoft.Cache/redis/cache", map[string]any{
		"driver": "external", "endpoint": redis.Addr(), "tls": map[string]string{"ca": string(redis.CA)},
	}) + "/databases/0"
	account := cp.register("Microsoft.Storage/storageAccounts/files", service(t))
	vault := cp.register("Microsoft.KeyVault/vaults/safe", service(t))
	source, file := cp.source("web", nil)
	tf := newTerraform(t, cp, cp.granted("terraform", serviceConnectorRole, cp.group))

	all := map[string]kept{
		"own":       {"azurerm_app_service_connection", `target_resource_id = "` + database + `"` + "\n" + `authentication { type = "secret" }`, false},
		"given":     {"azurerm_app_service_connection", `target_resource_id = "` + cache + `"` + "\n" + `authentication { type = "secret", name = "` + redis.User + `", secret = "` + redis.Password + `" }`, true},
		"system":    {"azurerm_app_service_connection", `target_resource_id = "` + account + `"` + "\n" + `authentication { type = "systemAssignedIdentity" }`, false},
		"user":      {"azurerm_app_service_connection", `target_resource_id = "` + vault + `"` + "\n" + `authentication { type = "userAssignedIdentity", client_id = "11111111-1111-1111-1111-111111111111", subscription_id = "` + cp.subscription + `" }`, false},
		"principal": {"azurerm_app_service_connection", `target_resource_id = "` + cache + `"` + "\n" + `authentication { type = "servicePrincipalSecret", client_id = "11111111-1111-1111-1111-111111111111", principal_id = "33333333-3333-3333-3333-333333333333", secret = "sp-s3cret" }`, true},
		"function":  {"azurerm_function_app_connection", `target_resource_id = "` + database + `"` + "\n" + `authentication { type = "secret" }`, false},
	}
	configuration := func(clientType string) string {
		head := strings.ReplaceAll(strings.SplitN(snippets(t)["main.tf"].text, "\nresource", 2)[0], "localhost:7443", strings.TrimPrefix(cp.url, "https://"))
		var b strings.Builder
		b.WriteString(head + "\n")
		for name, c := range all {
			of := "app_service_id"
			if c.resource == "azurerm_function_app_connection" {
				of = "function_app_id"
			}
			// A block of one line takes one argument.
			body := strings.NewReplacer("{ type", "{\n type", ", name", "\n name", ", secret", "\n secret", ", client_id", "\n client_id",
				", principal_id", "\n principal_id", ", subscription_id", "\n subscription_id", " }", "\n}").Replace(c.body)
			fmt.Fprintf(&b, "resource %q %q {\n  name = %q\n  %s = %q\n  client_type = %q\n  %s\n}\n", c.resource, name, name, of, source, clientType, body)
		}
		return b.String()
	}
	tf.write(configuration("python"))
	tf.must("apply", "-auto-approve")
	made := file.text()
	for _, want := range []string{"AZURE_POSTGRESQL_", "AZURE_REDIS_", "AZURE_STORAGEBLOB_RESOURCEENDPOINT", "AZURE_KEYVAULT_"} {
		if !strings.Contains(made, want) {
			t.Errorf("the file has no %s:\n%s", want, made)
		}
	}
	tf.quiet("apply")

	tf.write(configuration("nodejs"))
	tf.must("apply", "-auto-approve")
	if changed := file.text(); changed == made {
		t.Error("the update changed nothing in the file")
	}
	tf.quiet("the update")

	// What az makes is imported as well: it sends a secretStore with nothing in it.
	imported := source + "/providers/Microsoft.ServiceLinker/linkers/az"
	status, answer := cp.call("PUT", imported, "2022-11-01-preview", map[string]any{"properties": map[string]any{
		"targetService": map[string]any{"type": "AzureResource", "id": vault}, "authInfo": map[string]any{"authType": "systemAssignedIdentity"},
		"clientType": "nodejs", "secretStore": map[string]any{},
	}})
	if status != 201 {
		t.Fatalf("as az makes it: %d %v", status, answer)
	}
	cp.settled(source, "az")
	all["az"] = kept{"azurerm_app_service_connection", `target_resource_id = "` + vault + `"` + "\n" + `authentication { type = "systemAssignedIdentity" }`, false}
	tf.write(configuration("nodejs"))
	tf.must("import", "azurerm_app_service_connection.az", imported)
	for name, c := range all {
		if name == "az" || c.forgets {
			continue
		}
		tf.must("state", "rm", c.resource+"."+name)
		tf.must("import", c.resource+"."+name, source+"/providers/Microsoft.ServiceLinker/linkers/"+name)
	}
	tf.quiet("the imports")

	tf.must("destroy", "-auto-approve")
	if left := file.text(); left != original {
		t.Errorf("after destroy the file is\n%s", left)
	}
	if _, list := cp.call("GET", source+"/providers/Microsoft.ServiceLinker/linkers", linkerVersion, nil); len(list["value"].([]any)) != 0 {
		text, _ := json.Marshal(list)
		t.Errorf("after destroy there are connections: %s", text)
	}
}

// TestTheSnippetForTerraformApplies applies what the page has, with the ids and the
// secret that its reader puts in.
func TestTheSnippetForTerraformApplies(t *testing.T) {
	s := newShop(t)
	tf := newTerraform(t, s.controlPlane, s.granted("terraform", serviceConnectorRole, s.group))
	main := strings.NewReplacer("localhost:7443", strings.TrimPrefix(s.url, "https://"), "/subscriptions/…", "/subscriptions/"+s.subscription).
		Replace(snippets(t)["main.tf"].text)
	tf.write(main)
	tf.must("apply", "-auto-approve")
	s.connected("Succeeded", "AZURE_POSTGRESQL_CONNECTIONSTRING")
	tf.quiet("apply")
	tf.must("destroy", "-auto-approve")
}
