package arm

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"

	"patchbay.dev/patchbay"
)

// statusVersion is the api-version that operation URLs carry, as the live
// service's do. Any is taken there.
const statusVersion = "2021-01-01-privatepreview"

// StatusPath is the path and query of an operation's status:
//
//	/subscriptions/{s}/providers/Microsoft.ServiceLinker/locations/{LOCATION}/operationStatuses/{id}*{64 hex}?api-version=…
//
// The digits bind the operation to the subscription that the URL names, so
// that a status is never read in another one's scope.
func StatusPath(op patchbay.Operation, location string) string {
	s := op.Source.Subscription()
	if s == "" {
		s = op.Connection.Subscription()
	}
	location = strings.ToUpper(strings.ReplaceAll(location, " ", ""))
	if location == "" {
		location = "GLOBAL"
	}
	// Escaped by segment: url.URL would escape the asterisk in some positions,
	// and clients expect it as it is.
	return "/subscriptions/" + url.PathEscape(s) + "/providers/" + Provider + "/locations/" + url.PathEscape(location) +
		"/operationStatuses/" + url.PathEscape(op.ID) + "*" + statusDigits(s, op.ID) + "?api-version=" + statusVersion
}

// OperationPath is the path and query of an operation as it is answered by the
// provider of our own, which a sweep, of no subscription, has alone.
func OperationPath(id string) string {
	return "/providers/" + OwnProvider + "/operations/" + url.PathEscape(id) + "?api-version=" + string(V20261101)
}

func statusDigits(subscription, id string) string {
	sum := sha256.Sum256([]byte("operation\x00" + strings.ToLower(subscription) + "\x00" + id))
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// splitStatusName is the operation's id in the last segment of a status path;
// ok is false when the digits are not those of the id.
func splitStatusName(subscription, name string) (id string, ok bool) {
	at := strings.LastIndexByte(name, '*')
	if at < 0 {
		return "", false
	}
	id = name[:at]
	return id, strings.EqualFold(name[at+1:], statusDigits(subscription, id))
}

// Terminal words of an operation's status. Any other word is "still running"
// to every client.
const (
	statusAccepted  = "Accepted"
	statusDeleting  = "Deleting"
	statusSucceeded = "Succeeded"
	statusFailed    = "Failed"
	statusCanceled  = "Canceled"
)

func statusWord(op patchbay.Operation) string {
	switch op.State {
	case patchbay.Done:
		return statusSucceeded
	case patchbay.Undone:
		if op.Cancel && (op.Error == nil || op.Error.Code == patchbay.Canceled) {
			return statusCanceled
		}
		return statusFailed
	case patchbay.Abandoned:
		return statusFailed
	}
	if op.Kind == patchbay.OpDelete {
		return statusDeleting
	}
	return statusAccepted
}

// StatusCode is the HTTP status of an operation's status: while it runs 200 for
// what began with PUT or PATCH and 202 for the rest, as the live service
// answers (contract section 4.1); at its end, failure included, always 200.
func StatusCode(op patchbay.Operation) int {
	if op.State.Ended() || op.Kind == patchbay.OpCreate || op.Kind == patchbay.OpUpdate {
		return http.StatusOK
	}
	return http.StatusAccepted
}

// OperationStatus is the body of an operation's status; path is the path of its
// URL.
func OperationStatus(op patchbay.Operation, path string) any {
	path, _, _ = strings.Cut(path, "?")
	m := &members{}
	m.add("", "id", path)
	m.add("", "name", path[strings.LastIndexByte(path, '/')+1:])
	m.add("", "resourceId", string(op.Connection))
	word := statusWord(op)
	m.add("", "status", word)
	m.add("", "startTime", orNullTime(op.Created))
	if !op.State.Ended() {
		return m
	}
	m.add("", "endTime", orNullTime(op.Ended))
	switch {
	case word == statusSucceeded && op.Kind == patchbay.OpValidate:
		m.add("", "properties", validateResult(op))
	case word == statusSucceeded && op.Kind == patchbay.OpDelete:
		m.add("", "properties", nil)
	case word == statusSucceeded:
		p := &members{}
		p.add("", "Message", orNull(op.Message))
		m.add("", "properties", p)
	default:
		m.add("", "error", detail(operationError(op)))
	}
	return m
}

// ValidateResult is the answer of a validation that has ended already: its
// status without what only a status has.
func ValidateResult(op patchbay.Operation) any {
	m := &members{}
	m.add("", "resourceId", string(op.Connection))
	m.add("", "status", statusWord(op))
	m.add("", "properties", validateResult(op))
	return m
}

// operationError is why op ended without success; there is always a reason to
// give.
func operationError(op patchbay.Operation) *patchbay.Error {
	switch {
	case op.Error != nil && op.Message != "": // what a failure left for somebody to do
		e := *op.Error
		e.Message += "; " + op.Message
		return &e
	case op.Error != nil:
		return op.Error
	case op.State == patchbay.Abandoned:
		return patchbay.Errorf(patchbay.Canceled, "the operation was abandoned; what it left is among the leftovers").
			WithFix("patchbay leftovers --sweep")
	case op.Cancel:
		return patchbay.Errorf(patchbay.Canceled, "the operation was canceled; everything is as it was")
	}
	return patchbay.Errorf(patchbay.Internal, "the operation failed; everything is as it was")
}

// wireResults are the words of a check on the wire. There is none for what was
// not looked at: it is a warning, never a success.
var wireResults = map[patchbay.CheckResult]string{
	patchbay.Success:    "success",
	patchbay.Failure:    "failure",
	patchbay.Warning:    "warning",
	patchbay.NotChecked: "warning",
}

func validateResult(op patchbay.Operation) any {
	r := op.Result
	if r == nil {
		r = &patchbay.Report{Connection: op.Connection, Source: op.Source, Started: op.Created, Ended: op.Ended}
	}
	_, name, ok := r.Connection.ConnectionSource()
	if !ok {
		name = r.Connection.Name()
	}
	checks := make([]any, len(r.Checks))
	for i, c := range r.Checks {
		checks[i] = check(c)
	}
	m := &members{}
	m.add("", "Message", validateMessage(name, op.Result != nil && r.Available(), r))
	m.add("", "linkerName", name)
	m.add("", "isConnectionAvailable", op.Result != nil && r.Available())
	m.add("", "reportStartTimeUtc", orNullTime(r.Started))
	m.add("", "reportEndTimeUtc", orNullTime(r.Ended))
	m.add("", "sourceId", orNull(string(r.Source)))
	m.add("", "targetId", orNull(r.Target))
	m.add("", "authType", orNull(string(r.AuthType)))
	m.add("", "validationDetail", checks)
	return m
}

// The numbers that the live service has in the message of a result.
var (
	messageResults = map[patchbay.CheckResult]int{patchbay.Success: 0, patchbay.Failure: 1, patchbay.Warning: 2, patchbay.NotChecked: 2}
	messageAuths   = map[patchbay.AuthType]int{
		patchbay.AuthSystemIdentity: 0, patchbay.AuthUserIdentity: 1, patchbay.AuthSPSecret: 2, patchbay.AuthSPCertificate: 3,
		patchbay.AuthSecret: 4, patchbay.AuthAccessKey: 5, patchbay.AuthUserAccount: 6, patchbay.AuthEasyAuth: 7,
	}
)

// validateMessage repeats a report as a text of JSON, as the live service does:
// its PowerShell module shows that alone.
func validateMessage(name string, available bool, r *patchbay.Report) any {
	checks := make([]any, len(r.Checks))
	for i, c := range r.Checks {
		m := &members{}
		m.add("", "Name", c.Name)
		m.add("", "Description", orNull(description(c)))
		m.add("", "Result", messageResults[c.Result])
		checks[i] = m
	}
	var auth any
	if n, known := messageAuths[r.AuthType]; known {
		auth = n
	}
	m := &members{}
	m.add("", "ConnectionName", name)
	m.add("", "IsConnectionAvailable", available)
	m.add("", "ValidationDetail", checks)
	m.add("", "ReportStartTimeUtc", orNullTime(r.Started))
	m.add("", "ReportEndTimeUtc", orNullTime(r.Ended))
	m.add("", "SourceId", orNull(string(r.Source)))
	m.add("", "TargetId", orNull(r.Target))
	m.add("", "AuthType", auth)
	text, err := Marshal(m)
	if err != nil {
		return nil
	}
	return string(text)
}

// description is what a check found, and what to do about it.
func description(c patchbay.Check) string {
	text := c.Message
	if c.Result == patchbay.NotChecked {
		text = "Not checked: " + text
	}
	if c.Fix != "" {
		if text != "" {
			text += ". "
		}
		text += "Fix: " + c.Fix
	}
	return text
}

func check(c patchbay.Check) any {
	code := string(c.Code)
	if c.Result == patchbay.NotChecked && code == "" {
		code = "NotChecked"
	}
	m := &members{}
	m.add("", "name", c.Name)
	m.add("", "description", orNull(description(c)))
	m.add("", "result", wireResults[c.Result])
	var message any
	if c.Result == patchbay.Failure {
		message = orNull(c.Message)
	}
	m.add("", "errorMessage", message)
	m.add("", "errorCode", orNull(code))
	return m
}
