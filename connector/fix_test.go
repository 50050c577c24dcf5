package connector

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

// A copy of what the connection wrote is the connection's too, wherever a merge put it.
func TestAFixLeavesEachSettingOnce(t *testing.T) {
	w := newFileWorld(t)
	env := filepath.Join(t.TempDir(), "env")
	w.linker = w.register(patchbay.Resource{ID: w.group + "/providers/Microsoft.Web/sites/web", Endpoint: env}, nil).Linker("orders")
	w.want(w.put(w.spec()), patchbay.Done, "")
	before, err := os.ReadFile(env)
	if err != nil {
		t.Fatal(err)
	}
	mark, line, _ := strings.Cut(string(before), "\n")
	if err := os.WriteFile(env, []byte(line+mark+"\n"+key+"='somebody has edited it'\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := w.validated(true); !slices.Equal(r.Fixed, []string{stepSettings}) {
		t.Errorf("fixed %v: %+v", r.Fixed, r.Checks)
	}
	if now, err := os.ReadFile(env); err != nil || string(now) != string(before) {
		t.Errorf("the file has\n%s, %v; had\n%s", now, err, before)
	}
}

// A restart that is left over is told to whose change it was for.
func TestTheFailedRestartOfAnotherConnectionIsNotAFinding(t *testing.T) {
	w := newWorld(t)
	mine := w.linker
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.linker = w.app.id.Linker("beside")
	w.want(w.put(w.spec()), patchbay.Done, "")
	reader := w.spec()
	reader.Access = patchbay.Reader
	w.stuck(reader)
	if c := w.check(patchbay.CheckConfiguration); c.Code != patchbay.RestartFailed {
		t.Errorf("the one that was taken back: %+v", c)
	}
	w.linker = mine
	if c := w.check(patchbay.CheckConfiguration); c.Result != patchbay.Success {
		t.Errorf("the other: %+v", c)
	}
}

// Where somebody edited what was written, it is mended; an update for a target that
// moved would be the wrong advice.
func TestAnEditIsNotTakenForATargetThatMoved(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.app.set(key, strings.Replace(w.app.read()[key], "host=127.0.0.1", "host=elsewhere.example", 1))
	c := w.check(patchbay.CheckAuthentication)
	if c.Result != patchbay.NotChecked || !strings.Contains(c.Message, "points elsewhere: its host") || !strings.HasSuffix(c.Fix, "--fix") {
		t.Errorf("%+v", c)
	}
}

// What a sign-in could not try stops no change, and is no success.
func TestWhatTheProbeCouldNotTryIsNotChecked(t *testing.T) {
	w := newWorld(t)
	w.broker.notTried = []string{"INSERT on a table: app.items is locked by process 7 of migrations"}
	w.want(w.put(w.spec()), patchbay.Done, "")
	c := w.check(patchbay.CheckAuthentication)
	if c.Result != patchbay.NotChecked || !strings.Contains(c.Message, w.broker.notTried[0]) {
		t.Errorf("%+v", c)
	}
	w.broker.notTried = nil
	if c := w.check(patchbay.CheckAuthentication); c.Result != patchbay.Success {
		t.Errorf("when it could: %+v", c)
	}
}
