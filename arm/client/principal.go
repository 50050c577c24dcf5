package client

import (
	"context"
	"net/http"
	"net/url"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
)

// TenantView is a tenant as the server answers it.
type TenantView struct {
	ID          string `json:"tenantId"`
	DisplayName string `json:"displayName"`
}

// ofTenant is the query that names a tenant, for the operator, who is in none.
func ofTenant(tenant string) url.Values {
	if tenant == "" {
		return nil
	}
	return url.Values{"tenant": {tenant}}
}

func principalPath(id string) string { return ownProvider + "/principals/" + id }

// Principals lists those of a tenant, by its id or name; "" is the caller's,
// or for the operator all.
func (c *Client) Principals(ctx context.Context, tenant string) ([]arm.PrincipalView, error) {
	return all[arm.PrincipalView](ctx, c, ownProvider+"/principals", ofTenant(tenant))
}

// Principal reads one, by its object id or client id.
func (c *Client) Principal(ctx context.Context, id string) (v arm.PrincipalView, err error) {
	_, _, err = c.send(ctx, request{method: http.MethodGet, path: principalPath(id)}, &v)
	return v, err
}

// CreatePrincipal makes one.
func (c *Client) CreatePrincipal(ctx context.Context, tenant string, p arm.PrincipalRequest) (v arm.PrincipalView, err error) {
	_, _, err = c.send(ctx, request{method: http.MethodPost, path: ownProvider + "/principals", query: ofTenant(tenant), body: p}, &v)
	return v, err
}

// UpdatePrincipal changes its name, or whether it is disabled.
func (c *Client) UpdatePrincipal(ctx context.Context, id string, p arm.PrincipalRequest) (v arm.PrincipalView, err error) {
	_, _, err = c.send(ctx, request{method: http.MethodPatch, path: principalPath(id), body: p}, &v)
	return v, err
}

// DeletePrincipal removes one, with its role assignments.
func (c *Client) DeletePrincipal(ctx context.Context, id string) error {
	_, _, err := c.send(ctx, request{method: http.MethodDelete, path: principalPath(id)}, nil)
	return err
}

// ResetSecret gives a principal a new secret.
func (c *Client) ResetSecret(ctx context.Context, id string, p arm.PrincipalRequest) (v arm.PrincipalView, err error) {
	_, _, err = c.send(ctx, request{method: http.MethodPost, path: principalPath(id) + "/resetSecret", body: p}, &v)
	return v, err
}

// Tenants lists those that the caller may know of.
func (c *Client) Tenants(ctx context.Context) ([]TenantView, error) {
	return all[TenantView](ctx, c, ownProvider+"/tenants", nil)
}

// PutTenant makes a tenant, or renames it.
func (c *Client) PutTenant(ctx context.Context, t patchbay.Tenant) (v TenantView, err error) {
	_, _, err = c.send(ctx, request{method: http.MethodPut, path: ownProvider + "/tenants/" + t.ID, body: map[string]any{"displayName": t.DisplayName}}, &v)
	return v, err
}

// PutSubscription makes a subscription in a tenant, or renames it.
func (c *Client) PutSubscription(ctx context.Context, s patchbay.Subscription) error {
	_, _, err := c.send(ctx, request{
		method: http.MethodPut, path: "/subscriptions/" + s.ID, body: map[string]any{"displayName": s.DisplayName, "tenantId": s.TenantID},
	}, nil)
	return err
}

// SignIn asks how one signs in; a client that has a token is told whose it is.
func (c *Client) SignIn(ctx context.Context) (v arm.SignInView, err error) {
	_, _, err = c.send(ctx, request{method: http.MethodGet, path: ownProvider + "/signIn"}, &v)
	return v, err
}

// HTTP reaches the server, and trusts what the client trusts; it sends no
// token by itself.
func (c *Client) HTTP() *http.Client { return c.http }
