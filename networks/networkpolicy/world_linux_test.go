package networkpolicy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/kubeconnect"
	kube "patchbay.dev/patchbay/internal/testenv/kubernetes"
)

// one is the cluster of all tests of this package, with a node that enforces policies;
// each has namespaces of its own.
var one struct {
	once    sync.Once
	cluster *kube.Cluster
	err     error
}

var asked = flag.Bool("cluster", false, "run the tests that want a Kubernetes cluster, as make test-kubernetes does")

func TestMain(m *testing.M) {
	code := m.Run()
	if one.cluster != nil {
		if err := one.cluster.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the cluster:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func theCluster(t testing.TB) *kube.Cluster {
	t.Helper()
	if !*asked {
		t.Skip("a cluster takes its time: make test-kubernetes, or -cluster, starts one")
	}
	one.once.Do(func() {
		one.cluster, one.err = kube.New(kube.Options{Node: true, Policies: true})
	})
	if one.err != nil {
		kube.Missing(t, one.err)
	}
	return one.cluster
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// object is one as the API has it.
type object = map[string]any

// world is two namespaces of the cluster: shop, with a database and what speaks to it, and
// another one.
type world struct {
	t           testing.TB
	cluster     *kube.Cluster
	client      *http.Client
	shop, other string
	addresses   map[string]string // of pods, by namespace/name
	addresses6  map[string]string
}

var worlds atomic.Int64

// newWorld has these pods in it, as namespace/name: each listens on 8080 and 8081, and has
// its name as its label app. db and events have a Service.
func newWorld(t testing.TB, names ...string) *world {
	t.Helper()
	return newWorldIn(t, theCluster(t), names...)
}

func newWorldIn(t testing.TB, c *kube.Cluster, names ...string) *world {
	t.Helper()
	i := worlds.Add(1)
	w := &world{t: t, cluster: c, client: c.Client(), shop: fmt.Sprintf("shop-%d", i), other: fmt.Sprintf("other-%d", i), addresses: map[string]string{}, addresses6: map[string]string{}}
	w.client.Transport.(*http.Transport).DisableKeepAlives = false
	t.Cleanup(w.client.CloseIdleConnections)
	for _, namespace := range []string{w.shop, w.other} {
		w.must("POST", "/api/v1/namespaces", object{"metadata": object{"name": namespace}})
		t.Cleanup(func() {
			_, _ = w.do("DELETE", "/api/v1/namespaces/"+namespace, object{"gracePeriodSeconds": 0})
		})
	}
	for name, port := range map[string]int{"db": 5432, "events": 5433} {
		w.must("POST", w.core(w.shop, "services"), object{"metadata": object{"name": name}, "spec": object{
			"selector": object{"app": name}, "ports": []any{object{"port": port, "targetPort": "main"}},
		}})
	}
	for _, name := range names {
		w.start(name)
	}
	for _, name := range names {
		w.up(name)
	}
	return w
}

// namespaced is where a pod is, of a name such as other/web.
func (w *world) namespaced(name string) (namespace, pod string) {
	if pod, ok := strings.CutPrefix(name, "other/"); ok {
		return w.other, pod
	}
	return w.shop, name
}

func (w *world) start(name string) {
	w.t.Helper()
	namespace, pod := w.namespaced(name)
	var containers []any
	for container, port := range map[string]int{"main": 8080, "beside": 8081} {
		containers = append(containers, object{
			"name": container, "image": kube.Image, "imagePullPolicy": "Never",
			"env":            []any{object{"name": "PORT", "value": fmt.Sprint(port)}},
			"ports":          []any{object{"name": container, "containerPort": port}},
			"readinessProbe": object{"httpGet": object{"path": "/healthz", "port": port}, "periodSeconds": 1},
		})
	}
	w.must("POST", w.core(namespace, "pods"), object{"metadata": object{"name": pod, "labels": object{"app": pod}}, "spec": object{
		"automountServiceAccountToken": false, "enableServiceLinks": false, "terminationGracePeriodSeconds": 1, "dnsPolicy": "Default", "containers": containers,
	}})
}

func (w *world) up(name string) {
	w.t.Helper()
	namespace, pod := w.namespaced(name)
	w.eventually(name+" is up", func() bool {
		o := w.must("GET", w.core(namespace, "pods")+"/"+pod, nil)
		for _, c := range list(o, "status", "conditions") {
			if text(c, "type") == "Ready" && text(c, "status") == "True" {
				w.addresses[name], w.addresses6[name] = text(o, "status", "podIP"), text(o, "status", "podIPs", 1, "ip")
				return true
			}
		}
		return false
	})
}

// eventually asks until it is so.
func (w *world) eventually(what string, so func() bool) {
	w.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ends := time.Now().Add(time.Minute); !so(); <-tick.C {
		if time.Now().After(ends) {
			w.t.Fatalf("after a minute still not: %s", what)
		}
	}
}

func (w *world) core(namespace, resource string) string {
	return "/api/v1/namespaces/" + namespace + "/" + resource
}

func (w *world) policies(namespace string) string {
	return "/apis/networking.k8s.io/v1/namespaces/" + namespace + "/networkpolicies"
}

// do sends a request that shares nothing with the driver's client.
func (w *world) do(method, path string, body any) (object, error) {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(text)
	}
	r, err := http.NewRequest(method, w.cluster.Server()+path, in)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+w.cluster.Token)
	r.Header.Set("Content-Type", map[bool]string{true: "application/json-patch+json", false: "application/json"}[method == "PATCH"])
	answer, err := w.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	var o object
	if err := json.NewDecoder(answer.Body).Decode(&o); err != nil {
		return nil, err
	}
	if answer.StatusCode >= 300 {
		return o, fmt.Errorf("%s %s: %v", method, path, o["message"])
	}
	return o, nil
}

func (w *world) must(method, path string, body any) object {
	w.t.Helper()
	o, err := w.do(method, path, body)
	must(w.t, err)
	return o
}

// at follows members and numbers into an object; nil when there is nothing.
func at(o any, path ...any) any {
	for _, step := range path {
		switch s := step.(type) {
		case string:
			m, _ := o.(object)
			o = m[s]
		case int:
			l, _ := o.([]any)
			if s >= len(l) {
				return nil
			}
			o = l[s]
		}
	}
	return o
}

func text(o any, path ...any) string {
	s, _ := at(o, path...).(string)
	return s
}

func list(o any, path ...any) []any {
	l, _ := at(o, path...).([]any)
	return l
}

// dials tries it from a pod, and reports whether it got through.
func (w *world) dials(ctx context.Context, from, to string) (bool, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.addresses[from]+":8080/dial?to="+url.QueryEscape(to), nil)
	if err != nil {
		return false, err
	}
	answer, err := w.client.Do(r)
	if err != nil {
		return false, err
	}
	defer func() { _ = answer.Body.Close() }()
	said, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusBadGateway {
		err = fmt.Errorf("%s: %s", answer.Status, said)
	}
	return answer.StatusCode == http.StatusOK, err
}

// gets waits until a pod gets through to another one's port, or does not. The node does what
// a policy says a moment later.
func (w *world) gets(from, to string, port int, through bool) {
	w.t.Helper()
	w.getsTo(from, net.JoinHostPort(w.addresses[to], fmt.Sprint(port)), to, through)
}

func (w *world) getsTo(from, address, what string, through bool) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%s gets through to %s at %s is %t", from, what, address, through), func() bool {
		got, err := w.dials(w.t.Context(), from, address)
		return err == nil && got == through
	})
}

// speaking dials from a pod.
type speaking struct {
	w    *world
	from string
}

func (s speaking) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	through, err := s.w.dials(ctx, s.from, address)
	if err == nil && !through {
		err = errors.New("refused")
	}
	if err != nil {
		return nil, err
	}
	here, there := net.Pipe()
	_ = there.Close()
	return here, nil
}

func (w *world) id() patchbay.ID {
	return patchbay.ID("/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/guards/" + w.shop)
}

func (w *world) config(properties object) driver.Config {
	all := object{"tls": object{"ca": string(w.cluster.CA)}}
	maps.Copy(all, properties)
	text, err := json.Marshal(all)
	must(w.t, err)
	return driver.Config{
		ID: w.id(), Endpoint: w.cluster.Server(), Properties: text, Dialer: w.cluster,
		Admin: driver.Secrets{"token": patchbay.NewSecret(w.cluster.Token)},
	}
}

// guarded is the database, which Patchbay speaks to from that pod; "" where it does not reach it.
func (w *world) guarded(from string) driver.Config {
	c := driver.Config{ID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", Endpoint: "db", Dialer: speaking{w, from}}
	if from != "" {
		c.Endpoint = w.addresses["db"] + ":8080"
	}
	return c
}

func (w *world) open(properties object, from string) *network {
	w.t.Helper()
	n, err := Driver().Open(context.Background(), w.config(properties), w.guarded(from))
	must(w.t, err)
	w.t.Cleanup(func() { _ = n.Close() })
	return n.(*network)
}

// server is a Service of shop's, as applications name it.
func (w *world) server(name string, port int) string {
	return fmt.Sprintf("%s.%s.svc.cluster.local:%d", name, w.shop, port)
}

func (w *world) peer(name string) *driver.Peer {
	namespace, pod := w.namespaced(name)
	return &driver.Peer{Platform: kubeconnect.Platform, Place: "a cluster", Scope: namespace, Labels: map[string]string{"app": pod}}
}

func (w *world) rule(uid, from string, servers ...string) driver.Rule {
	if len(servers) == 0 {
		servers = []string{w.server("db", 5432)}
	}
	return driver.Rule{
		Mark: driver.Mark{UID: uid, Generation: 1, Connection: w.id().Linker("orders")}, Name: "pb_" + uid + "_g1",
		Peer: w.peer(from), Servers: servers,
	}
}

// content is all policies, without what the API server writes.
func (w *world) content() (string, error) {
	var all []object
	for _, namespace := range []string{w.shop, w.other} {
		found, err := w.do("GET", w.policies(namespace), nil)
		if err != nil {
			return "", err
		}
		for _, one := range list(found, "items") {
			// That a policy was tried is for the next rule to know, and lets nobody in.
			notes, _ := at(one, "metadata", "annotations").(object)
			if delete(notes, triedAnnotation); len(notes) == 0 {
				notes = nil
			}
			all = append(all, object{
				"name": text(one, "metadata", "name"), "labels": at(one, "metadata", "labels"),
				"annotations": notes, "spec": at(one, "spec"),
			})
		}
	}
	b, err := json.MarshalIndent(all, "", " ")
	return string(b), err
}

// should works out of the policies whether a pod may connect: what the node is waited
// for to do. Of policies it knows the forms that there are here.
func (w *world) should(from, to string, port int) (bool, error) {
	source, label := w.namespaced(from)
	namespace, pod := w.namespaced(to)
	found, err := w.do("GET", w.policies(namespace), nil)
	if err != nil {
		return false, err
	}
	matches := func(selector any, with map[string]string) bool {
		labels, _ := at(selector, "matchLabels").(object)
		for name, value := range labels {
			if with[name] != value {
				return false
			}
		}
		return true
	}
	isolated, let := false, false
	for _, policy := range list(found, "items") {
		if !matches(at(policy, "spec", "podSelector"), map[string]string{"app": pod}) {
			continue
		}
		isolated = true
		for _, rule := range list(policy, "spec", "ingress") {
			ports := list(rule, "ports")
			onPort := len(ports) == 0 || slices.ContainsFunc(ports, func(p any) bool {
				return at(p, "port") == float64(port) || text(p, "port") == "main" && port == 8080
			})
			let = let || onPort && (len(list(rule, "from")) == 0 || slices.ContainsFunc(list(rule, "from"), func(peer any) bool {
				if block := text(peer, "ipBlock", "cidr"); block != "" {
					return netip.MustParsePrefix(block).Contains(netip.MustParseAddr(w.addresses[from]))
				}
				in := at(peer, "namespaceSelector")
				return (in == nil && source == namespace || in != nil && matches(in, map[string]string{namespaceName: source})) &&
					matches(at(peer, "podSelector"), map[string]string{"app": label})
			}))
		}
	}
	return let || !isolated, nil
}

// raw is JSON that is sent as it is.
func raw(text string) json.RawMessage { return json.RawMessage(text) }
