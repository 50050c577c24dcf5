package connector

import (
	"context"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/saga"
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
	w.register(patchbay.Resource{ID: db, Kind: "some", Location: "here"}, driver.Secrets{"password": patchbay.NewSecret("admin's")})
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
		"another kind":       func(r *patchbay.Resource) { r.Kind = "elsewhere" },
		"no kind":            func(r *patchbay.Resource) { r.Kind = "" },
		"another location":   func(r *patchbay.Resource) { r.Location = "westeurope" },
		"another driver":     func(r *patchbay.Resource) { r.Driver = "away" },
	} {
		if e := patchbay.AsError(put(c, change, nil)); e == nil || e.Code != patchbay.Forbidden || e.Fix == "" {
			t.Errorf("%s: %v", name, e)
		}
	}
	for name, change := range map[string]func(*patchbay.Resource){
		"a tag":                     func(r *patchbay.Resource) { r.Tags = map[string]string{"a": "b"} },
		"nothing":                   func(*patchbay.Resource) {},
		"not a word of where it is": func(r *patchbay.Resource) { r.Driver, r.Location = "", "" },
	} {
		if err := put(c, change, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := put(c, elsewhere, driver.Secrets{"password": patchbay.NewSecret("another's")}); err != nil {
		t.Errorf("with a credential: %v", err)
	}
	if err := put(w.caller, func(r *patchbay.Resource) { r.Endpoint = "moved:5432" }, nil); err != nil {
		t.Errorf("who is trusted with the server: %v", err)
	}
}

// What is told of a resource, and what may be done to it, is decided from what
// was found: that must be what is replaced.
func TestAResourceIsReplacedOnlyAsItWasFound(t *testing.T) {
	w := newWorld(t)
	db := w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db"
	ours := driver.Secrets{"password": patchbay.NewSecret("admin's")}
	for name, meanwhile := range map[string]func() error{
		"it is moved": func() error {
			_, _, _, err := w.PutResource(t.Context(), ResourceRequest{Resource: patchbay.Resource{ID: db, Endpoint: "moved:5432"}, Admin: ours, Caller: w.caller, NoCheck: true})
			return err
		},
		"it is removed": func() error { return w.DeleteResource(t.Context(), db, "") },
	} {
		w.register(patchbay.Resource{ID: db, Endpoint: "first:5432"}, ours)
		once := sync.OnceValue(meanwhile)
		c := refusing(ActionHost, patchbay.Errorf(patchbay.Forbidden, "ann may not do that"))
		w.records = raced{w.records, once}
		r, _, _, err := w.PutResource(t.Context(), ResourceRequest{Resource: patchbay.Resource{ID: db, Endpoint: "first:5432"}, Caller: c, NoCheck: true})
		w.records = w.records.(raced).Records
		if name == "it is moved" && patchbay.CodeOf(err) != patchbay.Forbidden {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		if now, _ := w.Resource(t.Context(), db); name == "it is removed" && len(now.Admin) > 0 {
			t.Errorf("%s: it is there again, with the credential that it had", name)
		}
	}
}

func TestAResourceThatIsNotTheOneThatWasReadStays(t *testing.T) {
	w := newWorld(t)
	db := w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db"
	before, err := w.Resource(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id      patchbay.ID
		ifMatch string
		code    patchbay.Code
	}{
		{db, `"another"`, patchbay.PreconditionFailed},
		{db, saga.Absent, patchbay.PreconditionFailed},
		{db + "2", "*", patchbay.PreconditionFailed},
		{db, before.ETag, ""},
		{db, "*", ""},
		{db + "2", saga.Absent, ""},
	} {
		r := patchbay.Resource{ID: c.id, Endpoint: "moved:5432"}
		_, _, _, err := w.PutResource(t.Context(), ResourceRequest{Resource: r, Caller: w.caller, NoCheck: true, IfMatch: c.ifMatch})
		if patchbay.CodeOf(err) != c.code {
			t.Errorf("If-Match %s of %s = %v", c.ifMatch, c.id.Name(), err)
		}
		if now, _ := w.Resource(t.Context(), c.id); (now.Endpoint == "") != (err != nil) {
			t.Errorf("If-Match %s of %s: it is at %q", c.ifMatch, c.id.Name(), now.Endpoint)
		}
	}
}

// Nobody else would close what is open of a resource that is gone.
func TestWhatIsOpenOfAResourceIsClosedWithIt(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.want(w.end(w.Delete(t.Context(), w.linker, w.caller, "")), patchbay.Done, "")
	for _, c := range []struct {
		id     patchbay.ID
		closed *closing
	}{
		{w.spec().Target.ID.Parent(), &w.broker.closing}, {w.app.id, &w.app.closing},
	} {
		closed := c.closed.next()
		if err := w.DeleteResource(t.Context(), c.id, ""); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		select {
		case <-closed:
		case <-ctx.Done():
			t.Errorf("%s stays open", c.id.Name())
		}
	}
}

// raced are records in which something else is written right before a
// resource is.
type raced struct {
	Records
	meanwhile func() error
}

func (o raced) PutResource(ctx context.Context, r patchbay.Resource, ifMatch string) error {
	if r.Endpoint == "first:5432" {
		if err := o.meanwhile(); err != nil {
			return err
		}
	}
	return o.Records.PutResource(ctx, r, ifMatch)
}
