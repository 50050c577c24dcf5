package connector

import (
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

// A name that somebody has is not taken, unless its caller says so; then it comes
// back when the connection goes, or when it has the name no longer.
func TestANameThatIsTakenOverComesBack(t *testing.T) {
	w := newWorld(t)
	w.app.set("PGHOST", "theirs.example")
	w.app.set("PGPORT", "6000")
	before := w.app.read()
	native := w.spec()
	native.Naming, native.Client = patchbay.NamingNative, "none"
	named := native
	named.Configuration = &patchbay.ConfigurationInfo{CustomizedKeys: map[string]string{"PGUSER": "PGHOST"}}
	op := w.put(named)
	w.want(op, patchbay.Undone, patchbay.Conflict)
	if !strings.Contains(op.Error.Fix, "--force") {
		t.Errorf("the fix is %q", op.Error.Fix)
	}
	if now := w.app.read(); len(now) != len(before) || now["PGHOST"] != "theirs.example" {
		t.Fatalf("the application has %v", now)
	}
	native.TakeOver = true
	w.want(w.put(native), patchbay.Done, "")
	if now := w.app.read(); now["PGHOST"] == "theirs.example" || now["PGPORT"] == "6000" {
		t.Errorf("it has not taken them over: %v", now)
	}
	// Whoever does not repeat it has the names all the same, and so has a rotation.
	native.TakeOver = false
	native.Access = patchbay.Reader
	w.want(w.put(native), patchbay.Done, "")
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller})), patchbay.Done, "")
	if now := w.app.read(); now["PGHOST"] == "theirs.example" || now["PGUSER"] == "" {
		t.Errorf("after an update: %v", now)
	}
	// Names of another kind: what was taken over comes back at once.
	azure := w.spec()
	w.want(w.put(azure), patchbay.Done, "")
	if now := w.app.read(); now["PGHOST"] != "theirs.example" || now["PGPORT"] != "6000" || now["PGUSER"] != "" {
		t.Errorf("after it has other names: %v", now)
	}
	native.TakeOver = true
	w.want(w.put(native), patchbay.Done, "")
	w.app.set("PGPORT", "7000") // somebody's edit
	w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
	if now := w.app.read(); now["PGHOST"] != "theirs.example" || now["PGPORT"] != "7000" || now["PGUSER"] != "" || len(now) != len(before) {
		t.Errorf("after the delete: %v", now)
	}
}

// A take-over that fails leaves everything as it was.
func TestATakeOverThatFailsIsUndone(t *testing.T) {
	w := newWorld(t)
	w.app.set("PGHOST", "theirs.example")
	w.app.restartErr = patchbay.Errorf(patchbay.RestartFailed, "it does not come up")
	spec := w.spec()
	spec.Naming, spec.Client, spec.TakeOver = patchbay.NamingNative, "none", true
	w.want(w.put(spec), patchbay.Undone, patchbay.RestartFailed)
	if now := w.app.read(); now["PGHOST"] != "theirs.example" || len(now) != 2 {
		t.Errorf("the application has %v", now)
	}
}

// What another connection has is nobody's to take over.
func TestAnotherConnectionsNameIsNotTakenOver(t *testing.T) {
	w := newWorld(t)
	spec := w.spec()
	spec.Naming, spec.Client = patchbay.NamingNative, "none"
	w.want(w.put(spec), patchbay.Done, "")
	before := w.app.read()
	spec.TakeOver = true
	second := w.app.id.Linker("second")
	w.want(w.end(w.Put(t.Context(), PutRequest{ID: second, Spec: spec, Caller: w.caller})), patchbay.Done, "")
	spec.Configuration = &patchbay.ConfigurationInfo{CustomizedKeys: map[string]string{"PGUSER": "PGUSER"}}
	op := w.end(w.Put(t.Context(), PutRequest{ID: w.app.id.Linker("third"), Spec: spec, Caller: w.caller}))
	w.want(op, patchbay.Undone, patchbay.Conflict)
	if strings.Contains(op.Error.Fix, "--force") {
		t.Errorf("the fix is %q, which does not help", op.Error.Fix)
	}
	for name, value := range before {
		if now := w.app.read()[name]; now != value {
			t.Errorf("%s has become %q", name, now)
		}
	}
}
