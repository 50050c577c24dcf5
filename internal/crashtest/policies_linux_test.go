package crashtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay/internal/testenv/kubernetes"
	"patchbay.dev/patchbay/internal/testenv/netns"
)

// shop is the namespace of the database's pods, and outsider whom the connection beside lets
// in: somebody outside of the cluster.
const (
	shop     = "shop"
	outsider = "10.99.0.0/24"
)

// behindPolicies is a ground with an application and a PostgreSQL in pods of one cluster.
// The database is registered by an address of the node's, and found by its Service.
func behindPolicies() ground {
	return ground{
		both: func(t *testing.T) (site, target) {
			if !*asked {
				t.Skip("a cluster takes its time: make test-kubernetes, or -cluster, starts one")
			}
			cluster := kubernetes.Start(t, kubernetes.Options{Node: true, Policies: true})
			p := startPoliced(t, cluster)
			aliases := fmt.Sprintf(`[{"ip": %q, "hostnames": [%q]}]`, p.pods["db"], p.found)
			return site{network: p.node, source: func(t *testing.T, _ string) source {
				source := newPod(t, cluster, nil, aliases)
				p.last.namespace = source.namespace
				return source
			}}, p
		},
		on:     "policies",
		fails:  []string{"verify/before-do", "open/after-do", "principal/after-do"},
		rarely: 4,
	}
}

// policedTarget is a PostgreSQL that is reached through a pod, by whom policies let in there.
type policedTarget struct {
	*postgresTarget
	cluster *kubernetes.Cluster
	node    *netns.Network
	pods    map[string]string // addresses of the namespace's, by name
	found   string            // the name by which applications find it
	theirs  string            // somebody else's policy
	// last is where the source of the scenario is, which all of them share.
	last *struct{ namespace string }
	// Of the connection beside: its source's file, and its id.
	neighbour *envFile
	second    string
}

func startPoliced(t *testing.T, cluster *kubernetes.Cluster) *policedTarget {
	p := &policedTarget{
		postgresTarget: startPostgres(t).(*postgresTarget), cluster: cluster, node: netns.Of(t, cluster.Pid()), pods: map[string]string{},
		found: "db." + shop + ".svc", last: &struct{ namespace string }{},
	}
	behind := fmt.Sprintf("%s:%d", kubernetes.Gateway, cluster.Expose(t, p.server.Addr()))
	p.kubectl("", "create", "namespace", shop)
	for _, name := range []string{"db", "batch"} {
		p.kubectl(fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": %[1]q, "labels": {"app": %[1]q}}, "spec": {
			"automountServiceAccountToken": false, "enableServiceLinks": false, "terminationGracePeriodSeconds": 1, "dnsPolicy": "Default", "containers": [
				{"name": "main", "image": %[2]q, "imagePullPolicy": "Never", "env": [{"name": "APP_FORWARD", "value": %[3]q}],
				"ports": [{"name": "pg", "containerPort": 5432}], "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}}]}}`,
			name, kubernetes.Image, behind), "-n", shop, "apply", "-f", "-")
	}
	p.kubectl(`{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db"}, "spec": {"clusterIP": "None", "selector": {"app": "db"},
		"ports": [{"port": 5432, "targetPort": "pg"}]}}`, "-n", shop, "apply", "-f", "-")
	p.kubectl(`{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "theirs"}, "spec": {"podSelector": {"matchLabels": {"app": "db"}},
		"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "backup"}}}]}]}}`, "-n", shop, "apply", "-f", "-")
	p.kubectl("", "-n", shop, "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
	for name := range map[string]bool{"db": true, "batch": true} {
		p.pods[name] = p.kubectl("", "-n", shop, "get", "pod", name, "-o", "jsonpath={.status.podIP}")
	}
	p.theirs = p.kubectl("", "-n", shop, "get", "networkpolicy", "theirs", "-o", "json", "--show-managed-fields")
	in := net.JoinHostPort(p.pods["db"], "5432")
	p.addr = fmt.Sprintf("%s:%d", kubernetes.NodeAddress, cluster.Publish(t, in))
	p.at = knowing{p.node, map[string]string{net.JoinHostPort(p.found, "5432"): in}}
	return p
}

// knowing dials by names that its network does not have.
type knowing struct {
	network
	names map[string]string
}

func (k knowing) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if at, ok := k.names[address]; ok {
		address = at
	}
	return k.network.DialContext(ctx, network, address)
}

func (p *policedTarget) kubectl(in string, args ...string) string {
	p.t.Helper()
	out, err := p.cluster.KubectlIn(in, args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

func (p *policedTarget) in(t *testing.T) target {
	of := *p
	of.postgresTarget = p.postgresTarget.in(t).(*postgresTarget)
	return &of
}

func (p *policedTarget) behind(s *server, group string, registration map[string]any) {
	id := group + "/providers/Patchbay.Services/guards/policies"
	status, answer := s.call("PUT", id, own, map[string]any{"properties": map[string]any{
		"driver": "networkpolicy", "endpoint": p.cluster.Server(), "namespace": shop, "service": "db", "allow": []string{"monitoring/app=prometheus"},
		"tls": map[string]any{"ca": string(p.cluster.CA)}, "admin": map[string]any{"token": p.cluster.Token},
	}})
	if status != 201 {
		p.t.Fatalf("register the guard: %d %v", status, answer)
	}
	registration["properties"].(map[string]any)["guards"] = []string{id}
}

func (p *policedTarget) form(access string) map[string]any {
	form := ownLogin(access)
	if access == "reader" {
		form["publicNetworkSolution"] = map[string]any{"firewallRules": map[string]any{"ipRanges": []string{named.String()}}}
	}
	return form
}

func (p *policedTarget) shared(s *server, w *world) {
	p.neighbour = newEnvFile(p.t, p.t.TempDir())
	_, body := p.neighbour.resource()
	body["properties"].(map[string]any)["egress"] = []string{outsider}
	source := w.group + "/providers/Microsoft.Web/sites/beside"
	if status, answer := s.call("PUT", source, own, body); status != 201 {
		p.t.Fatalf("register the other source: %d %v", status, answer)
	}
	p.second = source + "/providers/Microsoft.ServiceLinker/linkers/second"
	of := *w
	of.linker = p.second
	status := s.put(&of, "writer")
	if op := s.settle(); status != 201 || op["state"] != "done" {
		p.t.Fatalf("the connection beside: %d %v", status, op)
	}
}

// settingsBeside are what the connection beside has; nil when there is none.
func (p *policedTarget) settingsBeside() map[string]string {
	p.t.Helper()
	if p.second == "" {
		return nil
	}
	env, err := p.neighbour.settings()
	if err != nil {
		p.t.Fatal(err)
	}
	return env
}

func configOf(t *testing.T, env map[string]string) *pgx.ConnConfig {
	t.Helper()
	config, err := pgx.ParseConfig(env["AZURE_POSTGRESQL_CONNECTIONSTRING"])
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func (p *policedTarget) marked() []string {
	p.t.Helper()
	beside := p.settingsBeside()
	return slices.DeleteFunc(p.postgresTarget.marked(), func(name string) bool { return beside != nil && name == configOf(p.t, beside).User })
}

func (p *policedTarget) secrets(env map[string]string) []string {
	return append(p.postgresTarget.secrets(env), p.postgresTarget.secrets(p.settingsBeside())...)
}

func (p *policedTarget) untouched() error {
	err := p.postgresTarget.untouched()
	if now := p.kubectl("", "-n", shop, "get", "networkpolicy", "theirs", "-o", "json", "--show-managed-fields"); now != p.theirs {
		err = errors.Join(err, fmt.Errorf("somebody else's policy is\n%s, was\n%s", now, p.theirs))
	}
	return err
}

// policy is one as the API has it.
type policy struct {
	Metadata struct {
		Name                string
		Labels, Annotations map[string]string
	}
	Spec any
}

func (p *policedTarget) opened(linker string, env map[string]string, access string) {
	p.t.Helper()
	tcp := []any{map[string]any{"port": "pg", "protocol": "TCP"}}
	spec := func(rule map[string]any) map[string]any {
		return map[string]any{
			"podSelector": map[string]any{"matchLabels": map[string]any{"app": "db"}}, "policyTypes": []any{"Ingress"}, "ingress": []any{rule},
		}
	}
	pods := func(namespace, app string) map[string]any {
		return map[string]any{
			"namespaceSelector": map[string]any{"matchLabels": map[string]any{"kubernetes.io/metadata.name": namespace}},
			"podSelector":       map[string]any{"matchLabels": map[string]any{"app": app}},
		}
	}
	block := func(prefix string) map[string]any { return map[string]any{"ipBlock": map[string]any{"cidr": prefix}} }
	// By the connection's id; "": what closes.
	want := map[string]any{"": spec(map[string]any{"from": []any{map[string]any{"podSelector": map[string]any{"matchLabels": map[string]any{"app": "db"}}}, pods("monitoring", "prometheus")}})}
	if env != nil {
		from := []any{pods(p.last.namespace, "web")}
		if access == "reader" {
			from = []any{block(named.String()), from[0]}
		}
		want[linker] = spec(map[string]any{"from": from, "ports": tcp})
		if config := configOf(p.t, env); config.Host != p.found || config.Port != 5432 {
			p.t.Errorf("the settings lead to %s:%d, and applications find it at %s:5432", config.Host, config.Port, p.found)
		}
	}
	if p.second != "" {
		want[p.second] = spec(map[string]any{"from": []any{block(outsider)}, "ports": tcp})
	}
	var list struct{ Items []policy }
	if err := json.Unmarshal([]byte(p.kubectl("", "get", "networkpolicy", "-A", "-l", "app.kubernetes.io/managed-by=patchbay", "-o", "json")), &list); err != nil {
		p.t.Fatal(err)
	}
	got := map[string]any{}
	for _, one := range list.Items {
		id := one.Metadata.Annotations["patchbay.dev/connection-id"]
		if _, twice := got[id]; twice || id == "" && one.Metadata.Labels["patchbay.dev/closed"] != "true" {
			p.t.Errorf("I1: nobody needs the policy %s", one.Metadata.Name)
		}
		got[id] = one.Spec
		if id == "" && one.Metadata.Annotations["patchbay.dev/tried"] == "" {
			p.t.Errorf("whether %s shuts Patchbay out was not tried", one.Metadata.Name)
		}
	}
	a, _ := json.MarshalIndent(got, "", " ")
	b, _ := json.MarshalIndent(want, "", " ")
	if string(a) != string(b) {
		p.t.Errorf("I8: the policies are\n%s\nand needed are\n%s", a, b)
	}
	p.reaches(shop, "app=batch", net.JoinHostPort(p.pods["db"], "5432"), false)
	if env != nil {
		p.reaches(p.last.namespace, "app=web", net.JoinHostPort(p.found, "5432"), true)
		p.reaches(p.last.namespace, "app=web", net.JoinHostPort(p.pods["db"], "8080"), false)
	}
}

// reaches waits until a pod with that label gets through, or does not: the node does what
// policies say a moment later.
func (p *policedTarget) reaches(namespace, label, address string, through bool) {
	p.t.Helper()
	client := p.cluster.Client()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	said := ""
	for ends := time.Now().Add(30 * time.Second); time.Now().Before(ends); <-tick.C {
		at := p.kubectl("", "-n", namespace, "get", "pod", "-l", label, "-o", `jsonpath={range .items[?(@.status.phase=="Running")]}{.status.podIP} {end}`)
		from, _, _ := strings.Cut(at, " ")
		answer, err := client.Get("http://" + from + ":8080/dial?to=" + url.QueryEscape(address))
		if err != nil {
			said = err.Error()
			continue
		}
		text, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if said = answer.Status + " " + string(text); (answer.StatusCode == http.StatusOK) == through {
			return
		}
	}
	p.t.Errorf("I8: that pods of %s with %s get through to %s is not %t: %s", namespace, label, address, through, said)
}

func (p *policedTarget) closed(s *server) {
	p.t.Helper()
	if p.second == "" {
		return
	}
	p.opened("", nil, "")
	status, answer := s.call("DELETE", p.second, own, nil)
	if op := s.settle(); status/100 != 2 || op["state"] != "done" {
		p.t.Errorf("delete the connection beside: %d %v, %v", status, answer, op)
	}
	p.second = ""
	p.opened("", nil, "")
}

// TestAKillLeavesOpenWhatLiveConnectionsNeedInKubernetes is the kill suite where policies of
// the cluster are the guard.
func TestAKillLeavesOpenWhatLiveConnectionsNeedInKubernetes(t *testing.T) {
	killed(t, []ground{behindPolicies()})
}
