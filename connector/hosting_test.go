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
