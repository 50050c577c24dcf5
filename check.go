package patchbay

import "time"

// CheckGroup is one of the four things that a validation looks at.
type CheckGroup string

const (
	CheckExistence      CheckGroup = "existence"
	CheckNetwork        CheckGroup = "network"
	CheckConfiguration  CheckGroup = "configuration"
	CheckAuthentication CheckGroup = "authentication"
)

// CheckResult is a check's outcome. A success always has something behind it:
// what could not be looked at is NotChecked, with the reason.
type CheckResult string

const (
	Success    CheckResult = "success"
	Failure    CheckResult = "failure"
	Warning    CheckResult = "warning"
	NotChecked CheckResult = "notChecked"
)

// Check is one thing that was looked at. A failed check is data, not an error.
type Check struct {
	Group   CheckGroup  `json:"group"`
	Name    string      `json:"name"` // the display string of the wire
	Result  CheckResult `json:"result"`
	Code    Code        `json:"code,omitempty"`
	Message string      `json:"message,omitempty"` // what was found, or why it was not checked
	Fix     string      `json:"fix,omitempty"`     // a command
}

// Vantage is from where a validation tries network and sign-in.
type Vantage string

const (
	FromSource       Vantage = "" // from where the application runs
	FromControlPlane Vantage = "control-plane"
)

// Report is what a validation found.
type Report struct {
	Connection ID        `json:"connection"`
	Source     ID        `json:"source"`
	Target     string    `json:"target"` // an id or an endpoint
	AuthType   AuthType  `json:"authType"`
	From       Vantage   `json:"from,omitempty"`
	Checks     []Check   `json:"checks"`
	Started    time.Time `json:"started"`
	Ended      time.Time `json:"ended"`
	Fixed      []string  `json:"fixed,omitempty"` // what --fix mended
	// Seen is as [Verdict].Seen: for the next look, and for nobody else.
	Seen map[string]Sighting `json:"-"`
}

// Available is false when any check failed.
func (r Report) Available() bool {
	for _, c := range r.Checks {
		if c.Result == Failure {
			return false
		}
	}
	return true
}
