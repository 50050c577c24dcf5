package connector

import (
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// A source's files and its reload command are the server's machine's own: who
// may register a target may not register that.
func TestASourceOnTheServersMachineNeedsARightOfItsOwn(t *testing.T) {
	w := newWorld(t)
	c := refusing(ActionHost, patchbay.Errorf(patchbay.Forbidden, "ann may not do that"))
	for name, id := range map[string]patchbay.ID{
		"a new source":           w.group + "/providers/Microsoft.Web/sites/another",
		"one that is there":      w.group + "/providers/Microsoft.Web/sites/web",
		"by its driver's name":   w.group + "/providers/Microsoft.App/containerApps/another",
		"by another type's name": w.group + "/providers/Patchbay.Services/anything/another",
	} {
		r := patchbay.Resource{ID: id}
		if name != "a new source" && name != "one that is there" {
			r.Driver = "memoryApp"
		}
		_, _, _, err := w.PutResource(t.Context(), ResourceRequest{Resource: r, Caller: c})
		if code := patchbay.CodeOf(err); code != patchbay.Forbidden && code != patchbay.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
		if old, err := w.Resource(t.Context(), id); err == nil && name != "one that is there" {
			t.Errorf("%s: %+v is registered", name, old)
		}
	}
	if _, _, _, err := w.PutResource(t.Context(), ResourceRequest{
		Resource: patchbay.Resource{ID: w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/another"}, Caller: c,
		Admin: driver.Secrets{"password": patchbay.NewSecret("admin's")},
	}); err != nil {
		t.Errorf("a target: %v", err)
	}
}

// Who may change a target could otherwise read its admin credential where they
// point it.
func TestAStoredAdminCredentialIsNotTakenElsewhere(t *testing.T) {
	w := newWorld(t)
	c := refusing(ActionHost, patchbay.Errorf(patchbay.Forbidden, "ann may not do that"))
	db := w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db"
	put := func(c Caller, change func(*patchbay.Resource), admin driver.Secrets) error {
		r, err := w.Resource(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		change(&r)
		_, _, _, err = w.PutResource(t.Context(), ResourceRequest{Resource: r, Caller: c, Admin: admin, NoCheck: true})
		return err
	}
	elsewhere := func(r *patchbay.Resource) { r.Endpoint = "evil.example:5432" }
	for name, change := range map[string]func(*patchbay.Resource){
		"another endpoint":   elsewhere,
		"other properties":   func(r *patchbay.Resource) { r.Properties = []byte(`{"sslmode":"disable"}`) },
		"a shorter endpoint": func(r *patchbay.Resource) { r.Endpoint = "x" },
	} {
		if e := patchbay.AsError(put(c, change, nil)); e == nil || e.Code != patchbay.Forbidden || e.Fix == "" {
			t.Errorf("%s: %v", name, e)
		}
	}
	if err := put(c, func(r *patchbay.Resource) { r.Tags = map[string]string{"a": "b"} }, nil); err != nil {
		t.Errorf("a tag: %v", err)
	}
	if err := put(c, elsewhere, driver.Secrets{"password": patchbay.NewSecret("another's")}); err != nil {
		t.Errorf("with a credential: %v", err)
	}
	if err := put(w.caller, func(r *patchbay.Resource) { r.Endpoint = "moved:5432" }, nil); err != nil {
		t.Errorf("who is trusted with the server: %v", err)
	}
}
