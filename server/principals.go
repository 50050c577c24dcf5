package server

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/google/uuid"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/identity"
)

// findTenant is the tenant that the path names, for who may know of it.
func (s *Server) findTenant(x *exchange) (patchbay.Tenant, error) {
	tenants, err := s.api.Tenants(x.ctx)
	if err != nil {
		return patchbay.Tenant{}, err
	}
	for _, t := range tenants {
		if strings.EqualFold(t.ID, x.path.Name) && x.inTenant(t.ID) {
			return t, nil
		}
	}
	return patchbay.Tenant{}, &patchbay.Error{Code: patchbay.ResourceNotFound, Subject: x.path.Name, Message: "there is no such tenant"}
}

func (s *Server) getTenant(x *exchange) error {
	t, err := s.findTenant(x)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, arm.Tenant(t))
}

// putTenant makes a tenant, which only the operator can, or renames it.
func (s *Server) putTenant(x *exchange) error {
	id, err := uuid.Parse(x.path.Name)
	if err != nil || len(x.path.Name) != 36 {
		return patchbay.Errorf(patchbay.InvalidArgument, "a tenant's id has to be a GUID")
	}
	status := http.StatusOK
	if _, err := s.findTenant(x); patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		if !x.caller.subject.Operator {
			return err
		}
		status = http.StatusCreated
	} else if err != nil {
		return err
	}
	body, err := x.body()
	if err != nil {
		return err
	}
	t, err := arm.DecodeTenant(id.String(), body)
	if err != nil {
		return err
	}
	if err := s.api.PutTenant(x.inTenants(t.ID), t); err != nil {
		return err
	}
	return x.json(status, arm.Tenant(t))
}

// people are the principals, where there are any.
func (s *Server) people() (*identity.Service, error) {
	if s.opts.Issuer == nil {
		return nil, patchbay.Errorf(patchbay.NotSupported, "this server keeps no principals")
	}
	return s.opts.Issuer, nil
}

// ofTenant is the tenant whose principals are meant: the caller's own; the
// operator, who is in none, names one with the query parameter tenant.
func (x *exchange) ofTenant() (string, error) {
	asked := x.query("tenant")
	if asked == "" {
		return x.tenant(), nil
	}
	t, ok, err := x.server.opts.Issuer.Tenant(x.ctx, asked)
	if err != nil {
		return "", err
	}
	if !ok || !x.inTenant(t.ID) {
		return "", &patchbay.Error{Code: patchbay.ResourceNotFound, Subject: asked, Message: "there is no such tenant"}
	}
	return t.ID, nil
}

// inTenants is the context in which what is done is told in that tenant's audit
// log too.
func (x *exchange) inTenants(tenant string) context.Context {
	a := patchbay.ActOf(x.ctx)
	if !slices.ContainsFunc(a.Tenants, func(t string) bool { return strings.EqualFold(t, tenant) }) {
		a.Tenants = append(slices.Clone(a.Tenants), tenant)
	}
	return patchbay.WithAct(x.ctx, a)
}

func (s *Server) listPrincipals(x *exchange) error {
	people, err := s.people()
	if err != nil {
		return err
	}
	tenant, err := x.ofTenant()
	if err != nil {
		return err
	}
	after, limit, err := x.page()
	if err != nil {
		return err
	}
	page, next, err := people.List(x.ctx, tenant, after, limit)
	if err != nil {
		return err
	}
	items := make([]any, len(page))
	for i, p := range page {
		items[i] = arm.Principal(p, patchbay.Secret{})
	}
	return x.list(items, next)
}

func (s *Server) createPrincipal(x *exchange) error {
	people, err := s.people()
	if err != nil {
		return err
	}
	body, err := x.body()
	if err != nil {
		return err
	}
	r, err := arm.DecodeNewPrincipal(body)
	if err != nil {
		return err
	}
	tenant, err := x.ofTenant()
	if err == nil && tenant == "" {
		tenant, err = s.onlyTenant(x)
	}
	if err != nil {
		return err
	}
	p, secret, err := people.Create(x.inTenants(tenant), identity.NewPrincipal{
		Tenant: tenant, Name: r.Name, Expires: r.Expires, Provider: r.Provider, Kind: r.Kind, Subject: r.Subject,
	})
	if err != nil {
		return err
	}
	x.etag(p.ETag)
	return x.json(http.StatusCreated, arm.Principal(p, secret))
}

// onlyTenant is the tenant that the operator means without naming one.
func (s *Server) onlyTenant(x *exchange) (string, error) {
	tenants, err := s.api.Tenants(x.ctx)
	if err != nil {
		return "", err
	}
	if len(tenants) != 1 {
		return "", patchbay.Errorf(patchbay.InvalidArgument, "there are %d tenants: name the principal's with the query parameter tenant", len(tenants)).
			WithFix("patchbay principal create --tenant NAME")
	}
	return tenants[0].ID, nil
}

// known is the principal that the path names; what is done to it is in its
// tenant's audit log too.
func (x *exchange) known() (*identity.Service, patchbay.Principal, error) {
	people, err := x.server.people()
	if err != nil {
		return nil, patchbay.Principal{}, err
	}
	p, err := people.Get(x.ctx, x.tenant(), x.path.Name)
	if err == nil {
		x.ctx = x.inTenants(p.Tenant)
	}
	return people, p, err
}

func (s *Server) getPrincipal(x *exchange) error {
	_, p, err := x.known()
	if err != nil {
		return err
	}
	return x.principal(p, patchbay.Secret{})
}

func (x *exchange) principal(p patchbay.Principal, secret patchbay.Secret) error {
	x.etag(p.ETag)
	return x.json(http.StatusOK, arm.Principal(p, secret))
}

func (s *Server) patchPrincipal(x *exchange) error {
	ifMatch, err := x.ifMatch()
	if err != nil {
		return err
	}
	body, err := x.body()
	if err != nil {
		return err
	}
	r, err := arm.DecodePrincipalChange(body)
	if err != nil {
		return err
	}
	people, p, err := x.known()
	if err != nil {
		return err
	}
	change := identity.Change{Disabled: r.Disabled}
	if r.Name != "" {
		change.Name = &r.Name
	}
	p, err = people.Update(x.ctx, x.tenant(), p.ID, change, ifMatch)
	if err != nil {
		return err
	}
	return x.principal(p, patchbay.Secret{})
}

func (s *Server) deletePrincipal(x *exchange) error {
	ifMatch, err := x.ifMatch()
	if err != nil {
		return err
	}
	people, p, err := x.known()
	if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		return x.empty(http.StatusNoContent)
	}
	if err != nil {
		return err
	}
	if err := people.Delete(x.ctx, x.tenant(), p.ID, ifMatch); err != nil {
		return err
	}
	return x.empty(http.StatusOK)
}

func (s *Server) resetSecret(x *exchange) error {
	ifMatch, err := x.ifMatch()
	if err != nil {
		return err
	}
	body, err := x.body()
	if err != nil {
		return err
	}
	r, err := arm.DecodeReset(body)
	if err != nil {
		return err
	}
	people, p, err := x.known()
	if err != nil {
		return err
	}
	p, secret, err := people.ResetSecret(x.ctx, x.tenant(), p.ID, identity.Reset{Append: r.Append != nil && *r.Append, Expires: r.Expires}, ifMatch)
	if err != nil {
		return err
	}
	return x.principal(p, secret)
}
