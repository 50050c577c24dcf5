package crashtest

import "testing"

// A step that ends the program whenever it is run is run three times: then the
// operation is undone, everything is as it was, and the program stays up.
func TestACrashLoopEndsByItself(t *testing.T) {
	w := newWorld(t, startPostgres(t))
	update := operations[1]
	c := scenario{w.target.name(), update, "", "update/settings/after-do"}
	s := boot(t, w.dir, "", "")
	old := w.prepare(s, update)
	s.kill()
	before := w.source.content()

	s = boot(t, w.dir, c.failpoints(), "")
	status := update.begin(s, w)
	s.eventually("the program dies", s.dead)
	deaths := 1
	var last map[string]any
	for {
		s = boot(t, w.dir, c.failpoints(), "")
		if last = s.settle(); !s.dead() {
			break
		}
		if deaths++; deaths > 3 {
			t.Fatalf("the program has died %d times", deaths)
		}
	}
	failure, _ := last["error"].(map[string]any)
	if deaths != 3 || last["state"] != "undone" || failure["code"] != "StepEndsProcess" {
		t.Errorf("after %d deaths: %v", deaths, last)
	}
	now := w.given(s)
	w.check(s, c, status, last, before, old, now)
	w.audited(s)
	w.cleanUp(s)
	w.silent(append(w.target.secrets(old), w.target.secrets(now)...))
}
