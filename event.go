package patchbay

import (
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
	// drifted: something was put back, and it is not put back any more.
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
		Connection: c.ID, Name: c.Name, Source: c.Source, Target: string(c.Spec.Target.ID), Since: since.UTC(),
		Health: healthy, Checks: []EventCheck{}, Command: "patchbay connection validate " + string(c.ID),
	}
	if h.Target == "" {
		h.Target = c.Spec.Target.Endpoint
	}
	e := Event{ID: id, Type: EventHealthy, Subject: c.ID, Time: at.UTC()}
	for _, check := range checks {
		if check.Result != Failure {
			continue
		}
		e.Type, h.Health = EventUnhealthy, unhealthy
		if len(h.Checks) == MaxEventChecks {
			h.MoreChecks++
			continue
		}
		h.Checks = append(h.Checks, EventCheck{
			Group: check.Group, Name: cut(check.Name), Code: check.Code, Message: cut(check.Message), Fix: cut(check.Fix),
		})
	}
	var err error
	e.Data, err = json.Marshal(h)
	return e, err
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
