package connector

import (
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

// A setting of the caller's own is checked before anything happens, filled anew by a
// rotation, looked at by a validation, and goes with the connection.
func TestASettingOfTheCallersOwn(t *testing.T) {
	w := newWorld(t)
	before := w.app.read()
	spec := w.spec()
	spec.Client, spec.Naming = "none", patchbay.NamingOwn
	spec.Settings = map[string]string{"MB_DB_CONNECTION_URI": "postgres://{username}:{pasword:url}@{host:url}:{port}/{database:url}"}
	if _, err := w.Put(t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller}); patchbay.CodeOf(err) != patchbay.InvalidArgument || !strings.Contains(err.Error(), "pasword") {
		t.Fatalf("a value that there is not = %v", err)
	}
	spec.Settings["MB_DB_CONNECTION_URI"] = "postgres://{username}:{password:url}@{host:url}:{port}/{database:url}"
	w.want(w.put(spec), patchbay.Done, "")
	first := w.app.read()
	if uri := first["MB_DB_CONNECTION_URI"]; !strings.HasPrefix(uri, "postgres://pb_") || len(first) != len(before)+1 {
		t.Fatalf("the application has %v", first)
	}
	if r := w.validated(false); !r.Available() {
		t.Errorf("validate: %+v", r.Checks)
	}
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller})), patchbay.Done, "")
	second := w.app.read()["MB_DB_CONNECTION_URI"]
	if second == first["MB_DB_CONNECTION_URI"] || !strings.Contains(second, "_g2:") {
		t.Errorf("after a rotation: %s", second)
	}
	w.app.set("MB_DB_CONNECTION_URI", "postgres://mine")
	if r := w.validated(false); r.Available() {
		t.Error("validate finds nothing of somebody's edit")
	}
	w.want(w.put(spec), patchbay.Done, "")
	spec.Settings["MINE"] = "{host}"
	w.want(w.put(spec), patchbay.Done, "")
	spec.Settings["MINE"] = "" // as a change that is merged takes one away
	w.want(w.put(spec), patchbay.Done, "")
	if _, ok := w.app.read()["MINE"]; ok {
		t.Error("an empty template leaves the setting")
	}
	w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
	if now := w.app.read(); len(now) != len(before) {
		t.Errorf("after the delete: %v", now)
	}

	// A name that is somebody's is not taken, and not made longer either.
	w.app.set("MB_DB_CONNECTION_URI", "postgres://mine")
	op := w.put(spec)
	w.want(op, patchbay.Undone, patchbay.Conflict)
	if !strings.Contains(op.Error.Fix, "--setting") {
		t.Errorf("the fix is %q", op.Error.Fix)
	}
}
