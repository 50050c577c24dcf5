package connector

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// machine is a host of its own, which is only told apart.
type machine struct {
	hosts.Host
	endpoint string
	found    []patchbay.Finding
	fault    func() error
	open     *atomic.Int32
}

func (m *machine) Check(context.Context) ([]patchbay.Finding, error) { return m.found, m.fault() }

func (m *machine) Close() error {
	m.open.Add(-1)
	return nil
}

// newHostWorld is a world with a host db1; where gives the endpoint of the host that
// the source was opened on last.
func newHostWorld(t *testing.T) (w *world, host patchbay.ID, where func() string, open *atomic.Int32) {
	w = newWorld(t)
	open = &atomic.Int32{}
	var last atomic.Pointer[string]
	w.machines = map[string]driver.HostDriver{"elsewhere": {
		Driver: patchbay.Driver{Name: "elsewhere", Types: []string{"Patchbay.Services/hosts"}},
		Open: func(_ context.Context, c driver.Config) (hosts.Remote, error) {
			open.Add(1)
			return &machine{endpoint: c.Endpoint, open: open, fault: func() error { return w.fault }, found: []patchbay.Finding{{What: "sign in", OK: true}, {What: "sudo", Problem: "it is refused", Fix: "visudo"}}}, nil
		},
	}}
	w.open = func(_ context.Context, c driver.Config) (driver.Source, error) {
		at := "the server's own"
		if m, ok := c.Host.(*machine); ok {
			at = m.endpoint
		}
		last.Store(&at)
		return w.app, nil
	}
	w.restart()
	host = w.register(patchbay.Resource{ID: w.group + "/providers/Patchbay.Services/hosts/db1", Endpoint: "10.0.0.1:22"}, nil)
	return w, host, func() string { return *last.Load() }, open
}

func onHost(id patchbay.ID) json.RawMessage { return json.RawMessage(fmt.Sprintf(`{"host":%q}`, id)) }

func TestASourceIsOpenedOnItsHost(t *testing.T) {
	w, host, where, open := newHostWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	if where() != "the server's own" {
		t.Errorf("a source that names no host is on %s", where())
	}
	w.register(patchbay.Resource{ID: w.app.id, Properties: onHost(host)}, nil)
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.validated(false)
	if where() != "10.0.0.1:22" {
		t.Errorf("it is on %s", where())
	}
	// Another address of the machine is another way to the source.
	w.register(patchbay.Resource{ID: host, Endpoint: "10.0.0.2:22"}, nil)
	w.validated(false)
	if where() != "10.0.0.2:22" {
		t.Errorf("after the host's registration has changed, it is on %s", where())
	}
	err := w.DeleteResource(t.Context(), host, "")
	if e := patchbay.AsError(err); e == nil || e.Code != patchbay.Conflict || !strings.Contains(e.Message, "web") {
		t.Errorf("a host is removed from under its source: %v", err)
	}
	w.register(patchbay.Resource{ID: w.app.id}, nil)
	if err := w.DeleteResource(t.Context(), host, ""); err != nil {
		t.Error(err)
	}
	w.validated(false)
	w.Close()
	if n := open.Load(); n != 0 {
		t.Errorf("%d connections to hosts are still open", n)
	}
}

func TestAHostThatIsNoneIsRefused(t *testing.T) {
	w, host, _, _ := newHostWorld(t)
	for id, code := range map[patchbay.ID]patchbay.Code{
		w.group + "/providers/Patchbay.Services/hosts/db2":                  patchbay.SourceNotFound,
		w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db": patchbay.InvalidArgument,
	} {
		_, _, _, err := w.PutResource(t.Context(), ResourceRequest{Resource: patchbay.Resource{ID: w.app.id, Properties: onHost(id)}, Caller: w.caller})
		if e := patchbay.AsError(err); e == nil || e.Code != code || e.Fix == "" {
			t.Errorf("a source on %s: %v", id, err)
		}
	}
	// The right is asked at the host.
	asked := patchbay.ID("")
	who := w.caller
	who.Allow = func(_ context.Context, action string, scope patchbay.ID) error {
		if action == ActionHost {
			asked = scope
			return patchbay.Errorf(patchbay.Forbidden, "not there")
		}
		return nil
	}
	_, _, _, err := w.PutResource(t.Context(), ResourceRequest{Resource: patchbay.Resource{ID: w.app.id, Properties: onHost(host)}, Caller: who})
	if patchbay.CodeOf(err) != patchbay.Forbidden || !asked.Equal(host) {
		t.Errorf("asked at %s: %v", asked, err)
	}
	if _, err := w.CheckHost(t.Context(), host, who); patchbay.CodeOf(err) != patchbay.Forbidden {
		t.Errorf("who may not use it checks it: %v", err)
	}
}

func TestAHostSaysWhatIsMissing(t *testing.T) {
	w, host, _, _ := newHostWorld(t)
	found, err := w.CheckHost(t.Context(), host, w.caller)
	if err != nil || len(found) != 2 || found[0].OK == found[1].OK {
		t.Errorf("%+v, %v", found, err)
	}
	_, _, warnings, err := w.PutResource(t.Context(), ResourceRequest{Resource: patchbay.Resource{ID: host, Endpoint: "10.0.0.1:22"}, Caller: w.caller})
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "patchbay host check db1") {
		t.Errorf("%q, %v", warnings, err)
	}
	if _, err := w.CheckHost(t.Context(), w.app.id, w.caller); patchbay.CodeOf(err) != patchbay.NotSupported {
		t.Errorf("a source is checked as a host: %v", err)
	}
}

// Whoever may move a host, or make it another thing, has the settings of every source
// on it.
func TestAHostIsRegisteredByWhoMayUseIt(t *testing.T) {
	w, host, _, _ := newHostWorld(t)
	w.register(patchbay.Resource{ID: w.app.id, Properties: onHost(host)}, nil)
	c := refusing(ActionHost, patchbay.Errorf(patchbay.Forbidden, "ann may not do that"))
	for _, id := range []patchbay.ID{host, w.group + "/providers/Patchbay.Services/hosts/db2"} {
		_, _, _, err := w.PutResource(t.Context(), ResourceRequest{Resource: patchbay.Resource{ID: id, Endpoint: "10.6.6.6:22"}, Caller: c, NoCheck: true})
		if patchbay.CodeOf(err) != patchbay.Forbidden {
			t.Errorf("%s is registered by who may not use it: %v", id.Name(), err)
		}
	}
	err := w.Service.mayBecome(t.Context(), patchbay.Resource{ID: host, Driver: "elsewhere"}, patchbay.Resource{ID: host, Driver: "memoryApp"})
	if patchbay.CodeOf(err) != patchbay.Conflict {
		t.Errorf("a host becomes something else under its source: %v", err)
	}
}

// A machine that can't be asked was connected to all the same: that is on record.
func TestAHostThatIsAskedIsOnRecord(t *testing.T) {
	w, host, _, _ := newHostWorld(t)
	var told []patchbay.AuditEntry
	who := w.caller
	who.Tell = func(_ context.Context, e patchbay.AuditEntry) error {
		told = append(told, e)
		return nil
	}
	if _, err := w.CheckHost(t.Context(), host, who); err != nil || len(told) != 1 || told[0].Result != "" || told[0].Resource != host {
		t.Errorf("%+v, %v", told, err)
	}
	w.fault = patchbay.Errorf(patchbay.CertificateInvalid, "it presents a key that nobody has named").WithFix("--host-key KEY")
	if _, err := w.CheckHost(t.Context(), host, who); patchbay.CodeOf(err) != patchbay.CertificateInvalid || len(told) != 2 || told[1].Code != patchbay.CertificateInvalid {
		t.Errorf("%+v, %v", told, err)
	}
	_, _, _, err := w.PutResource(t.Context(), ResourceRequest{Resource: patchbay.Resource{ID: host, Endpoint: "10.0.0.9:22"}, Caller: who})
	if e := patchbay.AsError(err); e == nil || e.Fix != "--host-key KEY" || len(told) != 3 || told[2].Result != patchbay.AuditFailed {
		t.Errorf("%+v, %v", told, err)
	}
	if r, err := w.Resource(t.Context(), host); err != nil || r.Endpoint != "10.0.0.1:22" {
		t.Errorf("a host that is refused is registered all the same: %+v, %v", r, err)
	}
}
