package store

import "patchbay.dev/patchbay"

// What every implementation answers when a name is taken or in use.

// PrincipalTaken is the Conflict of a client id or subject that other has.
func PrincipalTaken(p patchbay.Principal, other string) error {
	what := "the client id " + p.AppID
	if p.Subject != "" {
		what = p.Subject + " of " + p.Provider
	}
	return &patchbay.Error{Code: patchbay.Conflict, Subject: other, Message: what + " is already that of the principal " + other}
}

// RoleNameTaken is the Conflict of a name that another definition has.
func RoleNameTaken(d patchbay.RoleDefinition, other string) error {
	return &patchbay.Error{Code: patchbay.Conflict, Subject: other, Message: "there is already a role definition named " + d.Name + " (" + other + ")"}
}

// RoleInUse is the Conflict of a definition that is assigned.
func RoleInUse(name, assignment string) error {
	return (&patchbay.Error{Code: patchbay.Conflict, Subject: assignment, Message: "the role " + name + " is assigned"}).
		WithFix("patchbay role list, and patchbay role unassign those of %s", name)
}

// AssignedAlready is the Conflict of an assignment that there is under the id
// other.
func AssignedAlready(a patchbay.RoleAssignment, other string) error {
	return &patchbay.Error{
		Code: patchbay.Conflict, Subject: other,
		Message: "the principal " + a.Principal + " has that role at " + string(a.Scope) + " already, by the assignment " + other,
	}
}

// AssignmentLine is the audit line of a role assignment.
func AssignmentLine(action string, a patchbay.RoleAssignment) patchbay.AuditEntry {
	return patchbay.AuditEntry{Action: action, Resource: RoleAssignmentID(a.Scope, a.ID), Detail: "role " + a.Role + " to " + a.Principal}
}

// DryrunsOf is the id under which the dryruns of a source or location are: theirs
// without a name, but with the last slash.
func DryrunsOf(source patchbay.ID) patchbay.ID {
	if source.Connector("x").IsConnector() {
		return source.Child("dryruns", "")
	}
	return source.Child("providers/Microsoft.ServiceLinker/dryruns", "")
}
