package patchbay

import (
	"slices"
	"time"
)

// Health is what the last look at a connection found.
type Health string

const (
	Healthy   Health = "healthy"   // nothing is wrong, as far as it could be looked at
	Unhealthy Health = "unhealthy" // a check failed
	Unsure    Health = "unknown"   // nobody looked yet, or nothing could be looked at
)

// Cause is why somebody looked at a connection.
type Cause string

const (
	CauseSchedule  Cause = "schedule"  // its time had come
	CauseChange    Cause = "change"    // its source's platform said that something changed
	CauseOperation Cause = "operation" // somebody asked for it, or changed the connection
)

// Verdict is what one validation found of a connection, or several in a row that found
// the same.
type Verdict struct {
	Connection ID     `json:"connection"`
	UID        string `json:"uid"` // of the connection
	Health     Health `json:"health"`
	// Known is Health, or while that is unknown what it was before.
	Known Health `json:"known,omitempty"`
	Cause Cause  `json:"cause"` // of the last
	// Operation is the one that looked last; "" when none did.
	Operation string `json:"operation,omitempty"`
	// Since is when it became of this health; First and Last are when this was found
	// first and last, Times how often.
	Since time.Time     `json:"since"`
	First time.Time     `json:"first"`
	Last  time.Time     `json:"last"`
	Times int           `json:"times"`
	Took  time.Duration `json:"took"` // the last look
	// Checks are those that did not succeed.
	Checks []Check `json:"checks,omitempty"`
	// Repair is the operation that was to put back what this found to have drifted; Kept
	// says why it is left as it is although the connection asks for that.
	Repair string `json:"repair,omitempty"`
	Kept   string `json:"kept,omitempty"`
	// PutBack names the settings that Operation, a repair, has put back.
	PutBack []string `json:"putBack,omitempty"`
	// Stopped is Kept as a word. It stays until something is put back, or nothing drifts.
	Stopped RepairStop `json:"stopped,omitempty"`
	// Seen are the addresses that the names of a guarded target had lately, by name and
	// address: "db.example:5432 10.0.0.5:5432". nil: nobody looked.
	Seen map[string]Sighting `json:"seen,omitempty"`
}

// Sighting is when a name had an address.
type Sighting struct {
	Last   time.Time `json:"last"`
	Missed int       `json:"missed,omitempty"` // looks since then
}

// RepairStop is why what drifted is not put back.
type RepairStop string

const (
	StopChangedAgain RepairStop = "changedAgain" // somebody changed again what was put back
	StopTooOften     RepairStop = "tooOften"     // enough was put back within an hour
	StopFailed       RepairStop = "failed"       // it was tried; it is tried again with a later look
)

// Drifted are the findings that somebody's change of the settings is.
func (v Verdict) Drifted() []Check {
	var all []Check
	for _, c := range v.Checks {
		if c.Group == CheckConfiguration && (c.Code == SettingMissing || c.Code == SettingChanged) {
			all = append(all, c)
		}
	}
	return all
}

// Verdict is what a report says of a connection's health.
func (r Report) Verdict(uid string, cause Cause) Verdict {
	v := Verdict{Connection: r.Connection, UID: uid, Health: Unsure, Cause: cause, Last: r.Ended, Took: r.Ended.Sub(r.Started), Seen: r.Seen}
	for _, c := range r.Checks {
		switch {
		case c.Result == Failure:
			v.Health = Unhealthy
		case c.Result == Success && v.Health == Unsure:
			v.Health = Healthy
		}
		if c.Result != Success {
			v.Checks = append(v.Checks, c)
		}
	}
	return v
}

// Behind gives v its place behind the verdict before it, and reports whether it is
// another one: if not, it takes that one's place.
func (v Verdict) Behind(before *Verdict) (_ Verdict, another bool) {
	v.Since, v.First, v.Times, v.Known = v.Last, v.Last, 1, v.Health
	if before == nil || before.UID != v.UID {
		return v, true
	}
	if v.Health == before.Health {
		v.Since = before.Since
	}
	if v.Health == Unsure {
		v.Known = before.Known
	}
	if v.Seen == nil {
		v.Seen = before.Seen
	}
	if v.Stopped == "" && len(v.PutBack) == 0 && (v.Health == Unsure || len(v.Drifted()) > 0) {
		v.Stopped = before.Stopped
	}
	if v.Health != before.Health || before.Repair != "" || v.Kept != before.Kept || !slices.Equal(v.Checks, before.Checks) {
		return v, true
	}
	v.First, v.Times = before.First, before.Times+1
	if len(v.PutBack) == 0 {
		v.PutBack = before.PutBack
	}
	return v, false
}

// GivesUp reports whether what drifted is left as it is for a reason that is new; before is
// nil for the first.
func (v Verdict) GivesUp(before *Verdict) bool {
	return v.Kept != "" && (before == nil || before.UID != v.UID || before.Stopped != v.Stopped)
}

// Turned reports whether a connection turned bad or good again between the two; before is
// nil for the first.
func (v Verdict) Turned(before *Verdict) bool {
	known := Healthy // what is made works: that is no news
	if before != nil && before.UID == v.UID && before.Known != "" && before.Known != Unsure {
		known = before.Known
	}
	return v.Health != Unsure && v.Health != known
}

// Drift is what is done when somebody changes a connection's settings.
type Drift string

const (
	DriftReport Drift = "report" // say so; the default
	DriftRepair Drift = "repair" // put them back
)
