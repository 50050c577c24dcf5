//go:build az

package clienttest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/internal/testenv/kubernetes"
)

// TestAzConnectsACluster is az aks connection with a real API server behind it: the
// Secrets are where az says that they are, in the namespace that it names.
func TestAzConnectsACluster(t *testing.T) {
	if _, err := kubernetes.Programs(); err != nil {
		t.Skipf("NOT CHECKED: az aks connection with a cluster: %v", err)
	}
	cp := start(t, 0)
	deploy := cp.azOfToday(t).signIn(cp.granted("deploy", serviceConnectorRole, cp.group))
	cluster := kubernetes.Start(t, kubernetes.Options{})
	for _, namespace := range []string{"shop", "mail"} {
		if _, err := cluster.Kubectl("create", "namespace", namespace); err != nil {
			t.Fatal(err)
		}
	}
	pg := testenv.Postgres(t, testenv.PostgresOptions{})
	database := cp.postgres(pg)
	if err := pg.Exec(t.Context(), "postgres", `CREATE ROLE app LOGIN PASSWORD 'the-app''s-own'`); err != nil {
		t.Fatal(err)
	}
	s := azSource{group: "aks", path: "Microsoft.ContainerService/managedClusters/fleet", names: []string{"--name", "fleet"}}
	id := cp.group + "/providers/" + s.path
	create := func(connection string, more ...string) []string {
		return slices.Concat(s.of(connection, "create postgres-flexible"), []string{"--target-id", database, "--client-type", "go"}, given("app", "the-app's-own"), more)
	}
	secret := func(namespace, name string) map[string]string {
		t.Helper()
		out, err := cluster.Kubectl("get", "secret", "--namespace", namespace, name, "--ignore-not-found", "--output", "json")
		if err != nil {
			t.Fatal(err)
		}
		var found struct{ Data map[string]string }
		if out != "" {
			if err := json.Unmarshal([]byte(out), &found); err != nil {
				t.Fatal(err)
			}
		}
		for key, value := range found.Data {
			b, _ := base64.StdEncoding.DecodeString(value)
			found.Data[key] = string(b)
		}
		return found.Data
	}

	_, err := deploy.run(create("my_orders", "--kube-namespace", "shop")...)
	if err == nil || !strings.Contains(err.Error(), "SourceNotFound") || !strings.Contains(err.Error(), "patchbay resource add ") || !strings.Contains(err.Error(), id) {
		t.Fatalf("create on what nobody registered: %v", err)
	}
	ca, token := filepath.Join(t.TempDir(), "ca.crt"), filepath.Join(t.TempDir(), "token")
	for file, text := range map[string]string{ca: string(cluster.CA), token: cluster.Token} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cp.mustPatchbay("resource", "add", "kubernetes-secret", id, "--cluster", cluster.Forward(t), "--ca-file", ca, "--bearer-token-file", token)

	for _, c := range []struct {
		connection, namespace, secret string
		more                          []string
	}{
		{"my_orders", "shop", "sc-myorders-secret", []string{"--kube-namespace", "shop"}},
		{"Mail.2", "mail", "sc-mail2-secret", []string{"--kube-namespace", "mail"}},
		{"plain", "default", "sc-plain-secret", nil},
	} {
		if testing.Short() && c.connection != "my_orders" {
			continue
		}
		made := deploy.must(create(c.connection, c.more...)...)
		if at(made, "scope") != c.namespace || at(made, "provisioningState") != "Succeeded" {
			t.Errorf("%s: create = %v", c.connection, made)
		}
		// What az derives by itself, and prints for people to refer to.
		if name := strings.ToLower(fmt.Sprint(at(made, "kubernetesResourceName"))); !strings.Contains(name, c.secret) {
			t.Errorf("%s: az says that it is in %s, want %s", c.connection, name, c.secret)
		}
		held := secret(c.namespace, c.secret)
		if len(held) == 0 {
			t.Fatalf("%s: there is no Secret %s in %s", c.connection, c.secret, c.namespace)
		}
		list, _ := at(deploy.must(s.of(c.connection, "list-configuration")...), "configurations").([]any)
		for _, one := range list {
			if value, ok := held[fmt.Sprint(at(one, "name"))]; !ok || value == "" {
				t.Errorf("%s: az lists %v, and the Secret has %q", c.connection, at(one, "name"), slices.Sorted(maps.Keys(held)))
			}
		}
		if len(list) != len(held) {
			t.Errorf("%s: az lists %v, and the Secret has %d keys", c.connection, list, len(held))
		}
		report, _ := deploy.must(s.of(c.connection, "validate")...).([]any)
		if len(report) == 0 || slices.ContainsFunc(report, func(d any) bool { return at(d, "result") == "failure" }) {
			t.Errorf("%s: validate = %v", c.connection, report)
		}
		changed := deploy.must(s.of(c.connection, "update postgres-flexible", append([]string{"--client-type", "nodejs"}, given("app", "the-app's-own")...)...)...)
		if at(changed, "scope") != c.namespace {
			t.Errorf("%s: after an update the scope is %v", c.connection, at(changed, "scope"))
		}
		if now := secret(c.namespace, c.secret); len(now) == 0 || fmt.Sprint(now) == fmt.Sprint(held) {
			t.Errorf("%s: after an update the Secret has the keys %v", c.connection, slices.Sorted(maps.Keys(now)))
		}
		if all, _ := deploy.must("aks", "connection", "list", "--source-id", id).([]any); len(all) != 1 {
			t.Errorf("list = %v", all)
		}
		deploy.must(s.of(c.connection, "delete", "--yes")...)
		if left := secret(c.namespace, c.secret); left != nil {
			t.Errorf("%s: after the delete there is %v", c.connection, left)
		}
	}
	deploy.refused(1, []string{"namespace"}, create("other", "--kube-namespace", "nowhere")...)
}
