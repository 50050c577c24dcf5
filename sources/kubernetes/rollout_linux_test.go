package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// app is a connection's life on a source, as a control plane leads it.
type app struct {
	*eyes
	s      *source
	id     patchbay.ID
	before driver.Snapshot
}

// deploy makes a Deployment that runs, and a source of it.
func deploy(t testing.TB, replicas int, properties object) *app {
	t.Helper()
	e := newEyes(t)
	e.must("POST", e.core("configmaps"), "", object{"metadata": object{"name": "theirs"}})
	e.must("POST", e.apps("deployments")+"?fieldManager=argocd-controller", "", deployment(replicas, object{
		"env": []any{object{"name": "THEIRS", "value": "1"}}, "envFrom": []any{object{"configMapRef": object{"name": "theirs"}}},
	}))
	a := &app{eyes: e, s: e.open(properties), id: e.config(nil).ID}
	if replicas > 0 {
		a.up()
	}
	return a
}

// up waits, by the driver's own means, until the application is up.
func (a *app) up() {
	a.t.Helper()
	if err := a.s.Restart(bounded(a.t)); err != nil {
		a.t.Fatal(err)
	}
}

func (a *app) change(uid string, generation int64, settings ...string) driver.Change {
	return settingsOf(a.id, uid, generation, "orders", settings...)
}

// write makes a change and keeps what was before it.
func (a *app) write(c driver.Change) {
	a.t.Helper()
	var err error
	ctx := bounded(a.t)
	if a.before, err = a.s.ReadSettings(ctx); err != nil {
		a.t.Fatal(err)
	}
	if err := a.s.CheckChange(ctx, c); err != nil {
		a.t.Fatalf("CheckChange: %v", err)
	}
	if _, err := a.s.WriteSettings(ctx, c, a.before.Version); err != nil {
		a.t.Fatalf("WriteSettings: %v", err)
	}
}

func (a *app) restore(c driver.Change) {
	a.t.Helper()
	if err := a.s.RestoreSettings(bounded(a.t), c, a.before); err != nil {
		a.t.Fatalf("RestoreSettings: %v", err)
	}
}

func (a *app) release(c driver.Change) {
	a.t.Helper()
	if err := a.s.Release(bounded(a.t), c); err != nil {
		a.t.Fatalf("Release: %v", err)
	}
}

// pods are those that are not going away.
func (e *eyes) pods() []object {
	e.t.Helper()
	var all []object
	for _, one := range list(e.must("GET", e.core("pods"), "", nil), "items") {
		if at(one, "metadata", "deletionTimestamp") == nil {
			all = append(all, one.(object))
		}
	}
	return all
}

// asks asks each pod's application what it reads.
func (e *eyes) asks(what string) []map[string]string {
	e.t.Helper()
	var answers []map[string]string
	for _, pod := range e.pods() {
		answer, err := e.client.Get("http://" + text(pod, "status", "podIP") + ":8080/" + what)
		if err != nil {
			e.t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		var all map[string]string
		if err == nil {
			err = json.Unmarshal(body, &all)
		}
		if err != nil {
			e.t.Fatal(err)
		}
		answers = append(answers, all)
	}
	return answers
}

// reads fails unless every pod of that many has the setting.
func (e *eyes) reads(pods int, name, value string) {
	e.t.Helper()
	answers := e.asks("env")
	if len(answers) != pods {
		e.t.Errorf("%d pods answer, want %d", len(answers), pods)
	}
	for _, all := range answers {
		if all[name] != value {
			e.t.Errorf("a pod reads %s=%q, want %q", name, all[name], value)
		}
	}
}

func (e *eyes) same(before, when string) {
	e.t.Helper()
	if now, err := e.content(); err != nil || now != before {
		e.t.Errorf("%s there is, %v,\n%s\nwant\n%s", when, err, now, before)
	}
}

// TestALife is a create, a rotation and a delete, as pods see them.
func TestALife(t *testing.T) {
	a := deploy(t, 2, nil)
	before, _ := a.content()
	first := a.change("aaaa", 1, "PB_URL", "one", "PB_PASSWORD", "it's $(THEIRS) \"one\"\n")
	a.write(first)
	a.up()
	a.reads(2, "PB_PASSWORD", "it's $(THEIRS) \"one\"\n")
	a.reads(2, "THEIRS", "1")
	a.release(first)
	next := a.change("aaaa", 2, "PB_URL", "two")
	next.Had = first.Set
	a.write(next)
	a.up()
	a.reads(2, "PB_URL", "two")
	a.reads(2, "PB_PASSWORD", "")
	if left, err := a.ours(); err != nil || len(left) != 1 {
		t.Errorf("before its release what is kept is %q, %v", left, err)
	}
	a.release(next)
	if left, err := a.ours(); err != nil || len(left) != 0 {
		t.Errorf("after its release what is kept is %q, %v", left, err)
	}
	last := driver.Change{Mark: next.Mark, Name: next.Name, Had: next.Set}
	a.write(last)
	a.up()
	a.release(last)
	a.reads(2, "PB_URL", "")
	a.same(before, "after the delete")
}

// TestAStepEndsWithTheLastPodOfBefore: a pod that was told to end, and goes on for as
// long as it may, still signs in with what is revoked next. A create takes nothing away,
// and does not wait.
func TestAStepEndsWithTheLastPodOfBefore(t *testing.T) {
	e := newEyes(t)
	d := deployment(1, object{"env": []any{object{"name": "APP_DRAIN", "value": "3s"}}})
	at(d, "spec", "template", "spec").(object)["terminationGracePeriodSeconds"] = 10
	e.must("POST", e.apps("deployments"), "", d)
	a := &app{eyes: e, s: e.open(nil), id: e.config(nil).ID}
	a.up()
	ending := func(connected bool) (names []string) {
		for _, one := range list(e.must("GET", e.core("pods"), "", nil), "items") {
			has := strings.Contains(string(marshal(at(one, "spec"))), `"PB_A"`)
			// Once its process has ended it is Succeeded, and then it goes.
			if at(one, "metadata", "deletionTimestamp") != nil && text(one, "status", "phase") == "Running" && has == connected {
				names = append(names, text(one, "metadata", "name"))
			}
		}
		return names
	}
	first := a.change("aaaa", 1, "PB_A", "1")
	a.write(first)
	a.up()
	if len(ending(false)) != 1 {
		t.Errorf("a create waited for a pod that had nothing of it")
	}
	next := a.change("aaaa", 2, "PB_A", "2")
	next.Had = first.Set
	a.write(next)
	a.up()
	if left := ending(true); len(left) > 0 {
		t.Errorf("the step is over, and with what it replaced run %q", left)
	}
	a.release(next)
}

// TestACrashLoopIsTakenBack: the step fails early and says why, without a secret,
// and what was there runs all the time.
func TestACrashLoopIsTakenBack(t *testing.T) {
	a := deploy(t, 1, object{"wait": object{"limit": "5m", "steady": "1s"}})
	pod := text(a.pods()[0], "metadata", "name")
	before, _ := a.content()
	c := a.change("aaaa", 1, "APP_CRASH", "no luck", "APP_PASSWORD", "canary-password")
	a.write(c)
	err := a.s.Restart(bounded(t))
	if patchbay.CodeOf(err) != patchbay.RestartFailed {
		t.Fatalf("Restart = %v", err)
	}
	for _, want := range []string{"crash-loops", "exit code 3", "it last said", "fatal: ", "can't sign in"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	if strings.Contains(fmt.Sprintf("%+v", err), "canary") {
		t.Errorf("the error shows a password: %v", err)
	}
	if fix := patchbay.AsError(err).Fix; !strings.Contains(fix, "logs") || !strings.Contains(fix, "--previous") {
		t.Errorf("the fix is %q", fix)
	}
	a.restore(c)
	a.up()
	a.reads(1, "THEIRS", "1")
	if now := text(a.pods()[0], "metadata", "name"); now != pod {
		t.Errorf("the pod is %s, was %s: it need not have been stopped", now, pod)
	}
	a.same(before, "after it is taken back")
}

// TestWhatKeepsPodsFromComingUp fails the step, with the reason, long before its
// limit.
func TestWhatKeepsPodsFromComingUp(t *testing.T) {
	for name, one := range map[string]struct {
		container object
		spec      object
		namespace object // something of the namespace's own
		want      []string
	}{
		"image":     {container: object{"image": "local.test/nobody:1", "imagePullPolicy": "Never"}, want: []string{"can't get the image of its container web"}},
		"pull":      {container: object{"image": "127.0.0.1:1/nobody:1", "imagePullPolicy": "Always"}, want: []string{"can't get the image", "ImagePullBackOff"}},
		"scheduler": {spec: object{"nodeSelector": object{"nobody": "has"}}, want: []string{"can't be scheduled", "node"}},
		"quota": {namespace: object{"apiVersion": "v1", "kind": "ResourceQuota", "metadata": object{"name": "few"}, "spec": object{"hard": object{"pods": "0"}}},
			want: []string{"exceeded quota"}},
		"secret of somebody's": {container: object{"env": []any{object{"name": "X", "valueFrom": object{"secretKeyRef": object{"name": "gone", "key": "x"}}}}},
			want: []string{"CreateContainerConfigError", "gone"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEyes(t)
			if one.namespace != nil {
				e.must("POST", e.core("resourcequotas"), "", one.namespace)
			}
			d := deployment(1, one.container)
			maps.Copy(at(d, "spec", "template", "spec").(object), one.spec)
			e.must("POST", e.apps("deployments"), "", d)
			a := &app{eyes: e, s: e.open(object{"wait": object{"limit": "5m"}}), id: e.config(nil).ID}
			a.write(a.change("aaaa", 1, "PB_A", "1"))
			err := a.s.Restart(bounded(t))
			if patchbay.CodeOf(err) != patchbay.RestartFailed {
				t.Fatalf("Restart = %v", err)
			}
			for _, want := range one.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not say %q: %v", want, err)
				}
			}
		})
	}
}

// TestNotReadyIsNotUp: an application that runs and is not ready is given the time
// that the registration says.
func TestNotReadyIsNotUp(t *testing.T) {
	a := deploy(t, 1, object{"wait": object{"limit": "4s", "steady": "1s"}})
	c := a.change("aaaa", 1, "APP_UNREADY", "1")
	a.write(c)
	err := a.s.Restart(bounded(t))
	if patchbay.CodeOf(err) != patchbay.RestartFailed || !strings.Contains(err.Error(), "is not ready") {
		t.Errorf("Restart = %v", err)
	}
	a.restore(c)
	a.up()
}

// TestWhatStandsStillStays: nobody's Deployment is resumed, and nobody's is scaled up.
func TestWhatStandsStillStays(t *testing.T) {
	t.Run("scaled to 0", func(t *testing.T) {
		a := deploy(t, 0, nil)
		a.write(a.change("aaaa", 1, "PB_A", "1"))
		a.up()
		if n := at(a.must("GET", a.apps("deployments")+"/web", "", nil), "spec", "replicas"); n != 0.0 {
			t.Errorf("it has %v replicas", n)
		}
		// Whoever scales it up finds the settings.
		a.must("PATCH", a.apps("deployments")+"/web", merging, object{"spec": object{"replicas": 1}})
		a.up()
		a.reads(1, "PB_A", "1")
	})
	t.Run("paused", func(t *testing.T) {
		a := deploy(t, 1, nil)
		a.must("PATCH", a.apps("deployments")+"/web?fieldManager=kubectl-rollout", merging, object{"spec": object{"paused": true}})
		before, _ := a.content()
		c := a.change("aaaa", 1, "PB_A", "1")
		if err := a.s.CheckChange(bounded(t), c); patchbay.CodeOf(err) != patchbay.NotSupported || !strings.Contains(patchbay.AsError(err).Fix, "rollout resume") {
			t.Errorf("CheckChange = %v", err)
		}
		a.up() // its pods have what the template says
		// It was paused after the plan.
		now, err := a.s.ReadSettings(bounded(t))
		if err != nil {
			t.Fatal(err)
		}
		a.before = now
		if _, err := a.s.WriteSettings(bounded(t), c, now.Version); err != nil {
			t.Fatal(err)
		}
		if err := a.s.Restart(bounded(t)); patchbay.CodeOf(err) != patchbay.RestartFailed || !strings.Contains(err.Error(), "paused") {
			t.Errorf("Restart = %v", err)
		}
		a.restore(c)
		a.up()
		a.same(before, "after it is taken back")
	})
}

// TestOthersRedeploysKeepTheConnection: Argo CD and Flux apply what they have in git,
// with or without a connection in it.
func TestOthersRedeploysKeepTheConnection(t *testing.T) {
	a := deploy(t, 1, nil)
	a.write(a.change("aaaa", 1, "PB_A", "1"))
	a.up()
	theirs := deployment(1, object{"env": []any{object{"name": "THEIRS", "value": "2"}, object{"name": "MORE", "value": "3"}}})
	for name, apply := range map[string]func(){
		"server-side": func() {
			a.must("PATCH", a.apps("deployments")+"/web?fieldManager=flux&force=true", applying, theirs)
		},
		"client-side": func() {
			in, _ := json.Marshal(theirs)
			if out, err := a.cluster.KubectlIn(string(in), "-n", a.namespace, "apply", "-f", "-"); err != nil {
				t.Fatal(out, err)
			}
		},
	} {
		apply()
		a.up()
		for name, value := range map[string]string{"PB_A": "1", "THEIRS": "2", "MORE": "3"} {
			a.reads(1, name, value)
		}
		if t.Failed() {
			t.Fatalf("after their apply, %s", name)
		}
	}
}

// TestANameOfSomebodyElseIsRefused, by the name of whoever has it, and nothing is
// written over.
func TestANameOfSomebodyElseIsRefused(t *testing.T) {
	a := deploy(t, 0, nil)
	before, _ := a.content()
	c := a.change("aaaa", 1, "PB_A", "1", "THEIRS", "canary-ours")
	now, err := a.s.ReadSettings(bounded(t))
	if err != nil || now.Settings["THEIRS"].Reveal() != "1" {
		t.Fatalf("ReadSettings = %v, %v", now.Settings, err)
	}
	_, writeErr := a.s.WriteSettings(bounded(t), c, now.Version)
	for _, err := range []error{a.s.CheckChange(bounded(t), c), writeErr} {
		if patchbay.CodeOf(err) != patchbay.Conflict || !strings.Contains(err.Error(), "argocd-controller") {
			t.Errorf("a name of somebody else's: %v", err)
		}
	}
	a.same(before, "after what was refused")
}

// TestAnEditIsRepaired: an entry of ours that kubectl set env gave a value is ours
// again when it is written again, and nobody's when it is deleted.
func TestAnEditIsRepaired(t *testing.T) {
	a := deploy(t, 0, nil)
	before, _ := a.content()
	c := a.change("aaaa", 1, "PB_A", "1", "PB_B", "2")
	a.write(c)
	written, _ := a.content()
	if err := a.set("PB_A", "edited"); err != nil {
		t.Fatal(err)
	}
	a.write(c)
	a.same(written, "after it is repaired")
	last := driver.Change{Mark: c.Mark, Name: c.Name, Had: c.Set}
	a.write(last)
	a.release(last)
	a.same(before, "after the delete")
}

// TestRotationUnderAClient: at no moment of the rollouts is there nobody who serves,
// and nobody serves without settings.
func TestRotationUnderAClient(t *testing.T) {
	a := deploy(t, 2, nil)
	c := a.change("aaaa", 1, "PB_A", "1")
	a.write(c)
	a.up()
	a.must("POST", a.core("services"), "", object{"metadata": object{"name": "web"}, "spec": object{"selector": object{"app": "web"}, "ports": []any{object{"port": 80, "targetPort": 8080}}}})
	done, result := make(chan struct{}), make(chan error, 1)
	served := 0
	go func() {
		client := a.cluster.Service(a.namespace, "web")
		for {
			select {
			case <-done:
				result <- nil
				return
			default:
			}
			answer, err := client.Get("http://web/env")
			if err != nil {
				result <- err
				return
			}
			var all map[string]string
			err = json.NewDecoder(answer.Body).Decode(&all)
			_ = answer.Body.Close()
			if err != nil || answer.StatusCode != http.StatusOK || all["PB_A"] == "" {
				result <- fmt.Errorf("%s: %q: %w", answer.Status, all, errors.Join(errors.New("not its settings"), err))
				return
			}
			served++
		}
	}()
	for generation := int64(2); generation <= 4; generation++ {
		next := a.change("aaaa", generation, "PB_A", fmt.Sprint(generation))
		next.Had = c.Set
		a.write(next)
		a.up()
		a.release(next)
		c = next
	}
	close(done)
	if err := <-result; err != nil {
		t.Errorf("after %d answers: %v", served, err)
	}
	if served < 100 {
		t.Errorf("only %d requests were answered", served)
	}
	a.reads(2, "PB_A", "4")
}

// TestByHand: what docs/sources.md says takes a connection out without Patchbay.
func TestByHand(t *testing.T) {
	a := deploy(t, 0, nil)
	before, _ := a.content()
	a.write(a.change("aaaa", 1, "PB_A", "1"))
	in := fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","namespace":%q}}`, a.namespace)
	if out, err := a.cluster.KubectlIn(in, "apply", "--server-side", "--field-manager=patchbay.dev/aaaa", "-f", "-"); err != nil {
		t.Fatal(out, err)
	}
	if out, err := a.cluster.Kubectl("-n", a.namespace, "delete", "secret", "-l", "patchbay.dev/connection=aaaa"); err != nil {
		t.Fatal(out, err)
	}
	a.same(before, "after it is taken out by hand")
}

// TestWhatOthersScaleStaysScaled, whatever is written and taken back meanwhile.
func TestWhatOthersScaleStaysScaled(t *testing.T) {
	a := deploy(t, 1, nil)
	c := a.change("aaaa", 1, "PB_A", "1")
	a.write(c)
	a.must("PATCH", a.apps("deployments")+"/web/scale?fieldManager=autoscaler", merging, object{"spec": object{"replicas": 2}})
	a.up()
	a.reads(2, "PB_A", "1")
	a.restore(c)
	a.up()
	a.reads(2, "PB_A", "")
}

// TestARemovedSecretIsMadeAgain: somebody who cleans up does not end the connection.
func TestARemovedSecretIsMadeAgain(t *testing.T) {
	a := deploy(t, 0, nil)
	c := a.change("aaaa", 1, "PB_A", "1")
	a.write(c)
	before, _ := a.content()
	a.must("DELETE", a.core("secrets")+"/patchbay-aaaa-g1", "", nil)
	if now, err := a.s.ReadSettings(bounded(t)); err != nil || len(now.Settings) != 1 {
		t.Errorf("without its Secret a workload has %v, %v", now.Settings, err)
	}
	a.write(c)
	a.same(before, "after it is written again")
	// One that is there under the name of the next generation is nobody's to take.
	a.must("POST", a.core("secrets"), "", object{"metadata": object{"name": "patchbay-aaaa-g2"}})
	next := a.change("aaaa", 2, "PB_A", "2")
	if err := a.s.CheckChange(bounded(t), next); patchbay.CodeOf(err) != patchbay.NotOurs {
		t.Errorf("CheckChange with a Secret of somebody else's = %v", err)
	}
}
