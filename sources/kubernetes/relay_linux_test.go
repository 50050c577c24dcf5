package kubernetes

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/kubeconnect"
	"patchbay.dev/patchbay/internal/relay"
	kube "patchbay.dev/patchbay/internal/testenv/kubernetes"
)

// ourImage is Patchbay's on the node: the real program.
const ourImage = "local.test/patchbay:1"

var ourImageBuilt struct {
	once sync.Once
	err  error
}

// relaying are the properties of a source that is spoken from by a pod.
func relaying(t testing.TB, more object) object {
	t.Helper()
	c := theCluster(t)
	ourImageBuilt.once.Do(func() { ourImageBuilt.err = c.Build(ourImage, "cmd/patchbay") })
	if ourImageBuilt.err != nil {
		t.Fatal(ourImageBuilt.err)
	}
	all := object{"relayImage": ourImage}
	for name, value := range more {
		all[name] = value
	}
	return all
}

// restricted makes a pod's specification one that the strictest Pod Security Standard
// lets run.
func restricted(spec object) object {
	spec["securityContext"] = object{"runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": object{"type": "RuntimeDefault"}}
	spec["containers"].([]any)[0].(object)["securityContext"] = object{"allowPrivilegeEscalation": false, "capabilities": object{"drop": []any{"ALL"}}}
	return spec
}

// relays are the pods of ours in the namespace.
func (e *eyes) relays() []any {
	e.t.Helper()
	return list(e.must("GET", e.core("pods")+"?labelSelector="+relayLabel, "", nil), "items")
}

// eventually asks until it is so.
func (e *eyes) eventually(what string, so func() bool) {
	e.t.Helper()
	ends := time.Now().Add(time.Minute)
	for !so() {
		if time.Now().After(ends) {
			e.t.Fatalf("after a minute still not: %s", what)
		}
	}
}

func (e *eyes) noRelays(when string) {
	e.t.Helper()
	e.eventually("no pod of ours is left "+when, func() bool { return len(e.relays()) == 0 })
}

// heard listens on the node and tells who spoke.
func (e *eyes) heard() (port string, from <-chan string) {
	e.t.Helper()
	l, err := e.cluster.Listen(0)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { _ = l.Close() })
	all := make(chan string, 16)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
			all <- host
			_ = conn.Close()
		}
	}()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), all
}

// TestSpokenFromAPod, of the real program, in a namespace that lets only the strictest
// pods run: as the workload speaks, and without anybody's taking the pod for one of
// theirs.
func TestSpokenFromAPod(t *testing.T) {
	properties := relaying(t, nil)
	e := newEyes(t)
	e.must("PATCH", "/api/v1/namespaces/"+e.namespace, merging, object{"metadata": object{"labels": object{"pod-security.kubernetes.io/enforce": "restricted"}}})
	d := deployment(2, nil)
	template := d["spec"].(object)["template"].(object)
	spec := restricted(template["spec"].(object))
	spec["hostAliases"] = []any{object{"ip": kube.Gateway, "hostnames": []any{"database"}}}
	e.must("POST", e.apps("deployments"), "", d)
	for _, name := range []string{"web", "headless"} {
		service := object{"metadata": object{"name": name}, "spec": object{"selector": object{"app": "web"}, "ports": []any{object{"port": 8080}}}}
		if name == "headless" {
			service["spec"].(object)["clusterIP"] = "None"
		}
		e.must("POST", e.core("services"), "", service)
	}
	budgets := "/apis/policy/v1/namespaces/" + e.namespace + "/poddisruptionbudgets"
	e.must("POST", budgets, "", object{"metadata": object{"name": "web"}, "spec": object{"minAvailable": "50%", "selector": object{"matchLabels": object{"app": "web"}}}})
	c := e.config(properties)
	var err error
	if c.Dials, err = hosts.NewDialRules([]string{"127.0.0.0/8"}, nil); err != nil {
		t.Fatal(err)
	}
	s := e.openAs(c)
	a := &app{eyes: e, s: s, id: e.id()}
	a.up()

	from, err := s.Dialer(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	pods := e.relays()
	if len(pods) != 1 {
		t.Fatalf("there are %d pods of ours", len(pods))
	}
	pod := pods[0]
	ip := text(pod, "status", "podIP")

	port, heard := e.heard()
	for _, address := range []string{kube.Gateway + ":" + port, "database:" + port} {
		conn, err := from.DialContext(bounded(t), "tcp", address)
		if err != nil {
			t.Fatalf("dial %s: %v", address, err)
		}
		if who := <-heard; who != ip {
			t.Errorf("at %s it is heard from %s, and the pod is %s", address, who, ip)
		}
		_ = conn.Close()
	}
	if _, err := from.DialContext(bounded(t), "tcp", kube.Gateway+":1"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a closed port: %v", err)
	}
	for _, closed := range []string{"169.254.169.254:80", "127.0.0.1:80", "localhost:80"} {
		if _, err := from.DialContext(bounded(t), "tcp", closed); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%s, which the rules close: %v", closed, err)
		}
	}

	if text(pod, "metadata", "deletionTimestamp") == "" {
		t.Error("it is not being deleted: it would outlive this process")
	}
	if len(list(pod, "spec", "volumes")) > 0 {
		t.Errorf("it has volumes: %v", at(pod, "spec", "volumes"))
	}
	if node, apps := text(pod, "spec", "nodeName"), e.pods(); len(apps) != 2 || node != text(apps[0], "spec", "nodeName") {
		t.Errorf("it is on %s, beside %d pods", node, len(apps))
	}
	if owner := at(pod, "metadata", "ownerReferences", 0); text(owner, "kind") != "Deployment" || at(owner, "controller") != true {
		t.Errorf("it is %v's", owner)
	}
	// Controllers have seen it: each of these numbers is a controller's.
	if now := e.must("GET", e.apps("deployments")+"/web", "", nil); at(now, "status", "replicas") != 2.0 || at(now, "status", "availableReplicas") != 2.0 {
		t.Errorf("the Deployment has %v", at(now, "status"))
	}
	e.eventually("the budget is as without it", func() bool {
		b := e.must("GET", budgets+"/web", "", nil)
		return at(b, "status", "expectedPods") == 2.0 && at(b, "status", "disruptionsAllowed") == 1.0
	})
	for _, slice := range list(e.must("GET", "/apis/discovery.k8s.io/v1/namespaces/"+e.namespace+"/endpointslices", "", nil), "items") {
		for _, endpoint := range list(slice, "endpoints") {
			if at(endpoint, "conditions", "ready") == true && text(endpoint, "addresses", 0) == ip {
				t.Errorf("%s sends it traffic", text(slice, "metadata", "name"))
			}
		}
	}
	a.up() // and we don't wait for it
	if err := from.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	e.noRelays("after Close")

	// As when this process dies: what is between the two is cut, and nobody cleans up.
	if from, err = s.Dialer(bounded(t)); err != nil {
		t.Fatal(err)
	}
	_ = from.(*relay.Dialer).Network.(*kubeconnect.Relayed).Remote.Close()
	e.noRelays("by one that died")
	for _, event := range list(e.must("GET", e.core("events"), "", nil), "items") {
		if text(event, "involvedObject", "kind") == "PodDisruptionBudget" && text(event, "reason") != "NoPods" {
			t.Errorf("the budget says %s: %s", text(event, "reason"), text(event, "message"))
		}
	}

	// One that died before: its pod has ended, and the next one takes it away.
	left, err := s.relayPod(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	soon := int64(1)
	left.GenerateName, left.Name, left.Spec.ActiveDeadlineSeconds = "", "left", &soon
	e.must("POST", e.core("pods"), "", left)
	e.eventually("a pod that nobody speaks to ends", func() bool {
		return text(e.must("GET", e.core("pods")+"/left", "", nil), "status", "phase") == "Failed"
	})
	if from, err = s.Dialer(bounded(t)); err != nil {
		t.Fatal(err)
	}
	_ = from.Close()
	e.noRelays("by one that died early")
}

// TestNoControllerTakesIt, of any kind, nor counts it.
func TestNoControllerTakesIt(t *testing.T) {
	for _, kind := range []string{"StatefulSet", "DaemonSet", "CronJob"} {
		t.Run(kind, func(t *testing.T) {
			e := newEyes(t)
			path, _ := e.others(kind)
			e.must("POST", path, "", of(kind, nil))
			a := &app{eyes: e, s: e.open(relaying(t, object{"kind": kind})), id: e.id()}
			a.up()
			budgets := "/apis/policy/v1/namespaces/" + e.namespace + "/poddisruptionbudgets"
			if kind == "StatefulSet" {
				e.must("POST", budgets, "", object{"metadata": object{"name": "web"}, "spec": object{"maxUnavailable": 1, "selector": object{"matchLabels": object{"app": "web"}}}})
			}
			apps := len(e.pods())
			pod, err := a.s.relayPod(bounded(t))
			if err != nil {
				t.Fatal(err)
			}
			pod.GenerateName, pod.Name = "", "ours"
			made := e.must("POST", e.core("pods"), "", pod)
			e.eventually("it runs", func() bool {
				return text(e.must("GET", e.core("pods")+"/ours", "", nil), "status", "phase") == "Running"
			})
			if kind == "StatefulSet" { // the budget goes on, with a warning
				e.eventually("the budget says that somebody's pods are nobody's", func() bool {
					return strings.Contains(string(marshal(e.must("GET", e.core("events"), "", nil))), "UnmanagedPods")
				})
				e.eventually("the budget is as without it", func() bool {
					b := e.must("GET", budgets+"/web", "", nil)
					return at(b, "status", "expectedPods") == 1.0 && at(b, "status", "disruptionsAllowed") == 1.0
				})
			}
			// A controller that takes it would by now: this change wakes it.
			if kind != "CronJob" {
				a.write(a.change("aaaa", 1, "PB_A", "1"))
				a.up()
			}
			now := e.must("GET", e.core("pods")+"/ours", "", nil)
			if at(now, "metadata", "deletionTimestamp") != nil || text(now, "metadata", "uid") != text(made, "metadata", "uid") ||
				string(marshal(at(now, "metadata", "ownerReferences"))) != string(marshal(at(made, "metadata", "ownerReferences"))) {
				t.Errorf("somebody has taken it: %v", at(now, "metadata"))
			}
			if here := len(e.pods()); here != apps+1 {
				t.Errorf("%d pods of the workload became %d", apps, here-1)
			}
			from, err := a.s.Dialer(bounded(t))
			if err != nil {
				t.Fatal(err)
			}
			port, heard := e.heard()
			conn, err := from.DialContext(bounded(t), "tcp", kube.Gateway+":"+port)
			if err != nil {
				t.Fatal(err)
			}
			<-heard
			_ = conn.Close()
			if err := from.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNotSpokenFrom: it is not checked, in time and with the reason, and nothing is left.
func TestNotSpokenFrom(t *testing.T) {
	ours := relaying(t, nil)
	for name, one := range map[string]struct {
		properties object
		before     func(*eyes)
		says, fix  string
	}{
		"no image":              {properties: nil, says: "no image", fix: "--relay-image"},
		"an image that is gone": {properties: object{"relayImage": "local.test/nobody:1"}, says: "can't get the image"},
		"another's image":       {properties: object{"relayImage": kube.Image}, says: "does not answer"},
		"a quota": {properties: ours, says: "ResourceQuota", before: func(e *eyes) {
			e.must("POST", e.core("resourcequotas"), "", object{"metadata": object{"name": "q"}, "spec": object{"hard": object{"pods": "1"}}})
			e.eventually("the quota counts", func() bool {
				return text(e.must("GET", e.core("resourcequotas")+"/q", "", nil), "status", "used", "pods") == "1"
			})
		}},
		"traffic for what is not ready": {properties: ours, says: "publishNotReadyAddresses", before: func(e *eyes) {
			e.must("POST", e.core("services"), "", object{"metadata": object{"name": "peers"}, "spec": object{
				"selector": object{"app": "web"}, "clusterIP": "None", "publishNotReadyAddresses": true, "ports": []any{object{"port": 8080}},
			}})
		}},
		"nowhere to run": {properties: ours, says: "can't be scheduled", before: func(e *eyes) {
			e.must("PATCH", e.apps("deployments")+"/web", merging, object{"spec": object{"replicas": 0, "template": object{"spec": object{"nodeSelector": object{"disk": "none"}}}}})
			e.eventually("nothing runs", func() bool { return len(e.pods()) == 0 })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := deploy(t, 1, one.properties)
			if one.before != nil {
				one.before(a.eyes)
			}
			g := driver.Guard{Name: "kubernetes"}.Source(a.s)
			from, err := g.Dialer(bounded(t))
			if err == nil {
				_ = from.Close()
			}
			if patchbay.CodeOf(err) != patchbay.NotSupported || !strings.Contains(err.Error(), one.says) || !strings.Contains(patchbay.AsError(err).Fix, one.fix) {
				t.Errorf("Dialer = %v (fix: %s)", err, patchbay.AsError(err).Fix)
			}
			a.noRelays("by what did not run")
		})
	}
}

// TestARelayIsPlacedAsTheWorkload is, in its host's network too.
func TestARelayIsPlacedAsTheWorkload(t *testing.T) {
	properties := relaying(t, nil)
	e := newEyes(t)
	d := deployment(1, nil)
	spec := d["spec"].(object)["template"].(object)["spec"].(object)
	for name, value := range map[string]any{
		"hostNetwork": true, "nodeSelector": object{"kubernetes.io/hostname": "node1"}, "imagePullSecrets": []any{object{"name": "pull"}},
		"tolerations": []any{object{"key": "only", "operator": "Exists", "effect": "NoSchedule"}}, "serviceAccountName": "web",
		"affinity": object{
			"podAntiAffinity": object{"requiredDuringSchedulingIgnoredDuringExecution": []any{
				object{"topologyKey": "kubernetes.io/hostname", "labelSelector": object{"matchLabels": object{"app": "web"}}},
			}},
			"nodeAffinity": object{"requiredDuringSchedulingIgnoredDuringExecution": object{"nodeSelectorTerms": []any{
				object{"matchExpressions": []any{object{"key": "kubernetes.io/os", "operator": "In", "values": []any{"linux"}}}},
			}}},
		},
	} {
		spec[name] = value
	}
	e.must("POST", e.apps("deployments"), "", d)
	a := &app{eyes: e, s: e.open(properties), id: e.id()}
	a.up()
	from, err := a.s.Dialer(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	pod := e.relays()[0]
	for _, name := range []string{"hostNetwork", "nodeSelector", "imagePullSecrets", "serviceAccountName"} {
		if got := string(marshal(at(pod, "spec", name))); got != string(marshal(spec[name])) {
			t.Errorf("its %s is %s, want %s", name, got, marshal(spec[name]))
		}
	}
	if got := string(marshal(at(pod, "spec", "tolerations"))); !strings.Contains(got, `"key":"only"`) {
		t.Errorf("its tolerations are %s", got)
	}
	if affinity := at(pod, "spec", "affinity"); at(affinity, "nodeAffinity") == nil || at(affinity, "podAntiAffinity") != nil {
		t.Errorf("its affinity is %v", affinity)
	}
	// What only its node reaches: whoever listens at loopback there.
	conn, err := from.DialContext(bounded(t), "tcp", "127.0.0.1:8080")
	if err != nil {
		t.Fatalf("at the host's loopback the application does not answer: %v", err)
	}
	_ = conn.Close()
}

// TestMemoryOfARelay is far from its limit.
func TestMemoryOfARelay(t *testing.T) {
	a := deploy(t, 1, relaying(t, nil))
	from, err := a.s.Dialer(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	found, err := relayPeak()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("a relay has had %d MiB", found>>20)
	if found > 96<<20 {
		t.Errorf("a relay has had %d MiB, of the 128 that it may have", found>>20)
	}
}

// relayPeak is the most that a relay on this machine has had in memory, in bytes.
func relayPeak() (int64, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, entry := range entries {
		line, err := os.ReadFile("/proc/" + entry.Name() + "/cmdline")
		if err != nil || string(line) != "/program\x00"+relay.Command+"\x00" {
			continue
		}
		status, err := os.ReadFile("/proc/" + entry.Name() + "/status")
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmHWM:" {
				n, err := strconv.ParseInt(fields[1], 10, 64)
				return n << 10, err
			}
		}
	}
	return 0, errors.New("no relay runs")
}
