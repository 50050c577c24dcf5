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

// What a client type's libraries read otherwise is said, of a create and of a fix;
// a record of an earlier release has no client type beside what was written.
func TestWhatIsWrittenIsForTheClientType(t *testing.T) {
	const secret = "it's $HOME"
	w := newFileWorld(t)
	w.broker.passwords["dba"] = secret
	env := filepath.Join(t.TempDir(), "env")
	w.linker = w.register(patchbay.Resource{ID: w.group + "/providers/Microsoft.Web/sites/web", Endpoint: env}, nil).Linker("orders")
	spec := w.given("dba", secret)
	spec.Client = "nodejs"
	op := w.put(spec)
	w.want(op, patchbay.Done, "")
	said := func(op patchbay.Operation) bool {
		return strings.Contains(op.Message, "AZURE_POSTGRESQL_PASSWORD holds what some read otherwise") && strings.Contains(op.Message, "dotenv-expand") && !strings.Contains(op.Message, secret)
	}
	if !said(op) {
		t.Errorf("the create says %q", op.Message)
	}
	written := func() string {
		t.Helper()
		text, err := os.ReadFile(env)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if before := written(); !strings.Contains(before, `AZURE_POSTGRESQL_PASSWORD="it's $HOME"`+"\n") {
		t.Errorf("the file has\n%s", before)
	}
	spec = w.given("dba", secret)
	spec.Client = "php"
	if op := w.put(spec); op.State != patchbay.Done || strings.Contains(op.Message, "otherwise") {
		t.Errorf("for php: %+v", op)
	}
	if after := written(); !strings.Contains(after, ` password='it\\'s \$HOME'"`+"\n") {
		t.Errorf("the file has\n%s", after)
	}
}

// A value that somebody else may have written stays, and whoever deletes is told.
func TestADeleteSaysWhichSecretStays(t *testing.T) {
	w := newFileWorld(t)
	env := filepath.Join(t.TempDir(), "env")
	w.linker = w.register(patchbay.Resource{ID: w.group + "/providers/Microsoft.Web/sites/web", Endpoint: env}, nil).Linker("orders")
	w.want(w.put(w.spec()), patchbay.Done, "")
	before, err := os.ReadFile(env)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(env, append(before, key+"='theirs, or an old one'\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	op := w.end(w.Delete(t.Context(), w.linker, w.caller, ""))
	w.want(op, patchbay.Done, "")
	if !strings.HasPrefix(op.Message, key+" stays on web") || strings.Contains(op.Message, "theirs") {
		t.Errorf("the delete says %q", op.Message)
	}
	if after, err := os.ReadFile(env); err != nil || string(after) != key+"='theirs, or an old one'\n" {
		t.Errorf("the file has %q, %v", after, err)
	}
}
