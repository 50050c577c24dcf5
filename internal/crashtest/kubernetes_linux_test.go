package crashtest

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"patchbay.dev/patchbay/internal/testenv/kubernetes"
	"patchbay.dev/patchbay/internal/testenv/netns"
)

var asked = flag.Bool("cluster", false, "kill with an application in Kubernetes, too")

// startCluster starts a cluster, in whose namespaces applications are, and whose node's
// network the program is in.
func startCluster(t *testing.T) (*kubernetes.Cluster, site) {
	if !*asked {
		t.Skip("a cluster takes its time: make test-kubernetes, or -cluster, starts one")
	}
	cluster := kubernetes.Start(t, kubernetes.Options{Node: true})
	return cluster, site{
		network: netns.Of(t, cluster.Pid()), gateway: kubernetes.NodeAddress,
		expose: func(t testing.TB, _, address string) int { return cluster.Expose(t, address) },
		source: func(t *testing.T, _ string) source { return newPod(t, cluster, nil, "[]") },
	}
}

// TestAKillLosesNothingInKubernetes: the application is a pod.
func TestAKillLosesNothingInKubernetes(t *testing.T) {
	killed(t, []ground{{start: startPostgres, on: "Kubernetes", fails: []string{"verify/before-do", "settings/after-do", "restart/after-do"}, site: func(t *testing.T) site {
		_, at := startCluster(t)
		return at
	}}})
}

// TestRotationHasNoGapInKubernetes: the client that signs in without a pause is the
// application in its pod, until the last moment of each pod.
func TestRotationHasNoGapInKubernetes(t *testing.T) {
	cluster, at := startCluster(t)
	for what, drain := range map[string]string{"a pod that ends": "0s", "a pod that goes on for a while when it is told to end": "5s"} {
		t.Run(what, func(t *testing.T) {
			heard := listen(t, cluster)
			at.source = func(t *testing.T, _ string) source {
				return newPod(t, cluster, map[string]string{"APP_SIGN_IN": heard.address, "APP_DRAIN": drain}, "[]")
			}
			tg := startPostgres(t)
			tg.(*postgresTarget).isReachedIn(at)
			w := ground{}.world(t, at, tg)
			s := w.boot("", "", "--rotation-overlap", "100ms")
			w.register(s)
			if status := s.put(w, "writer"); status != 201 {
				t.Fatalf("PUT = %d", status)
			}
			s.settle()
			w.rotate(s)
			w.whole(s, w.linker)
			s.eventually("the last pod signs in", func() bool { return heard.by(tg.marked()[0]) > 0 })
			w.cleanUp(s)

			heard.mu.Lock()
			defer heard.mu.Unlock()
			n := 0
			for _, times := range heard.users {
				n += times
			}
			t.Logf("%d sign-ins with %d logins during %d rotations, %d refused", n, len(heard.users), *rotations, len(heard.refused))
			if len(heard.refused) > 0 {
				t.Errorf("I6: %d of %d refused, as in: %s", len(heard.refused), n+len(heard.refused), heard.refused[0])
			}
			if len(heard.users) != *rotations+1 {
				t.Errorf("%d logins were used in %d rotations", len(heard.users), *rotations)
			}
		})
	}
}

// signIns are those that pods tell of.
type signIns struct {
	address string
	mu      sync.Mutex
	users   map[string]int
	refused []string
}

func listen(t *testing.T, cluster *kubernetes.Cluster) *signIns {
	l, err := cluster.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	heard := &signIns{users: map[string]int{}, address: net.JoinHostPort(kubernetes.NodeAddress, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go heard.read(conn)
		}
	}()
	return heard
}

func (h *signIns) read(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		h.mu.Lock()
		if who, ok := strings.CutPrefix(lines.Text(), "as "); ok {
			h.users[who]++
		} else {
			h.refused = append(h.refused, lines.Text())
		}
		h.mu.Unlock()
	}
}

func (h *signIns) by(user string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.users[user]
}

// pod is an application in a pod, of a Deployment in a namespace of its own.
type pod struct {
	t         *testing.T
	cluster   *kubernetes.Cluster
	namespace string
	original  string
}

var pods atomic.Int64

// newPod makes one with more variables than it has anyway, and with those host aliases.
func newPod(t *testing.T, cluster *kubernetes.Cluster, more map[string]string, aliases string) *pod {
	p := &pod{t: t, cluster: cluster, namespace: fmt.Sprintf("crash-%d", pods.Add(1))}
	env := []map[string]string{{"name": "THEIRS", "value": "1"}}
	for _, name := range slices.Sorted(maps.Keys(more)) {
		env = append(env, map[string]string{"name": name, "value": more[name]})
	}
	list, err := json.Marshal(env)
	if err != nil {
		t.Fatal(err)
	}
	p.kubectl("", "create", "namespace", p.namespace)
	t.Cleanup(func() { p.kubectl("", "delete", "namespace", p.namespace, "--wait=false") })
	p.kubectl(fmt.Sprintf(`{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {
		"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
			"automountServiceAccountToken": false, "enableServiceLinks": false, "terminationGracePeriodSeconds": 10, "dnsPolicy": "Default", "hostAliases": %s,
			"containers": [{"name": "web", "image": %q, "imagePullPolicy": "Never", "env": %s,
				"readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}}]}}}}`, aliases, kubernetes.Image, list),
		"-n", p.namespace, "apply", "--server-side", "--field-manager=argocd-controller", "-f", "-")
	p.kubectl("", "-n", p.namespace, "rollout", "status", "deployment/web", "--timeout=60s")
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
		"driver": "kubernetes", "endpoint": p.cluster.Server(), "namespace": p.namespace, "name": "web", "tls": map[string]any{"ca": string(p.cluster.CA)},
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

// has says what the application in its pods has otherwise than its template says: it
// is asked itself.
func (p *pod) has() error {
	want, err := p.settings()
	if err != nil {
		return err
	}
	var all struct {
		Items []struct {
			Metadata struct{ Name, DeletionTimestamp string }
			Status   struct{ PodIP string }
		}
	}
	if err := json.Unmarshal([]byte(p.kubectl("", "-n", p.namespace, "get", "pod", "-l", "app=web", "-o", "json")), &all); err != nil {
		return err
	}
	client, asked := p.cluster.Client(), 0
	for _, one := range all.Items {
		if one.Metadata.DeletionTimestamp != "" {
			continue
		}
		asked++
		answer, err := client.Get("http://" + one.Status.PodIP + ":8080/env")
		if err != nil {
			return err
		}
		var env map[string]string
		err = json.NewDecoder(answer.Body).Decode(&env)
		_ = answer.Body.Close()
		if err != nil {
			return err
		}
		if env["THEIRS"] != "1" {
			return fmt.Errorf("the pod %s is without somebody else's variable", one.Metadata.Name)
		}
		maps.DeleteFunc(env, func(name, _ string) bool { return !strings.HasPrefix(name, "AZURE_") })
		if !maps.Equal(env, want) {
			return fmt.Errorf("the pod %s has %v, and its template %v", one.Metadata.Name, slices.Sorted(maps.Keys(env)), slices.Sorted(maps.Keys(want)))
		}
	}
	if asked != 1 {
		return fmt.Errorf("%d pods run, want 1", asked)
	}
	return nil
}

func (p *pod) kept() error {
	env, _ := p.template()
	if !slices.ContainsFunc(env, func(entry map[string]any) bool { return entry["name"] == "THEIRS" && entry["value"] == "1" }) {
		return fmt.Errorf("somebody else's variable is not what it was: %v", env)
	}
	return p.has()
}

func (p *pod) untouched() error {
	if now := p.content(); now != p.original {
		return fmt.Errorf("the namespace has\n%s\nhad\n%s", now, p.original)
	}
	return p.has()
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
