package client

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
)

// RoleDefinitionView is a role as the server answers it.
type RoleDefinitionView struct {
	ID         string `json:"id"`
	Name       string `json:"name"` // its GUID
	Properties struct {
		RoleName    string        `json:"roleName"`
		Type        string        `json:"type"`
		Description string        `json:"description"`
		Scopes      []patchbay.ID `json:"assignableScopes"`
		Permissions []struct {
			Actions    []string `json:"actions"`
			NotActions []string `json:"notActions"`
		} `json:"permissions"`
	} `json:"properties"`
}

// RoleAssignmentView is a role assignment as the server answers it.
type RoleAssignmentView struct {
	ID         string `json:"id"`
	Name       string `json:"name"` // its GUID
	Properties struct {
		Role          string                 `json:"roleDefinitionId"`
		Principal     string                 `json:"principalId"`
		PrincipalKind patchbay.PrincipalKind `json:"principalType"`
		Scope         patchbay.ID            `json:"scope"`
		Description   string                 `json:"description"`
	} `json:"properties"`
}

// RoleID is the GUID of the assigned role.
func (v RoleAssignmentView) RoleID() string { return arm.RoleID(v.Properties.Role) }

func authorization(scope patchbay.ID, rest string) string {
	return strings.TrimSuffix(string(scope), "/") + "/providers/" + arm.AuthorizationProvider + "/" + rest
}

// RoleDefinitions lists the roles that can be assigned at a scope.
func (c *Client) RoleDefinitions(ctx context.Context, scope patchbay.ID) ([]RoleDefinitionView, error) {
	return all[RoleDefinitionView](ctx, c, authorization(scope, "roleDefinitions"), nil)
}

// PutRoleDefinition makes a custom role, or replaces it.
func (c *Client) PutRoleDefinition(ctx context.Context, scope patchbay.ID, d patchbay.RoleDefinition) (v RoleDefinitionView, err error) {
	_, _, err = c.send(ctx, request{method: http.MethodPut, path: authorization(scope, "roleDefinitions/"+d.ID), body: arm.RoleDefinitionRequest(d)}, &v)
	return v, err
}

// DeleteRoleDefinition removes a custom role.
func (c *Client) DeleteRoleDefinition(ctx context.Context, scope patchbay.ID, id string) error {
	_, _, err := c.send(ctx, request{method: http.MethodDelete, path: authorization(scope, "roleDefinitions/"+id)}, nil)
	return err
}

// RoleAssignments lists those at a scope, above and below it; atScope leaves
// out those below.
func (c *Client) RoleAssignments(ctx context.Context, scope patchbay.ID, atScope bool) ([]RoleAssignmentView, error) {
	var q url.Values
	if atScope {
		q = url.Values{"$filter": {"atScope()"}}
	}
	return all[RoleAssignmentView](ctx, c, authorization(scope, "roleAssignments"), q)
}

// PutRoleAssignment gives a role.
func (c *Client) PutRoleAssignment(ctx context.Context, a patchbay.RoleAssignment) (v RoleAssignmentView, err error) {
	_, _, err = c.send(ctx, request{
		method: http.MethodPut, path: authorization(a.Scope, "roleAssignments/"+a.ID), body: arm.RoleAssignmentRequest(a),
	}, &v)
	return v, err
}

// DeleteRoleAssignment takes a role away, by the assignment's full id.
func (c *Client) DeleteRoleAssignment(ctx context.Context, id string) error {
	_, _, err := c.send(ctx, request{method: http.MethodDelete, path: id}, nil)
	return err
}
