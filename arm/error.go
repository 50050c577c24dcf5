package arm

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"patchbay.dev/patchbay"
)

// Codes that only the wire has.
const (
	MissingAPIVersion   patchbay.Code = "MissingApiVersionParameter"
	InvalidAPIVersion   patchbay.Code = "InvalidApiVersionParameter"
	InvalidResourceType patchbay.Code = "InvalidResourceType" // no such route
	// InvalidResourceNamespace: no provider of that name
	InvalidResourceNamespace patchbay.Code = "InvalidResourceNamespace"
	MethodNotAllowed         patchbay.Code = "MethodNotAllowed"
	BodyTooLarge             patchbay.Code = "RequestEntityTooLarge"
	ServiceUnavailable       patchbay.Code = "ServiceUnavailable"
)

// statuses is the one place where a code becomes an HTTP status. What a driver
// or a check finds is answered 409 when a request trips over it (the world is
// not as the request needs it) and 400 when the request itself is to blame.
var statuses = map[patchbay.Code]int{
	patchbay.InvalidResourceID:      http.StatusBadRequest,
	patchbay.InvalidArgument:        http.StatusBadRequest,
	patchbay.InvalidRequestContent:  http.StatusBadRequest,
	patchbay.TargetTypeNotSupported: http.StatusBadRequest,
	patchbay.NotSupported:           http.StatusBadRequest,
	patchbay.InvalidDbSecret:        http.StatusBadRequest,
	MissingAPIVersion:               http.StatusBadRequest,
	InvalidAPIVersion:               http.StatusBadRequest,

	patchbay.PrincipalNotFound: http.StatusBadRequest,
	patchbay.RoleNotFound:      http.StatusBadRequest,

	patchbay.Unauthenticated: http.StatusUnauthorized,
	patchbay.Forbidden:       http.StatusForbidden,

	// 404 is what clients take for "the linker is not there" (az wait, azurerm's
	// existence check), so a missing source or target of an existing linker's
	// request must not be 404.
	patchbay.ResourceNotFound: http.StatusNotFound,
	InvalidResourceType:       http.StatusNotFound,
	InvalidResourceNamespace:  http.StatusNotFound,
	patchbay.SourceNotFound:   http.StatusBadRequest,
	patchbay.TargetNotFound:   http.StatusBadRequest,

	MethodNotAllowed:            http.StatusMethodNotAllowed,
	patchbay.PreconditionFailed: http.StatusPreconditionFailed,
	BodyTooLarge:                http.StatusRequestEntityTooLarge,
	patchbay.TooManyRequests:    http.StatusTooManyRequests,

	patchbay.Conflict:             http.StatusConflict,
	patchbay.QuotaExceeded:        http.StatusConflict, // as ARM's own
	patchbay.OperationInProgress:  http.StatusConflict,
	patchbay.RoleAssignmentExists: http.StatusConflict,
	patchbay.Canceled:             http.StatusConflict,
	patchbay.TargetUnreachable:    http.StatusConflict,
	patchbay.TargetMisbehaved:     http.StatusConflict,
	patchbay.StepEndsProcess:      http.StatusConflict,
	patchbay.NameNotResolved:      http.StatusConflict,
	patchbay.PortClosed:           http.StatusConflict,
	patchbay.CertificateInvalid:   http.StatusConflict,
	patchbay.PublicAccessDenied:   http.StatusConflict,
	patchbay.RuleMissing:          http.StatusConflict,
	patchbay.ChildMissing:         http.StatusConflict,
	patchbay.AdminRefused:         http.StatusConflict,
	patchbay.AdminRights:          http.StatusConflict,
	patchbay.LoginRefused:         http.StatusConflict,
	patchbay.LoginMissing:         http.StatusConflict,
	patchbay.RightsMissing:        http.StatusConflict,
	patchbay.RightsExcess:         http.StatusConflict,
	patchbay.SecretExpired:        http.StatusConflict,
	patchbay.NotOurs:              http.StatusConflict,
	patchbay.SettingMissing:       http.StatusConflict,
	patchbay.SettingChanged:       http.StatusConflict,
	patchbay.SettingTakenOver:     http.StatusConflict,
	patchbay.SettingsUnreadable:   http.StatusConflict,
	patchbay.SettingsUnwritable:   http.StatusConflict,
	patchbay.SettingsChanged:      http.StatusConflict,
	patchbay.RestartFailed:        http.StatusConflict,
	patchbay.StillInUse:           http.StatusConflict,

	patchbay.Internal:  http.StatusInternalServerError,
	ServiceUnavailable: http.StatusServiceUnavailable,
	patchbay.Timeout:   http.StatusServiceUnavailable, // 504 is not retried by every client
}

// Status is the HTTP status of a code; 500 for one that nobody mapped.
func Status(code patchbay.Code) int {
	if s, ok := statuses[code]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// errorInfo is the type of the additionalInfo item in which an error keeps
// what ARM's envelope has no member for.
const errorInfo = "Patchbay.Connector/error"

type errorBody struct {
	Error *errorDetail `json:"error"`
}

type errorDetail struct {
	Code           string           `json:"code"`
	Message        string           `json:"message"`
	Target         string           `json:"target,omitempty"`
	AdditionalInfo []additionalInfo `json:"additionalInfo,omitempty"`
}

type additionalInfo struct {
	Type string          `json:"type"`
	Info json.RawMessage `json:"info"`
}

type errorExtra struct {
	Op        string `json:"op,omitempty"`
	Message   string `json:"message"`
	Fix       string `json:"fix,omitempty"`
	Transient bool   `json:"transient,omitempty"`
}

// detail is e as ARM's error. Clients that know nothing of Patchbay print the
// message alone, so it says everything, the fix included; additionalInfo has
// the parts for those that do.
func detail(e *patchbay.Error) *errorDetail {
	text := e.Message
	if e.Op != "" {
		text = e.Op + ": " + text
	}
	if text == "" {
		text = string(e.Code)
	}
	if e.Fix != "" {
		text += ". Fix: " + e.Fix
	}
	d := &errorDetail{Code: string(e.Code), Message: text, Target: e.Subject}
	if e.Op != "" || e.Fix != "" || e.Transient {
		info, err := json.Marshal(errorExtra{Op: e.Op, Message: e.Message, Fix: e.Fix, Transient: e.Transient})
		if err == nil {
			d.AdditionalInfo = []additionalInfo{{Type: errorInfo, Info: info}}
		}
	}
	return d
}

// ErrorBody is the error envelope.
func ErrorBody(e *patchbay.Error) any { return errorBody{detail(e)} }

// ParseError is the error in an answer of that HTTP status. An answer that has
// no envelope (a proxy's page) becomes an error that says so.
func ParseError(status int, body []byte) *patchbay.Error {
	var b errorBody
	if err := json.Unmarshal(body, &b); err != nil || b.Error == nil || b.Error.Code == "" {
		code := patchbay.Internal
		if status == http.StatusNotFound {
			code = patchbay.ResourceNotFound
		}
		return patchbay.Errorf(code, "the server answered %d %s", status, strings.ToLower(http.StatusText(status)))
	}
	e := &patchbay.Error{Code: patchbay.Code(b.Error.Code), Message: b.Error.Message, Subject: b.Error.Target}
	for _, item := range b.Error.AdditionalInfo {
		var x errorExtra
		if item.Type != errorInfo || json.Unmarshal(item.Info, &x) != nil {
			continue
		}
		e.Op, e.Fix, e.Transient = x.Op, x.Fix, x.Transient
		if x.Message != "" {
			e.Message = x.Message
		}
	}
	return e
}

// quote shows what a caller sent, shortened, so that no line of a log or an
// answer grows with it.
func quote(s string) string {
	const limit = 80
	if len(s) <= limit {
		return fmt.Sprintf("%q", s)
	}
	return fmt.Sprintf("%q… (%d bytes)", strings.ToValidUTF8(s[:limit], ""), len(s))
}
