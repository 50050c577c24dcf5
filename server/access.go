package server

import (
	"context"
	"net/http"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/access"
	"patchbay.dev/patchbay/arm"
)

// Roles keeps role definitions and assignments; package access has it.
type Roles interface {
	Assignments(ctx context.Context, who patchbay.Subject, scope patchbay.ID, f access.AssignmentFilter) ([]patchbay.RoleAssignment, error)
	Assignment(ctx context.Context, who patchbay.Subject, scope patchbay.ID, id string) (patchbay.RoleAssignment, error)
	PutAssignment(ctx context.Context, who patchbay.Subject, a patchbay.RoleAssignment) (stored patchbay.RoleAssignment, created bool, err error)
	DeleteAssignment(ctx context.Context, who patchbay.Subject, scope patchbay.ID, id string) (patchbay.RoleAssignment, error)

	Definitions(ctx context.Context, who patchbay.Subject, scope patchbay.ID, f access.DefinitionFilter) ([]patchbay.RoleDefinition, error)
	Definition(ctx context.Context, who patchbay.Subject, id string) (patchbay.RoleDefinition, error)
	PutDefinition(ctx context.Context, who patchbay.Subject, d patchbay.RoleDefinition, ifMatch string) (stored patchbay.RoleDefinition, created bool, err error)
	DeleteDefinition(ctx context.Context, who patchbay.Subject, id string) (patchbay.RoleDefinition, error)

	Permissions(ctx context.Context, who patchbay.Subject, scope patchbay.ID) ([]patchbay.RoleDefinition, error)
}

// roles keeps the roles, where there are any.
func (s *Server) roles() (Roles, error) {
	if r, ok := s.opts.Access.(Roles); ok {
		return r, nil
	}
	return nil, patchbay.Errorf(patchbay.NotSupported, "this server has no roles: only its operator may call it")
}

func (x *exchange) roleFilter() (arm.RoleFilter, error) {
	return arm.ParseRoleFilter(x.query("$filter"))
}

func (s *Server) listRoleDefinitions(x *exchange) error {
	roles, err := s.roles()
	if err != nil {
		return err
	}
	f, err := x.roleFilter()
	if err != nil {
		return err
	}
	list, err := roles.Definitions(x.ctx, x.caller.subject, x.path.Scope, access.DefinitionFilter{Name: f.RoleName, Type: f.RoleType, Below: f.Below})
	if err != nil {
		return err
	}
	items := make([]any, len(list))
	for i, d := range list {
		items[i] = arm.RoleDefinition(x.path.Scope, d)
	}
	return x.list(items, "")
}

func (s *Server) getRoleDefinition(x *exchange) error {
	roles, err := s.roles()
	if err != nil {
		return err
	}
	d, err := roles.Definition(x.ctx, x.caller.subject, x.path.Name)
	if err != nil {
		return err
	}
	x.etag(d.ETag)
	return x.json(http.StatusOK, arm.RoleDefinition(x.path.Scope, d))
}

func (s *Server) putRoleDefinition(x *exchange) error {
	roles, err := s.roles()
	if err != nil {
		return err
	}
	body, err := x.body()
	if err != nil {
		return err
	}
	d, err := arm.DecodeRoleDefinition(x.path.Name, body)
	if err != nil {
		return err
	}
	tag, err := x.ifMatch()
	if err != nil {
		return err
	}
	d, created, err := roles.PutDefinition(x.ctx, x.caller.subject, d, tag)
	if err != nil {
		return err
	}
	x.etag(d.ETag)
	return x.json(createdOr200(created), arm.RoleDefinition(x.path.Scope, d))
}

func (s *Server) deleteRoleDefinition(x *exchange) error {
	roles, err := s.roles()
	if err != nil {
		return err
	}
	d, err := roles.DeleteDefinition(x.ctx, x.caller.subject, x.path.Name)
	if err != nil {
		return x.deleted(err)
	}
	return x.json(http.StatusOK, arm.RoleDefinition(x.path.Scope, d))
}

func (s *Server) listRoleAssignments(x *exchange) error {
	roles, err := s.roles()
	if err != nil {
		return err
	}
	f, err := x.roleFilter()
	if err != nil {
		return err
	}
	list, err := roles.Assignments(x.ctx, x.caller.subject, x.path.Scope, access.AssignmentFilter{AtScope: f.AtScope, Principal: f.Principal, AssignedTo: f.AssignedTo})
	if err != nil {
		return err
	}
	items := make([]any, len(list))
	for i, a := range list {
		items[i] = arm.RoleAssignment(x.path.Scope, a)
	}
	return x.list(items, "")
}

func (s *Server) getRoleAssignment(x *exchange) error {
	roles, err := s.roles()
	if err != nil {
		return err
	}
	a, err := roles.Assignment(x.ctx, x.caller.subject, x.path.Scope, x.path.Name)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, arm.RoleAssignment(x.path.Scope, a))
}

func (s *Server) putRoleAssignment(x *exchange) error {
	roles, err := s.roles()
	if err != nil {
		return err
	}
	body, err := x.body()
	if err != nil {
		return err
	}
	a, err := arm.DecodeRoleAssignment(x.path.Scope, x.path.Name, body)
	if err != nil {
		return err
	}
	a, created, err := roles.PutAssignment(x.ctx, x.caller.subject, a)
	if err != nil {
		return err
	}
	return x.json(createdOr200(created), arm.RoleAssignment(x.path.Scope, a))
}

func (s *Server) deleteRoleAssignment(x *exchange) error {
	roles, err := s.roles()
	if err != nil {
		return err
	}
	a, err := roles.DeleteAssignment(x.ctx, x.caller.subject, x.path.Scope, x.path.Name)
	if err != nil {
		return x.deleted(err)
	}
	return x.json(http.StatusOK, arm.RoleAssignment(x.path.Scope, a))
}

// listPermissions answers what the caller may do at the scope.
func (s *Server) listPermissions(x *exchange) error {
	roles, err := s.roles()
	if err != nil {
		return err
	}
	list, err := roles.Permissions(x.ctx, x.caller.subject, x.path.Scope)
	if err != nil {
		return err
	}
	items := make([]any, len(list))
	for i, d := range list {
		items[i] = arm.Permission(d)
	}
	return x.list(items, "")
}
