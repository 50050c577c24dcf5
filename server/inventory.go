package server

import (
	"net/http"
	"slices"
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
	subs = seen(x, subs, readSubscription, func(sub patchbay.Subscription) patchbay.ID {
		return patchbay.ID("/subscriptions/" + sub.ID)
	})
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

// putSubscription makes a subscription in a tenant, or renames it. It is not
// ARM's: Azure makes them elsewhere.
func (s *Server) putSubscription(x *exchange) error {
	body, err := x.body()
	if err != nil {
		return err
	}
	sub, err := arm.DecodeSubscription(x.path.Scope.Subscription(), body)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if _, err := s.subscription(x); patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		status = http.StatusCreated
	} else if err != nil {
		return err
	}
	if err := s.api.PutSubscription(x.ctx, sub); err != nil {
		return err
	}
	if sub, err = s.subscription(x); err != nil {
		return err
	}
	return x.json(status, arm.Subscription(sub))
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
	f, err := arm.ParseFilter(x.query("$filter"), filterTagName, filterTagValue)
	if err != nil {
		return err
	}
	groups = seen(x, groups, x.action, func(g patchbay.ResourceGroup) patchbay.ID { return g.ID })
	groups = slices.DeleteFunc(groups, func(g patchbay.ResourceGroup) bool { return !tagged(f, g.Tags) })
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
	if x.r.Method == http.MethodHead {
		return x.empty(http.StatusNoContent) // az group exists wants exactly this
	}
	return x.json(http.StatusOK, arm.ResourceGroup(g))
}

func (s *Server) patchResourceGroup(x *exchange) error {
	body, err := x.body()
	if err != nil {
		return err
	}
	g, err := s.api.ResourceGroup(x.ctx, x.path.Scope)
	if err != nil {
		return err
	}
	if err := arm.DecodeResourceGroupPatch(&g, body); err != nil {
		return err
	}
	if err := s.api.UpdateResourceGroup(x.ctx, g); err != nil {
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
	// Of a group that is absent ARM says so, and az takes no 204.
	if err := s.api.DeleteResourceGroup(x.ctx, x.path.Scope); err != nil {
		return err
	}
	return x.empty(http.StatusOK)
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

// What lists of resources and groups can be filtered by.
const (
	filterType     = "resourceType"
	filterGroup    = "resourceGroup"
	filterName     = "name"
	filterLocation = "location"
	filterTagName  = "tagName"
	filterTagValue = "tagValue"
)

// maxScan bounds how many pages of the records one page of a filtered list
// reads. Behind that it answers what it has, and where to go on.
const maxScan = 20

func (s *Server) listResources(x *exchange) error {
	after, limit, err := x.page()
	if err != nil {
		return err
	}
	f, err := arm.ParseFilter(x.query("$filter"), filterType, filterGroup, filterName, filterLocation, filterTagName, filterTagValue)
	if err != nil {
		return err
	}
	scope := x.path.Scope
	if group, ok := f[filterGroup]; ok && scope != "" && scope.ResourceGroup() == "" {
		if scope, err = patchbay.ParseID(string(scope) + "/resourceGroups/" + group); err != nil {
			return err
		}
	}
	if len(f) > 0 && x.query("$top") == "" {
		limit = maxPage
	}
	var found []patchbay.Resource
	for range maxScan {
		page, next, err := s.api.Resources(x.ctx, scope, after, limit)
		if err != nil {
			return err
		}
		found = seen(x, page, x.action, func(r patchbay.Resource) patchbay.ID { return r.ID })
		found = slices.DeleteFunc(found, func(r patchbay.Resource) bool { return !fits(f, r) })
		after = next
		if len(found) > 0 || next == "" {
			break
		}
	}
	items := make([]any, len(found))
	for i, r := range found {
		if scope == "" {
			items[i] = arm.Resource(r, nil)
		} else {
			items[i] = arm.ResourceItem(r, x.query("$expand"))
		}
	}
	return x.list(items, after)
}

func fits(f arm.Filter, r patchbay.Resource) bool {
	return f.Matches(filterType, r.ID.Type()) && f.Matches(filterGroup, r.ID.ResourceGroup()) &&
		f.Matches(filterName, r.ID.Name()) && f.Matches(filterLocation, r.Location) && tagged(f, r.Tags)
}

// tagged reports whether there is a tag of the wanted name, with the wanted
// value.
func tagged(f arm.Filter, tags map[string]string) bool {
	_, name := f[filterTagName]
	_, value := f[filterTagValue]
	if !name && !value {
		return true
	}
	for k, v := range tags {
		if f.Matches(filterTagName, k) && f.Matches(filterTagValue, v) {
			return true
		}
	}
	return false
}

func (s *Server) getResource(x *exchange) error {
	if strings.Count(x.path.Scope.Type(), "/") > 1 {
		// What is in a target (a database), the target itself is asked about.
		if err := x.enter(dials); err != nil {
			return err
		}
	}
	r, err := s.api.Resource(x.ctx, x.path.Scope)
	if err != nil {
		return err
	}
	x.etag(r.ETag)
	if x.r.Method == http.MethodHead {
		return x.empty(http.StatusNoContent)
	}
	return x.json(http.StatusOK, arm.Resource(r, nil))
}

// patchResource merges into the record as it is: what changed it meanwhile is
// not overwritten.
func (s *Server) patchResource(x *exchange) error {
	noCheck, err := x.unchecked()
	if err != nil {
		return err
	}
	body, err := x.body()
	if err != nil {
		return err
	}
	merge, admin, err := arm.DecodeResourcePatch(body)
	if err != nil {
		return err
	}
	tag, err := x.ifMatch()
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		r, err := s.api.Resource(x.ctx, x.path.Scope)
		if err != nil {
			return err
		}
		found := r.ETag
		if tag != "" && tag != "*" {
			found = tag
		}
		if err := merge(&r); err != nil {
			return err
		}
		kept, _, warnings, err := s.api.PutResource(x.ctx, connector.ResourceRequest{
			Resource: r, Admin: admin, Caller: x.caller.Caller, IfMatch: found, NoCheck: noCheck,
		})
		if patchbay.CodeOf(err) == patchbay.PreconditionFailed && (tag == "" || tag == "*") && try < 3 {
			continue
		}
		if err != nil {
			return err
		}
		x.etag(kept.ETag)
		return x.json(http.StatusOK, arm.Resource(kept, warnings))
	}
}

// unchecked says whether a resource is taken without being asked.
func (x *exchange) unchecked() (bool, error) {
	switch x.query("check") {
	case "", "true":
		return false, nil
	case "false":
		return true, nil
	}
	return false, patchbay.Errorf(patchbay.InvalidArgument, "the query parameter check has to be true or false")
}

func (s *Server) putResource(x *exchange) error {
	noCheck, err := x.unchecked()
	if err != nil {
		return err
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
	x.etag(kept.ETag)
	return x.json(createdOr200(created), arm.Resource(kept, warnings))
}

func (s *Server) deleteResource(x *exchange) error {
	tag, err := x.ifMatch()
	if err != nil {
		return err
	}
	return x.deleted(s.api.DeleteResource(x.ctx, x.path.Scope, tag))
}

// rotateAdmin begins to replace the credential that a target is administered with. What
// it is, no answer has.
func (s *Server) rotateAdmin(x *exchange) error {
	tag, err := x.ifMatch()
	if err != nil {
		return err
	}
	op, err := s.api.RotateAdmin(x.ctx, connector.RotateAdminRequest{ID: x.path.Scope, Caller: x.caller.Caller, IfMatch: tag})
	if err != nil {
		return err
	}
	return x.accepted(op)
}

// checkHost answers what a registered machine lets the server do. What is missing
// there is an answer, and no error.
func (s *Server) checkHost(x *exchange) error {
	found, err := s.api.CheckHost(x.ctx, x.path.Scope, x.caller.Caller)
	if err != nil {
		return err
	}
	items := make([]any, len(found))
	for i, f := range found {
		items[i] = f
	}
	return x.json(http.StatusOK, map[string]any{"value": items})
}

// search is the body of a search in a resource group.
func (x *exchange) search(takes bool) (arm.Discover, connector.DiscoverRequest, error) {
	body, err := x.body()
	if err != nil {
		return arm.Discover{}, connector.DiscoverRequest{}, err
	}
	want, err := arm.DecodeDiscover(body, takes)
	return want, connector.DiscoverRequest{
		Group: x.path.Scope, Driver: want.Where.Driver, Endpoint: want.Where.Endpoint, Properties: want.Where.Properties, Admin: want.Admin, Caller: x.caller.Caller,
	}, err
}

// discover answers what runs where a source driver looks. Nothing is changed.
func (s *Server) discover(x *exchange) error {
	_, r, err := x.search(false)
	if err != nil {
		return err
	}
	found, err := s.api.Discover(x.ctx, r)
	if err != nil {
		return err
	}
	items := make([]any, len(found))
	for i, d := range found {
		items[i] = d
	}
	return x.json(http.StatusOK, map[string]any{"value": items})
}

// takeCredential registers a service that is found with the credential that its image
// keeps. The answer has none of it.
func (s *Server) takeCredential(x *exchange) error {
	want, r, err := x.search(true)
	if err != nil {
		return err
	}
	kept, created, warnings, err := s.api.Take(x.ctx, connector.TakeRequest{DiscoverRequest: r, Name: want.Name, As: want.As})
	if err != nil {
		return err
	}
	x.etag(kept.ETag)
	return x.json(createdOr200(created), arm.Resource(kept, warnings))
}
