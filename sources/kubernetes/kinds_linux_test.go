package kubernetes

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	kube "patchbay.dev/patchbay/internal/testenv/kubernetes"
)

// of makes another kind's object of the Deployment's.
func of(kind string, more object) object {
	d := deployment(1, nil)
	spec := d["spec"].(object)
	d["kind"] = kind
	switch kind {
	case "StatefulSet":
		spec["serviceName"] = "web"
	case "DaemonSet":
		delete(spec, "replicas")
	case "CronJob":
		d["apiVersion"] = "batch/v1"
		template := spec["template"].(object)
		template["spec"].(object)["restartPolicy"] = "Never"
		spec = object{"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": object{"spec": object{"template": template}}}
		d["spec"] = spec
	}
	maps.Copy(spec, more)
	return d
}

func (e *eyes) others(kind string) (string, string) {
	switch kind {
	case "CronJob":
		return "/apis/batch/v1/namespaces/" + e.namespace + "/cronjobs", "cronjobs"
	}
	resource := strings.ToLower(kind) + "s"
	return e.apps(resource), resource
}

// TestKinds: each is changed, comes up, is taken back after settings that it does
// not come up with, and is as it was.
func TestKinds(t *testing.T) {
	for name, one := range map[string]struct {
		kind string
		more object
	}{
		"StatefulSet":                  {"StatefulSet", nil},
		"StatefulSet, two of them":     {"StatefulSet", object{"replicas": 2}},
		"StatefulSet, by hand":         {"StatefulSet", object{"replicas": 2, "updateStrategy": object{"type": "OnDelete"}}},
		"DaemonSet":                    {"DaemonSet", nil},
		"DaemonSet, by hand":           {"DaemonSet", object{"updateStrategy": object{"type": "OnDelete"}}},
		"Deployment made anew at once": {"Deployment", object{"strategy": object{"type": "Recreate"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEyes(t)
			path, _ := e.others(one.kind)
			o := e.must("POST", path, "", of(one.kind, one.more))
			pods := 1
			if at(o, "spec", "replicas") == 2.0 {
				pods = 2
			}
			a := &app{eyes: e, s: e.open(object{"kind": one.kind, "wait": object{"limit": "90s", "steady": "1s"}}), id: e.id()}
			content := func() string { return string(marshal(still(e.must("GET", path+"/web", "", nil)))) }
			a.up()
			before := content()
			first := a.change("aaaa", 1, "PB_A", "1")
			a.write(first)
			a.up()
			a.reads(pods, "PB_A", "1")
			a.release(first)
			good := content()
			bad := a.change("aaaa", 2, "PB_A", "2", "APP_CRASH", "no luck")
			bad.Had = first.Set
			a.write(bad)
			if err := a.s.Restart(bounded(t)); patchbay.CodeOf(err) != patchbay.RestartFailed || !strings.Contains(err.Error(), "crash-loops") {
				t.Errorf("Restart with settings that crash = %v", err)
			}
			a.restore(bad)
			a.up()
			a.reads(pods, "PB_A", "1")
			if now := content(); now != good {
				t.Errorf("taken back it is\n%s\nwant\n%s", now, good)
			}
			last := driver.Change{Mark: first.Mark, Name: first.Name, Had: first.Set}
			a.write(last)
			a.up()
			a.release(last)
			a.reads(pods, "PB_A", "")
			if now := content(); now != before {
				t.Errorf("after the delete it is\n%s\nwant\n%s", now, before)
			}
		})
	}
}

// TestACronJobStaysSuspended, and its next run reads the settings.
func TestACronJobStaysSuspended(t *testing.T) {
	e := newEyes(t)
	path, _ := e.others("CronJob")
	e.must("POST", path, "", of("CronJob", nil))
	before := string(marshal(still(e.must("GET", path+"/web", "", nil))))
	a := &app{eyes: e, s: e.open(object{"kind": "CronJob"}), id: e.id()}
	c := a.change("aaaa", 1, "PB_A", "1")
	a.write(c)
	a.up()
	o := e.must("GET", path+"/web", "", nil)
	if at(o, "spec", "suspend") != true {
		t.Error("it is not suspended any more")
	}
	env, err := e.environment(object{"spec": at(o, "spec", "jobTemplate", "spec")})
	if err != nil || env["PB_A"] != "1" {
		t.Errorf("its template has %v, %v", env, err)
	}
	a.restore(c)
	if now := string(marshal(still(e.must("GET", path+"/web", "", nil)))); now != before {
		t.Errorf("taken back it is\n%s\nwant\n%s", now, before)
	}
}

// TestARunOfBeforeIsWaitedFor: it has what is revoked next. One that began without the
// connection is not.
func TestARunOfBeforeIsWaitedFor(t *testing.T) {
	e := newEyes(t)
	path, _ := e.others("CronJob")
	job := of("CronJob", nil)
	container := at(job, "spec", "jobTemplate", "spec", "template", "spec", "containers").([]any)[0].(object)
	container["env"] = []any{object{"name": "APP_DRAIN", "value": "0s"}}
	e.must("POST", path, "", job)
	a := &app{eyes: e, s: e.open(object{"kind": "CronJob"}), id: e.id()}
	run := func(name string) {
		if out, err := e.cluster.Kubectl("-n", e.namespace, "create", "job", name, "--from=cronjob/web"); err != nil {
			t.Fatal(out, err)
		}
		if out, err := e.cluster.Kubectl("-n", e.namespace, "wait", "--for=jsonpath={.status.ready}=1", "--timeout=60s", "job/"+name); err != nil {
			t.Fatal(out, err)
		}
	}
	run("web-first")
	first := a.change("aaaa", 1, "PB_A", "1")
	a.write(first)
	a.up() // although web-first runs
	run("web-second")
	next := a.change("aaaa", 2, "PB_A", "2")
	next.Had = first.Set
	a.write(next)
	left := make(chan string, 1)
	go func() {
		if err := a.s.Restart(bounded(t)); err != nil {
			t.Error(err)
		}
		names := ""
		for _, pod := range e.pods() {
			names += text(pod, "metadata", "generateName")
		}
		left <- names
	}()
	if out, err := e.cluster.Kubectl("-n", e.namespace, "delete", "job", "web-second"); err != nil {
		t.Error(out, err)
	}
	if names := <-left; names != "web-first-" {
		t.Errorf("the step is over, and what runs is %q, want the first run alone", names)
	}
	a.release(next)
}

// TestManyByTheirLabels are one source: all of them change, and what one of them
// does not come up with is taken back from all.
func TestManyByTheirLabels(t *testing.T) {
	e := newEyes(t)
	for _, name := range []string{"one", "two", "other"} {
		d := deployment(1, object{"env": []any{object{"name": "WHO", "value": name}}})
		labels := object{"app": name, "part": "web"}
		if name == "other" {
			labels["part"] = "else"
		}
		d["metadata"] = object{"name": name, "labels": labels}
		d["spec"].(object)["selector"] = object{"matchLabels": object{"app": name}}
		d["spec"].(object)["template"].(object)["metadata"] = object{"labels": object{"app": name}}
		e.must("POST", e.apps("deployments"), "", d)
	}
	a := &app{eyes: e, s: e.open(object{"name": "", "selector": "part=web"}), id: e.id()}
	before, _ := e.content()
	c := a.change("aaaa", 1, "PB_A", "1")
	a.write(c)
	a.up()
	for _, all := range e.asks("env") {
		if want := map[bool]string{true: "", false: "1"}[all["WHO"] == "other"]; all["PB_A"] != want {
			t.Errorf("%s reads %q", all["WHO"], all["PB_A"])
		}
	}
	// One is changed already, as a crash in the middle leaves it.
	a.restore(c)
	one := e.open(object{"name": "one"})
	now, err := one.ReadSettings(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	version := a.before.Version
	if _, err := one.WriteSettings(bounded(t), c, now.Version); err != nil {
		t.Fatal(err)
	}
	if _, err := a.s.WriteSettings(bounded(t), c, version); err != nil {
		t.Errorf("to go on with the others = %v", err)
	}
	a.restore(c)
	a.same(before, "after it is taken back")
}

// TestContainers: one of several has to be named, by the registration or by a scope.
func TestContainers(t *testing.T) {
	e := newEyes(t)
	d := deployment(0, nil)
	spec := at(d, "spec", "template", "spec").(object)
	spec["containers"] = append(spec["containers"].([]any), object{"name": "side", "image": kube.Image})
	spec["initContainers"] = []any{object{"name": "migrate", "image": kube.Image}}
	e.must("POST", e.apps("deployments"), "", d)
	ctx := bounded(t)
	if _, err := e.open(nil).Inspect(ctx); patchbay.CodeOf(err) != patchbay.InvalidArgument || !strings.Contains(err.Error(), "web, side") {
		t.Errorf("Inspect without a container = %v", err)
	}
	if _, err := e.open(object{"containers": []string{"gone"}}).Inspect(ctx); patchbay.CodeOf(err) != patchbay.SourceNotFound || !strings.Contains(err.Error(), "gone") {
		t.Errorf("Inspect of a container that is not there = %v", err)
	}
	before, _ := e.content()
	scoped := e.config(nil)
	scoped.Scope = "side"
	for name, s := range map[string]*source{
		"side":         e.openAs(scoped),
		"migrate, web": e.open(object{"containers": []string{"migrate", "web"}}),
	} {
		a := &app{eyes: e, s: s, id: e.id()}
		c := a.change("aaaa", 1, "PB_A", "1")
		a.write(c)
		var have []string
		o := e.must("GET", e.apps("deployments")+"/web", "", nil)
		for _, one := range slices.Concat(list(o, "spec", "template", "spec", "initContainers"), list(o, "spec", "template", "spec", "containers")) {
			if text(one, "env", 0, "name") == "PB_A" {
				have = append(have, text(one, "name"))
			}
		}
		if got := strings.Join(have, ", "); got != name {
			t.Errorf("the settings are in %s, want %s", got, name)
		}
		a.restore(c)
		a.same(before, "after it is taken back from "+name)
	}
}

// TestFilesInAPod: a binding is where the application looks for it.
func TestFilesInAPod(t *testing.T) {
	a := deploy(t, 1, object{"deliver": deliverFiles})
	before, _ := a.content()
	c := a.change("aaaa", 1, "type", "postgresql", "password", "line one\nit's\n", "PB_A", "1")
	c.Set[0].File, c.Set[1].File = true, true
	a.write(c)
	a.up()
	a.reads(1, "SERVICE_BINDING_ROOT", "/bindings")
	a.reads(1, "PB_A", "1")
	want := map[string]string{"orders/type": "postgresql", "orders/password": "line one\nit's\n"}
	if files := a.asks("files"); len(files) != 1 || !maps.Equal(files[0], want) {
		t.Errorf("a pod has the files %q, want %q", files, want)
	}
	a.restore(c)
	a.same(before, "after it is taken back")
}

// TestEnvFrom: where nobody else has such a list, each connection's Secret is one of
// its items.
func TestEnvFrom(t *testing.T) {
	e := newEyes(t)
	e.must("POST", e.apps("deployments"), "", deployment(1, nil))
	a := &app{eyes: e, s: e.open(object{"deliver": deliverEnvFrom}), id: e.id()}
	before, _ := e.content()
	first := a.change("aaaa", 1, "PB_A", "1")
	a.write(first)
	one, _ := e.content()
	second := settingsOf(a.id, "bbbb", 1, "events", "PB_B", "1")
	a.write(second)
	a.up()
	a.reads(1, "PB_A", "1")
	a.reads(1, "PB_B", "1")
	a.restore(second)
	a.same(one, "after the second is taken back")
	last := driver.Change{Mark: first.Mark, Name: first.Name, Had: first.Set}
	a.write(last)
	a.release(last)
	a.same(before, "after the delete")

	taken := deploy(t, 0, object{"deliver": deliverEnvFrom})
	if err := taken.s.CheckChange(bounded(t), taken.change("aaaa", 1, "PB_A", "1")); patchbay.CodeOf(err) != patchbay.Conflict || !strings.Contains(err.Error(), "argocd-controller") {
		t.Errorf("a list that somebody else has: %v", err)
	}
}

// TestEgressIsFound: the pod's address and its node's, unless the registration says.
func TestEgressIsFound(t *testing.T) {
	a := deploy(t, 1, nil)
	ip := text(a.pods()[0], "status", "podIP")
	want := []netip.Prefix{netip.MustParsePrefix(kube.NodeAddress + "/32"), netip.MustParsePrefix(ip + "/32")}
	if got, err := a.s.Egress(bounded(t), netip.Addr{}); err != nil || !slices.Equal(got, want) {
		t.Errorf("Egress = %v, %v; want %v", got, err, want)
	}
	said := a.open(object{"egress": []string{"10.1.0.0/16"}})
	if got, err := said.Egress(bounded(t), netip.Addr{}); err != nil || len(got) != 1 || got[0].String() != "10.1.0.0/16" {
		t.Errorf("Egress of a registration that says it = %v, %v", got, err)
	}
	if _, err := a.s.Dialer(bounded(t)); patchbay.CodeOf(err) != patchbay.NotSupported {
		t.Errorf("Dialer = %v", err)
	}
}

// TestRegistrations: what can't be is refused before the cluster is asked anything.
func TestRegistrations(t *testing.T) {
	e := newEyes(t)
	cert, key, err := e.cluster.ClientCertificate("user39")
	if err != nil {
		t.Fatal(err)
	}
	secret := patchbay.NewSecret
	insecure := strings.Replace(e.cluster.Kubeconfig("t"), "certificate-authority-data: ", "insecure-skip-tls-verify: true, x: ", 1)
	for name, one := range map[string]struct {
		endpoint   string
		admin      driver.Secrets
		properties object
		want       string // "" for none
	}{
		"kubeconfig":         {"test", driver.Secrets{"kubeconfig": secret(e.cluster.Kubeconfig("t"))}, nil, ""},
		"certificate":        {"https://h:6443", driver.Secrets{"certificate": secret(string(cert)), "key": secret(string(key))}, nil, ""},
		"another context":    {"prod", driver.Secrets{"kubeconfig": secret(e.cluster.Kubeconfig("t"))}, nil, `no context "prod"`},
		"a program":          {"test", driver.Secrets{"kubeconfig": secret(strings.Replace(e.cluster.Kubeconfig("t"), "{token: ", "{exec: {command: /bin/sh, apiVersion: client.authentication.k8s.io/v1}, x: ", 1))}, nil, "runs none"},
		"a file":             {"test", driver.Secrets{"kubeconfig": secret(strings.Replace(e.cluster.Kubeconfig("t"), "{token: ", "{tokenFile: /etc/shadow, x: ", 1))}, nil, "names files"},
		"anybody's server":   {"test", driver.Secrets{"kubeconfig": secret(insecure)}, nil, "insecure-skip-tls-verify"},
		"no YAML":            {"test", driver.Secrets{"kubeconfig": secret("{")}, nil, "can't be read"},
		"nobody":             {"https://h", nil, nil, "nothing says who"},
		"http":               {"http://h", driver.Secrets{"token": secret("t")}, nil, "no URL of an API server"},
		"both":               {"https://h", driver.Secrets{"token": secret("t"), "certificate": secret(string(cert)), "key": secret(string(key))}, nil, "not both"},
		"half a certificate": {"https://h", driver.Secrets{"certificate": secret(string(cert))}, nil, "needs its key"},
		"no cluster here":    {"in-cluster", nil, nil, "does not run in a cluster"},
		"broken key":         {"https://h", driver.Secrets{"certificate": secret(string(cert)), "key": secret("canary")}, nil, "can't be used"},
		"Job":                {"https://h", driver.Secrets{"token": secret("t")}, object{"kind": "Job"}, "CronJob"},
		"two ways":           {"https://h", driver.Secrets{"token": secret("t")}, object{"selector": "a=b"}, "one of the two"},
		"no selector":        {"https://h", driver.Secrets{"token": secret("t")}, object{"name": "", "selector": "a in b"}, "selector"},
		"namespace":          {"https://h", driver.Secrets{"token": secret("t")}, object{"namespace": "../x"}, "namespace"},
		"root":               {"https://h", driver.Secrets{"token": secret("t")}, object{"bindingRoot": "relative"}, "bindingRoot"},
	} {
		t.Run(name, func(t *testing.T) {
			c := e.config(one.properties)
			c.Endpoint, c.Admin = one.endpoint, one.admin
			s, err := Driver().Open(context.Background(), c)
			if err == nil {
				_ = s.Close()
			}
			if (one.want == "") != (err == nil) || err != nil && (patchbay.CodeOf(err) != patchbay.InvalidArgument || !strings.Contains(err.Error()+patchbay.AsError(err).Fix, one.want)) {
				t.Errorf("Open = %v, want %q", err, one.want)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Errorf("the error shows a key: %v", err)
			}
		})
	}
}
