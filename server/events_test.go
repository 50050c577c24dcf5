package server

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/access"
)

type receiver struct{ err error }

func (r receiver) Test(context.Context) (patchbay.Delivery, error) {
	return patchbay.Delivery{Receiver: "https://alerts.example", Event: "e", Status: 202, Milliseconds: 7, Waiting: 3}, r.err
}

const testEvents = "/providers/Patchbay.Connector/events/test?api-version=2026-11-01"

func TestTheOperatorAloneTriesTheReceiverOfEvents(t *testing.T) {
	b, p := withPeople(t, func(o *Options) { o.Events = receiver{} })
	w := b.send("POST", testEvents, "")
	if want := `{"receiver":"https://alerts.example","event":"e","status":202,"milliseconds":7,"waiting":3}`; w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != want {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if lines := p.heard(); len(lines) != 1 || lines[0].Action != "Patchbay.Connector/events/test/action" || lines[0].Result != patchbay.AuditSucceeded {
		t.Errorf("%+v", lines)
	}
	p.give(p.caller("owner", testTenant), access.Owner, patchbay.RootScope)
	if w := b.as("owner", "POST", testEvents, ""); w.Code != http.StatusForbidden && w.Code != http.StatusNotFound {
		t.Errorf("the owner of a tenant gets %d %s", w.Code, w.Body)
	}
}

func TestWhyAnEventDoesNotArriveIsAnswered(t *testing.T) {
	for name, tt := range map[string]struct {
		with func(*Options)
		says string
	}{
		"no receiver": {func(*Options) {}, "--events-to"},
		"one that is not well": {func(o *Options) {
			o.Events = receiver{patchbay.Errorf(patchbay.PortClosed, "nothing listens").WithFix("start it")}
		}, "nothing listens"},
	} {
		b, _ := withPeople(t, tt.with)
		if w := b.send("POST", testEvents, ""); w.Code < 400 || !strings.Contains(w.Body.String(), tt.says) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}
