package patchbay

import (
	"cmp"
	"encoding/json"
	"time"
	"unicode/utf8"
)

// EventType says what an event tells, in the form that CloudEvents wants: a name
// that begins with a domain of its maker's. A receiver passes over types that it
// does not know.
type EventType string

const (
	EventUnhealthy EventType = "dev.patchbay.connection.unhealthy" // a connection that was good, or new, has a check that fails
	EventHealthy   EventType = "dev.patchbay.connection.healthy"   // it is good again
	// EventRepaired and EventRepairStopped are of connections that repair what
	// drifted: something was put back, and what drifted is not put back.
	EventRepaired      EventType = "dev.patchbay.connection.repaired"
	EventRepairStopped EventType = "dev.patchbay.connection.repair.stopped"
	EventTest          EventType = "dev.patchbay.test" // an operator tries the receiver
)

// Event is something that a receiver outside is told. It is written with the
// record of what it tells, and holds no secret.
type Event struct {
	ID      string          `json:"id"` // never reused; a receiver that knows it already has had the event
	Type    EventType       `json:"type"`
	Subject ID              `json:"subject"` // of which connection; events of one subject arrive in order
	Time    time.Time       `json:"time"`    // when it happened
	Data    json.RawMessage `json:"data"`    // a JSON object
}

// Delivery is how an attempt went that somebody waited for.
type Delivery struct {
	Receiver     string `json:"receiver"` // without what in its URL may be secret
	Event        string `json:"event"`    // its id
	Status       int    `json:"status"`   // that the receiver answered with
	Milliseconds int64  `json:"milliseconds"`
	Waiting      int    `json:"waiting"` // how many events wait behind it
}

// Health words of a [HealthEvent].
const (
	healthy   = "healthy"
	unhealthy = "unhealthy"
)

// HealthEvent is the data of [EventUnhealthy] and [EventHealthy].
type HealthEvent struct {
	Connection ID           `json:"connection"`
	Name       string       `json:"name"`
	Source     ID           `json:"source,omitempty"` // a local connection has none
	Target     string       `json:"target"`           // an id or an endpoint
	Health     string       `json:"health"`           // healthy or unhealthy
	Since      time.Time    `json:"since"`            // since when it is
	Checks     []EventCheck `json:"checks"`           // those that failed, at most [MaxEventChecks]; none when it is healthy
	MoreChecks int          `json:"moreChecks,omitempty"`
	Command    string       `json:"command"` // shows more
}

// EventCheck is a failed check.
type EventCheck struct {
	Group   CheckGroup `json:"group"`
	Name    string     `json:"name"`
	Code    Code       `json:"code,omitempty"`
	Message string     `json:"message,omitempty"`
	Fix     string     `json:"fix,omitempty"`
}

// MaxEventChecks bounds how many failed checks an event lists, and maxEventText
// the bytes of each of their texts: receivers take 64 KiB, by CloudEvents' own
// advice, and some no more.
const (
	MaxEventChecks = 16
	maxEventText   = 1000
)

// NewHealthEvent tells that c turned good or bad at a time: bad when one of checks,
// which are those of the validation that found it, failed. Since is since when.
func NewHealthEvent(id string, c Connection, checks []Check, since, at time.Time) (Event, error) {
	h := HealthEvent{
		Connection: c.ID, Name: c.Name, Source: c.Source, Target: c.targetText(), Since: since.UTC(),
		Health: healthy, Command: "patchbay connection validate " + string(c.ID),
	}
	kind := EventHealthy
	if h.Checks, h.MoreChecks = eventChecks(checks); len(h.Checks) > 0 {
		kind, h.Health = EventUnhealthy, unhealthy
	}
	return newEvent(id, kind, c, at, h)
}

// RepairEvent is the data of [EventRepaired] and [EventRepairStopped].
type RepairEvent struct {
	Connection ID     `json:"connection"`
	Name       string `json:"name"`
	Source     ID     `json:"source"`
	Target     string `json:"target"`              // an id or an endpoint
	Operation  string `json:"operation,omitempty"` // that put something back, or failed to; "" when none began
	// Health is what was found behind a repair; what stopped is unhealthy.
	Health Health `json:"health"`
	// Settings are the names of those that were put back, at most [MaxEventSettings].
	Settings     []string `json:"settings,omitempty"`
	MoreSettings int      `json:"moreSettings,omitempty"`
	// Reason and Message say why it is not put back; Checks are what is left as it is, at
	// most [MaxEventChecks].
	Reason     RepairStop   `json:"reason,omitempty"`
	Message    string       `json:"message,omitempty"`
	Checks     []EventCheck `json:"checks,omitempty"`
	MoreChecks int          `json:"moreChecks,omitempty"`
	Command    string       `json:"command"` // shows more, or does it all the same
}

// MaxEventSettings bounds how many settings an event names.
const MaxEventSettings = 24

// NewRepairedEvent tells that what drifted of c is put back, as v has it.
func NewRepairedEvent(id string, c Connection, v Verdict) (Event, error) {
	r := RepairEvent{
		Connection: c.ID, Name: c.Name, Source: c.Source, Target: c.targetText(), Operation: v.Operation, Health: v.Health,
		Command: "patchbay operation show " + v.Operation,
	}
	for _, name := range v.PutBack {
		if len(r.Settings) == MaxEventSettings {
			r.MoreSettings++
			continue
		}
		r.Settings = append(r.Settings, cut(name))
	}
	return newEvent(id, EventRepaired, c, v.Last, r)
}

// NewRepairStoppedEvent tells that what drifted of c is left as it is, as v has it.
func NewRepairStoppedEvent(id string, c Connection, v Verdict) (Event, error) {
	r := RepairEvent{
		Connection: c.ID, Name: c.Name, Source: c.Source, Target: c.targetText(), Operation: v.Operation, Health: v.Health,
		Reason: v.Stopped, Message: cut(v.Kept), Command: "patchbay connection validate " + string(c.ID) + " --fix",
	}
	r.Checks, r.MoreChecks = eventChecks(v.Drifted())
	return newEvent(id, EventRepairStopped, c, v.Last, r)
}

func newEvent(id string, kind EventType, c Connection, at time.Time, data any) (Event, error) {
	text, err := json.Marshal(data)
	return Event{ID: id, Type: kind, Subject: c.ID, Time: at.UTC(), Data: text}, err
}

// targetText is the target's id or endpoint.
func (c Connection) targetText() string {
	return cmp.Or(string(c.Spec.Target.ID), c.Spec.Target.Endpoint)
}

// eventChecks are those that failed, as far as an event has room, and how many more.
func eventChecks(checks []Check) (all []EventCheck, more int) {
	all = []EventCheck{}
	for _, check := range checks {
		switch {
		case check.Result != Failure:
		case len(all) == MaxEventChecks:
			more++
		default:
			all = append(all, EventCheck{
				Group: check.Group, Name: cut(check.Name), Code: check.Code, Message: cut(check.Message), Fix: cut(check.Fix),
			})
		}
	}
	return all, more
}

// cut shortens a text to what an event has room for.
func cut(s string) string {
	if len(s) <= maxEventText {
		return s
	}
	n := maxEventText
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
