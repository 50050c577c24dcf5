package kubernetes

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	kube "patchbay.dev/patchbay/internal/testenv/kubernetes"
)

// one is the cluster of all tests of this package; each has a namespace of its own.
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

// theCluster is the one of all tests; without its programs a test is skipped.
func theCluster(t testing.TB) *kube.Cluster {
	t.Helper()
	if !*asked {
		t.Skip("a cluster takes its time: make test-kubernetes, or -cluster, starts one")
	}
	one.once.Do(func() { one.cluster, one.err = kube.New(kube.Options{Node: true}) })
	if one.err != nil {
		kube.Missing(t, one.err)
	}
	return one.cluster
}

// eyes are a client of the API server that shares nothing with the driver's.
type eyes struct {
	t         testing.TB
	client    *http.Client
	cluster   *kube.Cluster
	namespace string
}

// object is one as the API has it.
type object = map[string]any

var namespaces atomic.Int64

func newEyes(t testing.TB) *eyes {
	t.Helper()
	c := theCluster(t)
	e := &eyes{t: t, client: c.Client(), cluster: c, namespace: fmt.Sprintf("test-%d", namespaces.Add(1))}
	e.client.Transport.(*http.Transport).DisableKeepAlives = false
	t.Cleanup(e.client.CloseIdleConnections)
	e.must("POST", "/api/v1/namespaces", "", object{"metadata": object{"name": e.namespace}})
	t.Cleanup(func() { // its pods go before the next test's come
		_, _, _ = e.do("DELETE", "/api/v1/namespaces/"+e.namespace, "", object{"gracePeriodSeconds": 0})
	})
	return e
}

// do sends a request; the answer's body is an object.
func (e *eyes) do(method, path, contentType string, body any) (int, object, error) {
	var in io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		in = bytes.NewReader(text)
	}
	r, err := http.NewRequest(method, e.cluster.Server()+path, in)
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Authorization", "Bearer "+e.cluster.Token)
	if contentType == "" {
		contentType = "application/json"
	}
	r.Header.Set("Content-Type", contentType)
	answer, err := e.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return 0, nil, err
	}
	var o object
	if err := json.Unmarshal(text, &o); err != nil {
		return answer.StatusCode, nil, fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	if answer.StatusCode >= 300 {
		return answer.StatusCode, o, fmt.Errorf("%s %s: %v", method, path, o["message"])
	}
	return answer.StatusCode, o, nil
}

func (e *eyes) must(method, path, contentType string, body any) object {
	e.t.Helper()
	_, o, err := e.do(method, path, contentType, body)
	if err != nil {
		e.t.Fatal(err)
	}
	return o
}

const (
	strategic = "application/strategic-merge-patch+json"
	merging   = "application/merge-patch+json"
	applying  = "application/apply-patch+yaml"
	pointing  = "application/json-patch+json"
)

func (e *eyes) core(resource string) string {
	return "/api/v1/namespaces/" + e.namespace + "/" + resource
}
func (e *eyes) apps(resource string) string {
	return "/apis/apps/v1/namespaces/" + e.namespace + "/" + resource
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

// podSpec is what the application's pods are.
func podSpec(container object) object {
	c := object{
		"name": "web", "image": kube.Image, "imagePullPolicy": "Never",
		"readinessProbe": object{"httpGet": object{"path": "/healthz", "port": 8080}, "periodSeconds": 1},
	}
	maps.Copy(c, container)
	return object{"automountServiceAccountToken": false, "enableServiceLinks": false, "terminationGracePeriodSeconds": 1, "dnsPolicy": "Default", "containers": []any{c}}
}

// deployment is one of the application, called web.
func deployment(replicas int, container object) object {
	return object{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": object{"name": "web"},
		"spec": object{
			"replicas": replicas, "selector": object{"matchLabels": object{"app": "web"}},
			"template": object{"metadata": object{"labels": object{"app": "web"}}, "spec": podSpec(container)},
		},
	}
}

// secretData is a Secret's or ConfigMap's, as texts; nil when it is not there.
func (e *eyes) data(resource, name string) (map[string]string, error) {
	status, o, err := e.do("GET", e.core(resource)+"/"+name, "", nil)
	if status == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	data, _ := at(o, "data").(object)
	for key, value := range data {
		v, _ := value.(string)
		if resource == "secrets" {
			b, err := base64.StdEncoding.DecodeString(v)
			if err != nil {
				return nil, err
			}
			v = string(b)
		}
		all[key] = v
	}
	return all, nil
}

var errTorn = fmt.Errorf("what the template refers to is not there")

// environment is that of a container of the template, as the kubelet would make it.
func (e *eyes) environment(o object) (map[string]string, error) {
	container := at(o, "spec", "template", "spec", "containers", 0)
	all := map[string]string{}
	need := func(resource, name string, optional bool) (map[string]string, error) {
		data, err := e.data(resource, name)
		if err == nil && data == nil && !optional {
			err = errTorn
		}
		return data, err
	}
	for _, from := range list(container, "envFrom") {
		resource, ref := "configmaps", at(from, "configMapRef")
		if ref == nil {
			resource, ref = "secrets", at(from, "secretRef")
		}
		data, err := need(resource, text(ref, "name"), at(ref, "optional") == true)
		if err != nil {
			return nil, err
		}
		for key, value := range data {
			all[text(from, "prefix")+key] = value
		}
	}
	for _, one := range list(container, "env") {
		name := text(one, "name")
		ref := at(one, "valueFrom", "secretKeyRef")
		if ref == nil {
			all[name] = text(one, "value")
			continue
		}
		data, err := need("secrets", text(ref, "name"), false)
		if err != nil {
			return nil, err
		}
		all[name] = data[text(ref, "key")]
	}
	delete(all, bindingRootName)
	return all, nil
}

func (e *eyes) read() (map[string]string, error) {
	for {
		_, o, err := e.do("GET", e.apps("deployments")+"/web", "", nil)
		if err != nil {
			return nil, err
		}
		all, err := e.environment(o)
		if !errors.Is(err, errTorn) {
			return all, err
		}
		_, now, getErr := e.do("GET", e.apps("deployments")+"/web", "", nil)
		if getErr != nil || fmt.Sprint(at(now, "metadata", "generation")) == fmt.Sprint(at(o, "metadata", "generation")) {
			return nil, err
		}
	}
}

// kept is an object without what its controllers and the time write.
func still(o object) object {
	metadata, _ := at(o, "metadata").(object)
	annotations, _ := metadata["annotations"].(object)
	annotations = maps.Clone(annotations)
	delete(annotations, "deployment.kubernetes.io/revision")
	delete(annotations, "deprecated.daemonset.template.generation")
	var fields []string
	for _, entry := range list(metadata, "managedFields") {
		if text(entry, "subresource") != "" || text(entry, "manager") == "kube-controller-manager" {
			continue
		}
		f, _ := json.Marshal(at(entry, "fieldsV1"))
		fields = append(fields, fmt.Sprintf("%s %s %s", text(entry, "manager"), text(entry, "operation"), f))
	}
	slices.Sort(fields)
	if len(annotations) == 0 {
		annotations = nil
	}
	all := object{"name": metadata["name"], "labels": metadata["labels"], "annotations": annotations, "managed": fields}
	for _, member := range []string{"spec", "data", "type", "immutable"} {
		all[member] = o[member]
	}
	return all
}

// content is everything that could have been touched.
func (e *eyes) content() (string, error) {
	var all []object
	for _, path := range []string{e.apps("deployments"), e.core("secrets"), e.core("configmaps")} {
		_, found, err := e.do("GET", path, "", nil)
		if err != nil {
			return "", err
		}
		for _, one := range list(found, "items") {
			if name := text(one, "metadata", "name"); name != "kube-root-ca.crt" {
				all = append(all, still(one.(object)))
			}
		}
	}
	b, err := json.MarshalIndent(all, "", " ")
	return string(b), err
}

// set is somebody else: an entry that is there is given a value, as kubectl set env
// does it; anything else goes to their ConfigMap.
func (e *eyes) set(name, value string) error {
	_, o, err := e.do("GET", e.apps("deployments")+"/web", "", nil)
	if err != nil {
		return err
	}
	for _, one := range list(o, "spec", "template", "spec", "containers", 0, "env") {
		if text(one, "name") == name {
			entry := object{"name": name, "value": value, "valueFrom": nil}
			_, _, err := e.do("PATCH", e.apps("deployments")+"/web?fieldManager=kubectl-set", strategic,
				object{"spec": object{"template": object{"spec": object{"containers": []any{object{"name": "web", "env": []any{entry}}}}}}})
			return err
		}
	}
	_, _, err = e.do("PATCH", e.core("configmaps")+"/theirs?fieldManager=kubectl-edit", merging, object{"data": object{name: value}})
	return err
}

// ours are the names of Secrets that bear our label and that no template names.
func (e *eyes) ours() ([]string, error) {
	_, found, err := e.do("GET", e.core("secrets")+"?labelSelector="+connectionLabel, "", nil)
	if err != nil {
		return nil, err
	}
	_, workloads, err := e.do("GET", e.apps("deployments"), "", nil)
	if err != nil {
		return nil, err
	}
	named, _ := json.Marshal(workloads)
	var left []string
	for _, one := range list(found, "items") {
		if name := text(one, "metadata", "name"); !strings.Contains(string(named), `"`+name+`"`) {
			left = append(left, name)
		}
	}
	return left, nil
}

func (e *eyes) revision() (int, error) {
	_, o, err := e.do("GET", e.apps("deployments")+"/web", "", nil)
	if err != nil {
		return 0, err
	}
	var n int
	_, err = fmt.Sscan(text(o, "metadata", "annotations", "deployment.kubernetes.io/revision"), &n)
	return n, err
}

func (e *eyes) id() patchbay.ID {
	return patchbay.ID("/subscriptions/s/resourceGroups/g/providers/Microsoft.App/containerApps/web-" + e.namespace)
}

// config is what a source of that namespace is registered with.
func (e *eyes) config(properties object) driver.Config {
	all := object{"namespace": e.namespace, "name": "web", "tls": object{"ca": string(e.cluster.CA)}, "wait": object{"limit": "60s", "steady": "1s"}}
	maps.Copy(all, properties)
	text, err := json.Marshal(all)
	if err != nil {
		e.t.Fatal(err)
	}
	return driver.Config{
		ID: e.id(), Endpoint: e.cluster.Server(), Properties: text, Dialer: e.cluster,
		Admin: driver.Secrets{"token": patchbay.NewSecret(e.cluster.Token)},
	}
}

// open opens a source, which ends with the test.
func (e *eyes) open(properties object) *source {
	e.t.Helper()
	return e.openAs(e.config(properties))
}

func (e *eyes) openAs(c driver.Config) *source {
	e.t.Helper()
	s, err := Driver().Open(context.Background(), c)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = s.Close() })
	return s.(*source)
}

// bounded is a context that no call of a test outlives.
func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func marshal(o any) json.RawMessage {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return b
}

// settingsOf is a change that a connection makes with these settings.
func settingsOf(id patchbay.ID, uid string, generation int64, name string, settings ...string) driver.Change {
	c := driver.Change{Mark: driver.Mark{UID: uid, Generation: generation, Connection: id.Linker(name)}, Name: name}
	for i := 0; i < len(settings); i += 2 {
		c.Set = append(c.Set, patchbay.Setting{Name: settings[i], Value: patchbay.NewSecret(settings[i+1]), Secret: true})
	}
	return c
}

var plainDialer = &net.Dialer{}
