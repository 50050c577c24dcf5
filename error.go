package patchbay

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Code says what kind of thing went wrong. It is part of the API: package arm
// maps it to an HTTP status, scripts match on it.
type Code string

// The codes. Those that Azure has are spelled as Azure spells them
// (contract section 4.10).
const (
	InvalidResourceID      Code = "InvalidResourceId"
	InvalidArgument        Code = "InvalidArgument"        // a value that can't be used; the message says which ones can
	InvalidRequestContent  Code = "InvalidRequestContent"  // the body is not what the version asks for
	TargetTypeNotSupported Code = "TargetTypeNotSupported" // an id without its sub-resource, or of a type nobody knows
	ResourceNotFound       Code = "ResourceNotFound"
	SourceNotFound         Code = "SourceNotFound"
	TargetNotFound         Code = "TargetNotFound"
	Conflict               Code = "Conflict"
	OperationInProgress    Code = "OperationInProgress"
	PreconditionFailed     Code = "PreconditionFailed"
	TooManyRequests        Code = "TooManyRequests"
	QuotaExceeded          Code = "QuotaExceeded" // so many of them may there be, and no more
	Forbidden              Code = "AuthorizationFailed"
	Unauthenticated        Code = "AuthenticationFailed"
	PrincipalNotFound      Code = "PrincipalNotFound"          // of a role assignment
	RoleNotFound           Code = "RoleDefinitionDoesNotExist" // of a role assignment
	RoleAssignmentExists   Code = "RoleAssignmentExists"
	NotSupported           Code = "NotSupported" // this driver or target can't do that
	Internal               Code = "InternalServerError"
	Canceled               Code = "Canceled"

	// What a driver or a check finds.
	TargetUnreachable  Code = "TargetUnreachable"
	TargetMisbehaved   Code = "TargetMisbehaved" // its answers are none that a service gives: too large, endless, or the end of the client
	NameNotResolved    Code = "NameNotResolved"
	PortClosed         Code = "PortClosed"
	CertificateInvalid Code = "CertificateInvalid"
	PublicAccessDenied Code = "PublicAccessDenied"
	RuleMissing        Code = "RuleMissing"
	ChildMissing       Code = "ChildMissing"
	AdminRefused       Code = "AdminCredentialRefused" // the registered admin credential does not sign in
	AdminRights        Code = "AdminRightsMissing"     // it signs in but may not do what is needed
	InvalidDbSecret    Code = "InvalidDbSecret"        // a login that the caller gave is refused
	LoginRefused       Code = "LoginRefused"
	LoginMissing       Code = "LoginMissing"
	RightsMissing      Code = "RightsMissing"
	RightsExcess       Code = "RightsExcess"
	SecretExpired      Code = "SecretExpired"
	NotOurs            Code = "NotOurs" // something of that name is there and does not bear our mark
	SettingMissing     Code = "SettingMissing"
	SettingChanged     Code = "SettingChanged"
	SettingTakenOver   Code = "SettingTakenOver"
	SettingsUnreadable Code = "SettingsUnreadable"
	SettingsUnwritable Code = "SettingsUnwritable"
	SettingsChanged    Code = "SettingsChanged" // compare-and-swap lost: somebody wrote meanwhile
	RestartFailed      Code = "RestartFailed"
	StepEndsProcess    Code = "StepEndsProcess" // the server died each time that it ran this step
	StillInUse         Code = "StillInUse"      // an old credential has open sessions
	Timeout            Code = "Timeout"
)

// Error is what went wrong, for people: what was tried, on what, why it
// failed, and what to do next. It holds no secrets, and but for Said none of the
// other side's words.
type Error struct {
	Code    Code   `json:"code"`
	Op      string `json:"op,omitempty"`      // what was tried, as a phrase: "connect web to orders"
	Subject string `json:"subject,omitempty"` // the thing it is about: an id, a setting's name
	Message string `json:"message"`           // one sentence, without its full stop
	Fix     string `json:"fix,omitempty"`     // what to do next, best a command
	// Transient says that the same call may succeed in a moment: the saga
	// repeats the step. An error that is not transient ends the way forward.
	Transient bool `json:"transient,omitempty"`
	// Said is what the other side said of it, which driver.Guard makes one harmless
	// line. It is for who administers that side, and for the operator's log: it is
	// no part of Error(), and neither stored nor sent.
	Said string `json:"-"`
	Err  error  `json:"-"`
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op + ": ")
	}
	b.WriteString(string(e.Code))
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	return b.String()
}

// LogValue is e with what the other side said.
func (e *Error) LogValue() slog.Value {
	switch {
	case e == nil:
		return slog.Value{}
	case e.Said == "":
		return slog.StringValue(e.Error())
	}
	return slog.StringValue(e.Error() + "; it says: " + e.Said)
}

func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, &Error{Code: c}) match on the code alone.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Message == ""
}

// Errorf is an [Error] of that code with a formatted message. A %w operand
// becomes its cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// WithFix sets what to do next, and returns e.
func (e *Error) WithFix(format string, args ...any) *Error {
	e.Fix = fmt.Sprintf(format, args...)
	return e
}

// WithSaid sets what the other side said, and returns e.
func (e *Error) WithSaid(said string) *Error {
	e.Said = said
	return e
}

// AsTransient marks e as worth repeating, and returns it.
func (e *Error) AsTransient() *Error {
	e.Transient = true
	return e
}

// CodeOf is the code of the first [Error] in err's chain; Internal when there
// is none, "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Internal
}

// AsError is the first [Error] in err's chain, or one of code Internal that
// wraps err; nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: Internal, Message: err.Error(), Err: err}
}

// IsTransient reports whether the call that gave err is worth repeating.
func IsTransient(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Transient
}
