package server

import (
	"net/http"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/connector"
)

func (s *Server) listSubscriptions(x *exchange) error {
	subs, err := s.api.Subscriptions(x.ctx)
	if err != nil {
		return err
	}
	items := make([]any, len(subs))
	for i, sub := range subs {
		items[i] = arm.Subscription(sub)
	}
	return x.list(items, "")
}

func (s *Server) subscription(x *exchange) (patchbay.Subscription, error) {
	subs, err := s.api.Subscriptions(x.ctx)
	if err != nil {
		return patchbay.Subscription{}, err
	}
	want := x.path.Scope.Subscription()
	for _, sub := range subs {
		if strings.EqualFold(sub.ID, want) {
			return sub, nil
		}
	}
	return patchbay.Subscription{}, patchbay.Errorf(patchbay.ResourceNotFound, "there is no subscription %q", want)
}

func (s *Server) getSubscription(x *exchange) error {
	sub, err := s.subscription(x)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, arm.Subscription(sub))
}

func (s *Server) listResourceGroups(x *exchange) error {
	sub, err := s.subscription(x)
	if err != nil {
		return err
	}
	groups, err := s.api.ResourceGroups(x.ctx, sub.ID)
	if err != nil {
		return err
	}
	items := make([]any, len(groups))
	for i, g := range groups {
		items[i] = arm.ResourceGroup(g)
	}
	return x.list(items, "")
}

func (s *Server) getResourceGroup(x *exchange) error {
	g, err := s.api.ResourceGroup(x.ctx, x.path.Scope)
	if err != nil {
		return err
	}
	return x.json(http.StatusOK, arm.ResourceGroup(g))
}

func (s *Server) putResourceGroup(x *exchange) error {
	body, err := x.body()
	if err != nil {
		return err
	}
	g, err := arm.DecodeResourceGroup(x.path.Scope, body)
	if err != nil {
		return err
	}
	status := http.StatusOK
	switch old, err := s.api.ResourceGroup(x.ctx, g.ID); {
	case err == nil:
		g.ID = old.ID // the casing of its maker
	case patchbay.CodeOf(err) == patchbay.ResourceNotFound:
		status = http.StatusCreated
	default:
		return err
	}
	if err := s.api.PutResourceGroup(x.ctx, g); err != nil {
		return err
	}
	return x.json(status, arm.ResourceGroup(g))
}

func (s *Server) deleteResourceGroup(x *exchange) error {
	return x.deleted(s.api.DeleteResourceGroup(x.ctx, x.path.Scope))
}

func (x *exchange) deleted(err error) error {
	if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		return x.empty(http.StatusNoContent)
	}
	if err != nil {
		return err
	}
	return x.empty(http.StatusOK)
}

func (s *Server) listResources(x *exchange) error {
	after, limit, err := x.page()
	if err != nil {
		return err
	}
	page, next, err := s.api.Resources(x.ctx, x.path.Scope, after, limit)
	if err != nil {
		return err
	}
	items := make([]any, len(page))
	for i, r := range page {
		items[i] = arm.Resource(r, nil)
	}
	return x.list(items, next)
}

func (s *Server) getResource(x *exchange) error {
	r, err := s.api.Resource(x.ctx, x.path.Scope)
	if err != nil {
		return err
	}
	x.etag(r.ETag)
	return x.json(http.StatusOK, arm.Resource(r, nil))
}

func (s *Server) putResource(x *exchange) error {
	noCheck := false
	switch x.query("check") {
	case "", "true":
	case "false":
		noCheck = true
	default:
		return patchbay.Errorf(patchbay.InvalidArgument, "the query parameter check has to be true or false")
	}
	body, err := x.body()
	if err != nil {
		return err
	}
	r, admin, err := arm.DecodeResource(x.path.Scope, body)
	if err != nil {
		return err
	}
	tag, err := x.ifMatch()
	if err != nil {
		return err
	}
	kept, created, warnings, err := s.api.PutResource(x.ctx, connector.ResourceRequest{
		Resource: r, Admin: admin, Caller: x.caller.Caller, IfMatch: tag, NoCheck: noCheck,
	})
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	x.etag(kept.ETag)
	return x.json(status, arm.Resource(kept, warnings))
}

func (s *Server) deleteResource(x *exchange) error {
	tag, err := x.ifMatch()
	if err != nil {
		return err
	}
	return x.deleted(s.api.DeleteResource(x.ctx, x.path.Scope, tag))
}
