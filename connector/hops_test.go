package connector

import (
	"context"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"patchbay.dev/patchbay"
)

// troubledWay fails as often as it is told to, and then leads there.
type troubledWay struct {
	err  error
	left atomic.Int64
}

func failing(times int64, number syscall.Errno) *troubledWay {
	w := &troubledWay{err: os.NewSyscallError("connect", number)}
	w.left.Store(times)
	return w
}

func (w *troubledWay) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if w.left.Add(-1) >= 0 {
		return nil, w.err
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// wayFound is the only check of the network.
func (w *world) wayFound(from patchbay.Vantage) patchbay.Check {
	w.t.Helper()
	op := w.end(w.Validate(w.t.Context(), ValidateRequest{ID: w.linker, Caller: w.caller, From: from}))
	w.want(op, patchbay.Done, "")
	var all []patchbay.Check
	for _, c := range op.Result.Checks {
		if c.Group == patchbay.CheckNetwork {
			all = append(all, c)
		}
	}
	if len(all) != 1 {
		w.t.Fatalf("%+v", all)
	}
	return all[0]
}

const always = 1 << 30

// What mends a way depends on whether Patchbay guards it.
func TestWhatMendsAWayDependsOnItsGuards(t *testing.T) {
	for _, tt := range []struct {
		name          string
		before, after []string // guards of the target, at the create and now
		want, wantNot string
	}{
		{"none", nil, nil, "let web (10.0.3.7/32) through to db.example:5432", "guards"},
		{"opened", []string{"wall"}, []string{"wall"}, "the guards let web through: take out of the way what else", "update"},
		{"registered since", nil, []string{"wall"}, "patchbay connection update postgres web/orders --client-type go   (it opens the way at the guards of db)", "take out"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.broker.asked = "db.example:5432"
			w.walled(tt.before...)
			w.want(w.put(w.spec()), patchbay.Done, "")
			w.walled(tt.after...)
			w.app.way = failing(always, syscall.ECONNREFUSED)
			c := w.wayFound("")
			if c.Result != patchbay.Failure || c.Code != patchbay.PortClosed || !strings.Contains(c.Message, "the server reaches it, web does not") ||
				!strings.Contains(c.Fix, tt.want) || strings.Contains(c.Fix, tt.wantNot) {
				t.Errorf("%+v", c)
			}
			if c := w.wayFound(patchbay.FromControlPlane); c.Result != patchbay.Success || !strings.Contains(c.Message, "tried from the server") {
				t.Errorf("from the server: %+v", c)
			}
		})
	}
}

// What a moment has mended is no difference between server and source.
func TestAWayThatIsOpenTheSecondTimeIsAWarning(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.app.way = failing(1, syscall.EHOSTUNREACH)
	if c := w.wayFound(""); c.Result != patchbay.Warning || !strings.Contains(c.Message, "tried again, it came through") {
		t.Errorf("%+v", c)
	}
}

// A login that a guard lets in from its source alone says nothing when it is refused
// from elsewhere.
func TestALoginOfOneSourceIsNotTriedFromTheServer(t *testing.T) {
	w := newWorld(t)
	w.walled("hba")
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.broker.failProbe = patchbay.Errorf(patchbay.LoginRefused, "no entry for that address")
	op := w.end(w.Validate(t.Context(), ValidateRequest{ID: w.linker, Caller: w.caller, From: patchbay.FromControlPlane}))
	w.want(op, patchbay.Done, "")
	for _, c := range op.Result.Checks {
		if c.Group == patchbay.CheckAuthentication && (c.Result != patchbay.NotChecked || !strings.Contains(c.Message, "from where web runs alone")) {
			t.Errorf("%+v", c)
		}
	}
	if op.Result.From != patchbay.FromControlPlane {
		t.Errorf("the report is from %q", op.Result.From)
	}
}

// A source that nobody can speak from, or read, keeps nobody from trying it from the
// server.
func TestFromTheServerASourceNeedsNoVantage(t *testing.T) {
	w := newWorld(t)
	w.app.mute = true
	w.want(w.put(w.spec()), patchbay.Done, "")
	for _, c := range w.validated(false).Checks {
		if c.Group == patchbay.CheckNetwork && c.Result != patchbay.NotChecked {
			t.Errorf("%+v", c)
		}
	}
	op := w.end(w.Validate(t.Context(), ValidateRequest{ID: w.linker, Caller: w.caller, From: patchbay.FromControlPlane}))
	w.want(op, patchbay.Done, "")
	for _, c := range op.Result.Checks {
		if c.Result != patchbay.Success {
			t.Errorf("%+v", c)
		}
	}
}

func TestFromWhereAValidationIsTriedIsChecked(t *testing.T) {
	w := newWorld(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	for _, r := range []ValidateRequest{{From: "moon"}, {From: patchbay.FromControlPlane, Fix: true}} {
		r.ID, r.Caller = w.linker, w.caller
		if _, err := w.Validate(t.Context(), r); patchbay.CodeOf(err) != patchbay.InvalidArgument || patchbay.AsError(err).Fix == "" {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// shutTo leads everywhere but to some servers.
type shutTo []string

func (w shutTo) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if slices.Contains(w, address) {
		return nil, os.NewSyscallError("connect", syscall.ECONNREFUSED)
	}
	return everywhere{}.DialContext(ctx, network, address)
}

// TestEachServerOfATargetIsDialed: some that are not reached are a warning that names
// them, and only when none is, the way ends.
func TestEachServerOfATargetIsDialed(t *testing.T) {
	const one, two, three = "db1.example:5432", "db2.example:5432", "db3.example:5432"
	for _, tt := range []struct {
		name string
		shut shutTo
		want []patchbay.CheckResult
		says []string
		not  string
	}{
		{"all are reached", nil, []patchbay.CheckResult{patchbay.Success}, nil, ""},
		{"the first is not", shutTo{one}, []patchbay.CheckResult{patchbay.Warning, patchbay.Success}, []string{"from web: nothing listens on " + one, "2 of 3"}, two},
		{"one alone is", shutTo{one, three}, []patchbay.CheckResult{patchbay.Warning, patchbay.Success}, []string{one, three, "1 of 3"}, two},
		{"none is", shutTo{one, two, three}, []patchbay.CheckResult{patchbay.Failure}, []string{one, two, three, "neither does the server"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.listens = true
			w.register(patchbay.Resource{ID: w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", Endpoint: strings.Join([]string{one, two, three}, ",")}, nil)
			w.app.way, w.Service.dialer = everywhere{}, shutTo{one, two, three}
			w.want(w.put(w.spec()), patchbay.Done, "")
			w.app.way = tt.shut
			var found []patchbay.Check
			var results []patchbay.CheckResult
			for _, c := range w.validated(false).Checks {
				if c.Group == patchbay.CheckNetwork {
					found, results = append(found, c), append(results, c.Result)
				}
			}
			if !slices.Equal(results, tt.want) {
				t.Fatalf("it finds %+v", found)
			}
			for _, word := range tt.says {
				if found[0].Code != patchbay.PortClosed || !strings.Contains(found[0].Message, word) || found[0].Fix == "" {
					t.Errorf("it does not say %q: %+v", word, found[0])
				}
			}
			if tt.not != "" && strings.Contains(found[0].Message, tt.not) {
				t.Errorf("it names what is reached: %+v", found[0])
			}
		})
	}
}
