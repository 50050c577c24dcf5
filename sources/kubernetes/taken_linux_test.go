package kubernetes

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// theirs are entries of somebody's manifest, with a name that a connection takes over
// between two others.
func theirs(value string) object {
	return object{"env": []any{
		object{"name": "FIRST", "value": "1"}, object{"name": "APP_PASSWORD", "value": value}, object{"name": "SEES", "value": "<$(APP_PASSWORD)>"},
	}}
}

// manifest is applied as its manager does it, by the client's merge or the server's.
func (e *eyes) manifest(serverSide, force bool, container object) (int, error) {
	d := deployment(1, container)
	if !serverSide {
		d["metadata"] = object{"name": "web", "namespace": e.namespace}
		_, err := e.cluster.KubectlIn(string(marshal(d)), "apply", "-f", "-")
		return 0, err
	}
	status, _, err := e.do("PATCH", e.apps("deployments")+fmt.Sprintf("/web?fieldManager=flux&force=%t", force), applying, d)
	return status, err
}

func taking(a *app, uid string, generation int64, settings ...string) driver.Change {
	c := a.change(uid, generation, settings...)
	c.Back = []patchbay.Setting{{Name: "APP_PASSWORD", Value: patchbay.NewSecret("theirs $(FIRST)"), Secret: true}}
	return c
}

// TestATakenNameComesBack, with its value, its place and its managers, when the
// connection goes, when its making is undone, and when it is not wanted any more; pods
// read the connection's meanwhile, and no template shows it.
func TestATakenNameComesBack(t *testing.T) {
	for _, serverSide := range []bool{false, true} {
		t.Run(fmt.Sprintf("serverSide=%t", serverSide), func(t *testing.T) {
			e := newEyes(t)
			if _, err := e.manifest(serverSide, false, theirs("theirs $(FIRST)")); err != nil {
				t.Fatal(err)
			}
			a := &app{eyes: e, s: e.open(nil), id: e.id()}
			a.up()
			a.reads(1, "APP_PASSWORD", "theirs 1")
			before, _ := a.content()

			first := taking(a, "aaaa", 1, "APP_PASSWORD", "canary-1", "PB_A", "1")
			a.write(first)
			a.up()
			a.reads(1, "APP_PASSWORD", "canary-1")
			a.reads(1, "SEES", "<canary-1>")
			if now := string(marshal(e.must("GET", e.apps("deployments")+"/web", "", nil))); strings.Contains(now, "canary") {
				t.Error("the template shows the secret")
			}
			now, err := a.s.ReadSettings(bounded(t))
			if err != nil || now.Settings["APP_PASSWORD"].Reveal() != "canary-1" || len(now.Settings) != 4 {
				t.Errorf("ReadSettings = %v, %v", now.Settings, err)
			}
			a.restore(first)
			a.same(before, "after an undo")

			a.write(first)
			second := taking(a, "aaaa", 2, "APP_PASSWORD", "canary-2", "PB_A", "2")
			second.Had = first.Set
			one, _ := a.content()
			a.write(second)
			a.up()
			a.reads(1, "APP_PASSWORD", "canary-2")
			a.restore(second)
			a.same(one, "after the undo of a rotation")
			a.write(second)
			a.release(second)
			two, _ := a.content()

			// An update that wants the name no more, and its undo.
			less := taking(a, "aaaa", 2, "PB_A", "2")
			less.Had = second.Set
			a.write(less)
			a.up()
			a.reads(1, "APP_PASSWORD", "theirs 1")
			a.restore(less)
			a.same(two, "after the undo of an update")

			last := driver.Change{Mark: second.Mark, Name: second.Name, Had: second.Set, Back: second.Back}
			a.write(last)
			a.restore(last)
			a.same(two, "after the undo of a delete")
			a.write(last)
			a.release(last)
			a.same(before, "after the delete")
			a.up()
			a.reads(1, "APP_PASSWORD", "theirs 1")
		})
	}
}

// TestATakenNameUnderItsManagersApply: whoever has it in a manifest is told who has it
// now, or has it again; and never meets a template that Kubernetes refuses.
func TestATakenNameUnderItsManagersApply(t *testing.T) {
	for _, serverSide := range []bool{false, true} {
		t.Run(fmt.Sprintf("serverSide=%t", serverSide), func(t *testing.T) {
			e := newEyes(t)
			if _, err := e.manifest(serverSide, false, theirs("theirs $(FIRST)")); err != nil {
				t.Fatal(err)
			}
			a := &app{eyes: e, s: e.open(nil), id: e.id()}
			c := taking(a, "aaaa", 1, "APP_PASSWORD", "canary-1", "PB_A", "1")
			a.write(c)
			a.release(c)
			if serverSide {
				if status, err := e.manifest(true, false, theirs("theirs $(FIRST)")); status != http.StatusConflict || !strings.Contains(fmt.Sprint(err), "patchbay.dev/aaaa") {
					t.Errorf("their apply = %d, %v", status, err)
				}
			}
			if _, err := e.manifest(serverSide, true, theirs("theirs, another")); err != nil {
				t.Fatalf("their apply by force: %v", err)
			}
			now, err := a.s.ReadSettings(bounded(t))
			if err != nil || now.Settings["APP_PASSWORD"].Reveal() != "theirs, another" || now.Settings["PB_A"].Reveal() != "1" {
				t.Errorf("ReadSettings after their apply = %v, %v", now.Settings, err)
			}
			a.up()
			a.reads(1, "APP_PASSWORD", "theirs, another")

			// A repair has it again, and a delete leaves what they have.
			a.write(c)
			a.up()
			a.reads(1, "APP_PASSWORD", "canary-1")
			if _, err := e.manifest(serverSide, true, theirs("theirs, another")); err != nil {
				t.Fatal(err)
			}
			last := driver.Change{Mark: c.Mark, Name: c.Name, Had: c.Set, Back: c.Back}
			a.write(last)
			a.release(last)
			a.up()
			a.reads(1, "APP_PASSWORD", "theirs, another")
			if o := e.must("GET", e.apps("deployments")+"/web", "", nil); strings.Contains(string(marshal(o)), "aaaa") {
				t.Error("something of ours is left")
			}
		})
	}
}

// TestWhatIsNotTakenOver: an entry with a reference in it is refused, with the reason;
// and one that its manager takes out of the manifest meanwhile is not brought back.
func TestWhatIsNotTakenOver(t *testing.T) {
	e := newEyes(t)
	reference := object{"env": []any{object{"name": "APP_PASSWORD", "valueFrom": object{"fieldRef": object{"fieldPath": "metadata.name"}}}}}
	if _, err := e.manifest(true, false, reference); err != nil {
		t.Fatal(err)
	}
	a := &app{eyes: e, s: e.open(nil), id: e.id()}
	before, _ := a.content()
	c := taking(a, "aaaa", 1, "APP_PASSWORD", "canary-1")
	if err := a.s.CheckChange(bounded(t), c); patchbay.CodeOf(err) != patchbay.Conflict || !strings.Contains(err.Error(), "valueFrom") || !strings.Contains(err.Error(), "flux") {
		t.Errorf("an entry with a reference: %v", err)
	}
	a.same(before, "after what was refused")

	if _, err := e.manifest(true, true, theirs("theirs")); err != nil {
		t.Fatal(err)
	}
	a.write(c)
	without := object{"env": []any{object{"name": "FIRST", "value": "1"}}}
	if _, err := e.manifest(true, false, without); err != nil {
		t.Fatalf("their apply without the name: %v", err)
	}
	last := driver.Change{Mark: c.Mark, Name: c.Name, Had: c.Set, Back: c.Back}
	a.write(last)
	a.release(last)
	if now, err := a.s.ReadSettings(bounded(t)); err != nil || len(now.Settings) != 1 {
		t.Errorf("after the delete there is %v, %v", now.Settings, err)
	}
}
