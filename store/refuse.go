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

// NoScope is the answer to what would be about a scope that is not there.
func NoScope(scope patchbay.ID) error {
	return &patchbay.Error{Code: patchbay.ResourceNotFound, Subject: string(scope), Message: "there is no scope " + string(scope)}
}

// NoPrincipal is the answer to an assignment to a principal that is not there, or
// not in its tenant.
func NoPrincipal(a patchbay.RoleAssignment) error {
	return patchbay.Errorf(patchbay.PrincipalNotFound, "there is no principal %s in this tenant", a.Principal).WithFix("patchbay principal list")
}

// NoRole is the answer to an assignment of a role that is not there.
func NoRole(a patchbay.RoleAssignment) error {
	return patchbay.Errorf(patchbay.RoleNotFound, "there is no role definition %s", a.Role).WithFix("patchbay role definition list")
}

// NotAssignable is the answer to an assignment outside of its role's scopes.
func NotAssignable(d patchbay.RoleDefinition, a patchbay.RoleAssignment) error {
	return patchbay.Errorf(patchbay.InvalidArgument, "the role %s can't be assigned at %s", d.Name, a.Scope)
}

// StillAssigned is the Conflict of a definition that is assigned at a scope which
// it is to lose.
func StillAssigned(d patchbay.RoleDefinition, scope patchbay.ID) error {
	return patchbay.Errorf(patchbay.Conflict, "the role %s is assigned at %s, which would be no assignable scope any more", d.Name, scope)
}

// InUse is the Conflict of a resource group that has a resource or a connection
// in it.
func InUse(group patchbay.ID, what string) error {
	e := &patchbay.Error{Code: patchbay.Conflict, Subject: what, Message: "the resource group " + string(group) + " is not empty: it has " + what}
	if _, _, connection := patchbay.ID(what).ConnectionSource(); connection {
		return e.WithFix("patchbay connection delete %s", what)
	}
	return e.WithFix("patchbay resource remove %s", what)
}

// AssignmentLine is the audit line of a role assignment.
func AssignmentLine(action string, a patchbay.RoleAssignment) patchbay.AuditEntry {
	return patchbay.AuditEntry{Action: action, Resource: RoleAssignmentID(a.Scope, a.ID), Detail: "role " + a.Role + " to " + a.Principal}
}

// DryrunsOf is the id under which the dryruns of a source or location are: theirs
// without a name, but with the last slash.
func DryrunsOf(source patchbay.ID) patchbay.ID {
	if source.Local("x").IsLocal() {
		return source.Child("dryruns", "")
	}
	return source.Child("providers/Microsoft.ServiceLinker/dryruns", "")
}
