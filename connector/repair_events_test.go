package connector

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/notify"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
	"patchbay.dev/patchbay/store/sqlite"
)

// listener is a watch over a world whose events a receiver gets.
type listener struct {
	*watched
	events chan arrival
}

// arrival is what arrived.
type arrival struct {
	Type    patchbay.EventType
	Subject patchbay.ID
	Data    patchbay.RepairEvent
	body    string
}

func newListener(t *testing.T) *listener {
	t.Helper()
	records, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "db"), sqlite.Options{Events: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = records.Close() })
	l := &listener{watchOver(t, newAppWorld(t, Limits{}, records)), make(chan arrival, 100)}
	keys, err := notify.MakeKeys(filepath.Join(t.TempDir(), "events.key"))
	if err != nil {
		t.Fatal(err)
	}
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		one := arrival{body: string(body)}
		if err == nil {
			err = json.Unmarshal(body, &one)
		}
		if err != nil || r.Header.Get(webhooks.HeaderWebhookSignature) == "" {
			t.Errorf("%s: %v", body, err)
		}
		l.events <- one
	}))
	t.Cleanup(receiver.Close)
	at, err := notify.ParseReceiver(patchbay.NewSecret(receiver.URL), false)
	if err != nil {
		t.Fatal(err)
	}
	n := notify.New(notify.Options{
		Outbox: records, Receiver: at, Source: "https://patchbay.example", Clock: l.world.Service.now,
		Keys: func() (notify.Keys, error) { return keys, nil },
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = n.Run(ctx)
	}()
	t.Cleanup(func() { stop(); <-ended })
	return l
}

// hears waits for the next event, which no value is in.
func (l *listener) hears(kind patchbay.EventType) patchbay.RepairEvent {
	l.t.Helper()
	select {
	case one := <-l.events:
		if one.Type != kind || one.Subject != l.linker || one.Data.Connection != l.linker || one.Data.Source != l.app.id || one.Data.Name != "orders" {
			l.t.Fatalf("it was told %s, want %s", one.body, kind)
		}
		if strings.Contains(one.body, "secret of") || strings.Contains(one.body, "tampered") {
			l.t.Errorf("a value is in %s", one.body)
		}
		return one.Data
	case <-time.After(30 * time.Second):
		l.t.Fatalf("nothing is told of %s", kind)
	}
	return patchbay.RepairEvent{}
}

func (l *listener) silent() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 30*time.Second)
	defer cancel()
	for left := 1; left > 0; { // what has arrived is struck off a moment later
		count, err := l.world.records.(store.Outbox).CountEvents(ctx)
		if err != nil {
			l.t.Fatal(err)
		}
		left = count.Waiting
	}
	if len(l.events) > 0 {
		l.t.Errorf("it was told %s as well", (<-l.events).body)
	}
}

// drifts has somebody change settings, or take them away.
func (l *listener) drifts(change func(settings map[string]patchbay.Secret)) {
	defer l.app.lock()()
	change(l.app.settings)
	l.app.touch()
}

// TestAReceiverIsToldOfRepairs: of what was put back, by its name, and once of why that
// stopped.
func TestAReceiverIsToldOfRepairs(t *testing.T) {
	l := newListener(t)
	spec := l.spec()
	spec.Drift, spec.Client = patchbay.DriftRepair, "none"
	l.want(l.put(spec), patchbay.Done, "")
	var names []string
	for name := range l.app.read() {
		if name != "THEIRS" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) < 5 {
		t.Fatalf("there are %q", names)
	}
	alter := func(name, value string) {
		l.drifts(func(s map[string]patchbay.Secret) { s[name] = patchbay.NewSecret(value) })
	}
	remove := func(name string) { l.drifts(func(s map[string]patchbay.Secret) { delete(s, name) }) }
	look := func() { l.after(61 * time.Minute) }
	repair := func(want ...string) {
		t.Helper()
		l.hears(patchbay.EventUnhealthy)
		l.after(grace + time.Second)
		op := l.lastOperation()
		r := l.hears(patchbay.EventRepaired)
		if !slices.Equal(r.Settings, want) || r.Operation != op.ID || r.Health != patchbay.Healthy || r.Reason != "" || len(r.Checks) > 0 || r.Command != "patchbay operation show "+op.ID {
			t.Errorf("it was told %+v", r)
		}
		l.hears(patchbay.EventHealthy)
		l.silent()
	}

	// Something is put back; then somebody means it.
	remove(names[0])
	alter(names[1], "tampered-1")
	look()
	repair(names[0], names[1])
	alter(names[1], "tampered-2")
	look()
	l.hears(patchbay.EventUnhealthy)
	r := l.hears(patchbay.EventRepairStopped)
	if r.Reason != patchbay.StopChangedAgain || !strings.Contains(r.Message, "somebody changed it again") || len(r.Checks) != 1 || !strings.Contains(r.Checks[0].Message, names[1]) ||
		r.Health != patchbay.Unhealthy || len(r.Settings) > 0 || r.Command != "patchbay connection validate "+string(l.linker)+" --fix" {
		t.Errorf("it was told %+v", r)
	}
	look()
	look()
	l.silent() // once

	// Somebody else's fix is no repair of the server's.
	l.want(l.end(l.Validate(t.Context(), ValidateRequest{ID: l.linker, Caller: l.caller, Fix: true})), patchbay.Done, "")
	l.hears(patchbay.EventHealthy)
	l.silent()

	// The next ones fail: that is told once too, and what is put back at last.
	l.after(25 * time.Hour)
	unwritable := patchbay.Errorf(patchbay.SettingsUnwritable, "the disk is full")
	func() { defer l.app.lock()(); l.app.failWrite = unwritable }()
	alter(names[2], "tampered-3")
	look()
	l.hears(patchbay.EventUnhealthy)
	l.after(grace + time.Second)
	op := l.lastOperation()
	l.want(op, patchbay.Undone, patchbay.SettingsUnwritable)
	if r := l.hears(patchbay.EventRepairStopped); r.Reason != patchbay.StopFailed || r.Message != "it could not be put back: the disk is full" || r.Operation != op.ID || len(r.Checks) != 1 {
		t.Errorf("it was told %+v", r)
	}
	look()
	l.want(l.lastOperation(), patchbay.Undone, patchbay.SettingsUnwritable)
	l.silent()
	func() { defer l.app.lock()(); l.app.failWrite = nil }()
	look()
	l.want(l.lastOperation(), patchbay.Done, "")
	if r := l.hears(patchbay.EventRepaired); !slices.Equal(r.Settings, names[2:3]) {
		t.Errorf("it was told %+v", r)
	}
	l.hears(patchbay.EventHealthy)

	// Of different settings, so many are put back in an hour.
	l.after(25 * time.Hour)
	for i := range maxRepairs {
		remove(names[i])
		l.eyes.changed(t.Context(), sourceRef{id: l.app.id}, l.world.Service.now())
		l.after(0)
		repair(names[i])
	}
	remove(names[3])
	l.eyes.changed(t.Context(), sourceRef{id: l.app.id}, l.world.Service.now())
	l.after(0)
	l.hears(patchbay.EventUnhealthy)
	if r := l.hears(patchbay.EventRepairStopped); r.Reason != patchbay.StopTooOften || r.Operation != "" || len(r.Checks) != 1 || !strings.Contains(r.Checks[0].Message, names[3]) {
		t.Errorf("it was told %+v", r)
	}
	look() // it has been there for longer than a minute
	l.lastOperation()
	if r := l.hears(patchbay.EventRepaired); !slices.Equal(r.Settings, names[3:4]) {
		t.Errorf("it was told %+v", r)
	}
	l.hears(patchbay.EventHealthy)
	l.silent()
}

// full is an engine that takes no operation more.
type full struct{ Engine }

func (full) Submit(context.Context, saga.Submission) (patchbay.Operation, error) {
	return patchbay.Operation{}, patchbay.Errorf(patchbay.TooManyRequests, "too many wait")
}

// TestARepairThatCantBeginIsTold.
func TestARepairThatCantBeginIsTold(t *testing.T) {
	l := newListener(t)
	spec := l.spec()
	spec.Drift = patchbay.DriftRepair
	l.want(l.put(spec), patchbay.Done, "")
	l.drifts(func(s map[string]patchbay.Secret) {
		for name := range s {
			if name != "THEIRS" {
				delete(s, name)
			}
		}
	})
	l.after(2 * time.Hour)
	l.hears(patchbay.EventUnhealthy)
	l.world.Service.engine = full{l.world.Service.engine}
	for range 3 {
		l.after(time.Hour)
	}
	if r := l.hears(patchbay.EventRepairStopped); r.Reason != patchbay.StopFailed || r.Message != "it could not be put back: too many wait" || r.Operation != "" {
		t.Errorf("it was told %+v", r)
	}
	l.silent()
}
