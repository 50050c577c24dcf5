package crashtest

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"patchbay.dev/patchbay/internal/testenv/kubernetes"
)

var asked = flag.Bool("cluster", false, "kill with an application in Kubernetes, too")

// TestAKillLosesNothingInKubernetes: the application is a pod.
func TestAKillLosesNothingInKubernetes(t *testing.T) {
	if !*asked {
		t.Skip("a cluster takes its time: make test-kubernetes, or -cluster, starts one")
	}
	cluster := kubernetes.Start(t, kubernetes.Options{Node: true})
	url := cluster.Forward(t)
	killed(t, []ground{{start: startPostgres, on: "Kubernetes", fails: []string{"verify/before-do", "settings/after-do"}, source: func(t *testing.T, _ string) source {
		return newPod(t, cluster, url)
	}}})
}

// pod is an application in a pod, of a Deployment in a namespace of its own.
type pod struct {
	t         *testing.T
	cluster   *kubernetes.Cluster
	url       string
	namespace string
	original  string
}

var pods atomic.Int64

func newPod(t *testing.T, cluster *kubernetes.Cluster, url string) *pod {
	p := &pod{t: t, cluster: cluster, url: url, namespace: fmt.Sprintf("crash-%d", pods.Add(1))}
	p.kubectl("", "create", "namespace", p.namespace)
	t.Cleanup(func() { p.kubectl("", "delete", "namespace", p.namespace, "--wait=false") })
	p.kubectl(fmt.Sprintf(`{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
		"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
			"automountServiceAccountToken": false, "enableServiceLinks": false, "terminationGracePeriodSeconds": 1, "dnsPolicy": "Default",
			"containers": [{"name": "web", "image": %q, "imagePullPolicy": "Never", "env": [{"name": "THEIRS", "value": "1"}]}]}}}}`, kubernetes.Image),
		"-n", p.namespace, "apply", "--server-side", "--field-manager=argocd-controller", "-f", "-")
	p.original = p.content()
	return p
}

func (p *pod) kubectl(in string, args ...string) string {
	out, err := p.cluster.KubectlIn(in, args...)
	if err != nil {
		p.t.Error(err)
	}
	return out
}

func (p *pod) resource() (string, map[string]any) {
	return "Microsoft.App/containerApps/web", map[string]any{"properties": map[string]any{
		"driver": "kubernetes", "endpoint": p.url, "namespace": p.namespace, "name": "web", "tls": map[string]any{"ca": string(p.cluster.CA)},
		"wait": map[string]any{"steady": "0s"}, "admin": map[string]any{"token": p.cluster.Token},
	}}
}

// things are the Deployment and the Secrets, without what controllers and the time
// write.
func (p *pod) things() []map[string]any {
	var all struct{ Items []map[string]any }
	if err := json.Unmarshal([]byte(p.kubectl("", "-n", p.namespace, "get", "deployment,secret", "-o", "json", "--show-managed-fields")), &all); err != nil {
		p.t.Error(err)
	}
	for _, one := range all.Items {
		delete(one, "status")
		metadata := one["metadata"].(map[string]any)
		for _, name := range []string{"resourceVersion", "generation", "uid", "creationTimestamp"} {
			delete(metadata, name)
		}
		if annotations, ok := metadata["annotations"].(map[string]any); ok {
			delete(annotations, "deployment.kubernetes.io/revision")
			if len(annotations) == 0 {
				delete(metadata, "annotations")
			}
		}
		var managed []any
		for _, one := range metadata["managedFields"].([]any) {
			entry := one.(map[string]any)
			delete(entry, "time")
			if entry["manager"] != "kube-controller-manager" {
				managed = append(managed, entry)
			}
		}
		slices.SortFunc(managed, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		metadata["managedFields"] = managed
	}
	return all.Items
}

func (p *pod) content() string {
	text, err := json.MarshalIndent(p.things(), "", " ")
	if err != nil {
		p.t.Error(err)
	}
	return string(text)
}

// template is the Deployment's environment, and the Secrets by their names.
func (p *pod) template() (env []map[string]any, secrets map[string]map[string]any) {
	secrets = map[string]map[string]any{}
	for _, one := range p.things() {
		if one["kind"] == "Secret" {
			secrets[one["metadata"].(map[string]any)["name"].(string)], _ = one["data"].(map[string]any)
			continue
		}
		spec := one["spec"].(map[string]any)["template"].(map[string]any)["spec"].(map[string]any)
		for _, entry := range spec["containers"].([]any)[0].(map[string]any)["env"].([]any) {
			env = append(env, entry.(map[string]any))
		}
	}
	return env, secrets
}

func ref(entry map[string]any) (secret, key string) {
	from, _ := entry["valueFrom"].(map[string]any)
	of, _ := from["secretKeyRef"].(map[string]any)
	secret, _ = of["name"].(string)
	key, _ = of["key"].(string)
	return secret, key
}

func (p *pod) settings() (map[string]string, error) {
	env, secrets := p.template()
	all := map[string]string{}
	for _, entry := range env {
		secret, key := ref(entry)
		if secret == "" {
			continue
		}
		coded, ok := secrets[secret][key].(string)
		if !ok {
			return nil, fmt.Errorf("the template refers to %s of the Secret %s, which is not there", key, secret)
		}
		value, err := base64.StdEncoding.DecodeString(coded)
		if err != nil {
			return nil, err
		}
		all[entry["name"].(string)] = string(value)
	}
	return all, nil
}

func (p *pod) kept() error {
	env, _ := p.template()
	if !slices.ContainsFunc(env, func(entry map[string]any) bool { return entry["name"] == "THEIRS" && entry["value"] == "1" }) {
		return fmt.Errorf("somebody else's variable is not what it was: %v", env)
	}
	return nil
}

func (p *pod) untouched() error {
	if now := p.content(); now != p.original {
		return fmt.Errorf("the namespace has\n%s\nhad\n%s", now, p.original)
	}
	return nil
}

func (p *pod) beside() error {
	env, secrets := p.template()
	for _, entry := range env {
		secret, _ := ref(entry)
		delete(secrets, secret)
	}
	if len(secrets) > 0 {
		return fmt.Errorf("there are Secrets that nothing refers to: %v", secrets)
	}
	return nil
}

func (p *pod) holds(string) bool { return false }
