package server

import (
	"context"
	"fmt"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/connector"
)

// hold is where a caller must have an action.
type hold int

const (
	atScope  hold = iota // at the path's scope, or above it
	inside               // at the scope, above it, or anywhere below: a container shows itself with what is in it
	anywhere             // at any scope: what is no tenant's own
	listed               // nowhere: a list at the root shows what the caller may read, which may be nothing
	signedIn             // nowhere: it is the same for everybody, and in the documentation
	byRecord             // at what the named record is about; the handler asks when it has read it
	atServer             // at the server as a whole: the operator alone
)

// authorize asks whether the caller may do what the route does.
func (x *exchange) authorize() error {
	scope := x.scope()
	switch x.held {
	case byRecord, listed, signedIn:
		return nil
	case atServer:
		if x.caller.subject.Operator {
			return nil
		}
		return x.refuse(x.caller.subject, x.action, patchbay.RootScope, x.reaches(x.reads))
	case inside:
		if x.within(scope, x.action) {
			return nil
		}
	case anywhere:
		if x.reaches(x.action) {
			return nil
		}
	}
	return x.allowed(scope)
}

// allowed asks whether the caller may do what the route does, at scope. What
// it may not read is not there: the answer is that of a thing that is absent.
func (x *exchange) allowed(scope patchbay.ID) error {
	return x.ask(x.caller.subject, x.action, x.reads, scope)
}

// ask asks whether who may do the action at scope, where reads makes a thing
// visible.
func (x *exchange) ask(who patchbay.Subject, action, reads string, scope patchbay.ID) error {
	if who.Operator {
		return nil
	}
	if a := x.server.opts.Access; a != nil {
		err := a.Check(x.ctx, who, action, scope)
		if err == nil || patchbay.CodeOf(err) != patchbay.Forbidden {
			return err
		}
	}
	return x.refuse(who, action, scope, action != reads && x.visible(who, reads, scope))
}

// visible reports whether who may know of the scope, by the same measure as
// the route's GET.
func (x *exchange) visible(who patchbay.Subject, reads string, scope patchbay.ID) bool {
	if x.container { // and then it is the caller who is asked about
		return x.within(scope, reads)
	}
	return x.may(who, reads, scope)
}

// refuse makes the answer to who may not do the action at scope: Forbidden
// when it may know of the scope, otherwise that of what is absent.
func (x *exchange) refuse(who patchbay.Subject, action string, scope patchbay.ID, visible bool) error {
	x.refused = &refusal{action: action, scope: scope, hidden: !visible}
	if !visible {
		return x.absent(scope)
	}
	if x.held == atServer {
		return patchbay.Errorf(patchbay.Forbidden, "%s may not do %s: it is about the whole server, and for its operator alone", x.caller.Name, action)
	}
	if err := x.server.opts.Access.Check(x.ctx, who, action, scope); err != nil {
		return err
	}
	return patchbay.Errorf(patchbay.Forbidden, "%s may not do %s at %s", x.caller.Name, action, scope)
}

// absent is the answer to what is not there, in the words of the records, for
// whoever may not know that it is.
func (x *exchange) absent(scope patchbay.ID) error {
	what, id := "resource", string(scope)
	switch {
	case x.path.Linker != "":
		what = "connection"
	case x.path.Route == routeSubscription, x.path.Route == routeGroups:
		return patchbay.Errorf(patchbay.ResourceNotFound, "there is no subscription %q", scope.Subscription())
	case x.path.Route == routeGroup:
		what = "resource group"
	case x.record != "":
		what, id = x.record, x.path.Name
	}
	if x.path.Scope == "" && x.path.Linker == "" && x.path.Name != "" {
		id = x.path.Name
	}
	if id == "" || id == string(patchbay.RootScope) {
		return patchbay.Errorf(arm.InvalidResourceType, "there is nothing here, or nothing that you may read")
	}
	return &patchbay.Error{Code: patchbay.ResourceNotFound, Subject: id, Message: fmt.Sprintf("there is no %s %s", what, id)}
}

func (x *exchange) may(who patchbay.Subject, action string, scope patchbay.ID) bool {
	a := x.server.opts.Access
	return who.Operator || a != nil && a.Check(x.ctx, who, action, scope) == nil
}

func (x *exchange) within(scope patchbay.ID, action string) bool {
	a := x.server.opts.Access
	return x.caller.subject.Operator || a != nil && a.Within(x.ctx, x.caller.subject, action, scope)
}

func (x *exchange) reaches(action string) bool { return x.within(patchbay.RootScope, action) }

// sees reports whether a list may show the caller what is at scope: whether it
// may do the action there. A subscription or a resource group it sees as soon
// as it sees something in it.
func (x *exchange) sees(scope patchbay.ID, action string) bool {
	if scope != "" && scope.Type() == "" {
		return x.within(scope, action)
	}
	return x.may(x.caller.subject, action, scope)
}

// seen is what of a list the caller may read.
func seen[T any](x *exchange, list []T, action string, scope func(T) patchbay.ID) []T {
	x.records += len(list)
	if x.caller.subject.Operator {
		return list
	}
	kept := make([]T, 0, len(list))
	for _, item := range list {
		if x.sees(scope(item), action) {
			kept = append(kept, item)
		}
	}
	return kept
}

// tenant is the caller's tenant; "" of the operator, who is in all.
func (x *exchange) tenant() string { return x.caller.subject.Tenant }

// inTenant reports whether the caller may know of what is a tenant's.
func (x *exchange) inTenant(tenant string) bool {
	return x.caller.subject.Operator || tenant != "" && strings.EqualFold(tenant, x.tenant())
}

// identified gives the use cases the caller, who is asked about the other end
// of a connection: in the tenant that it is in, with the token of that tenant.
func (x *exchange) identified() connector.Caller {
	c := x.caller.Caller
	c.Tell = x.tell
	if x.caller.subject.Operator {
		return c
	}
	c.Subjects = append([]patchbay.Subject{x.caller.subject}, x.caller.auxiliary...)
	c.Allow = func(ctx context.Context, action string, scope patchbay.ID) error {
		ask := *x
		ask.container = false
		ask.ctx, ask.held, ask.path = ctx, atScope, arm.Path{Scope: scope}
		if _, _, connection := scope.ConnectionSource(); connection {
			ask.path.Linker = scope
		}
		err := ask.allow(action, scope)
		x.refused = ask.refused
		return err
	}
	return c
}

// allow decides about an action that is not the route's own.
func (x *exchange) allow(action string, scope patchbay.ID) error {
	reads, who := readsOf(scope), x.caller.subject
	if a := x.server.opts.Access; a != nil {
		tenant, _, err := a.TenantOf(x.ctx, scope)
		if err != nil {
			return err
		}
		var ok bool
		if who, ok = x.caller.in(tenant); !ok { // nobody is in no tenant
			return x.refuse(x.caller.subject, action, scope, false)
		}
	}
	return x.ask(who, action, reads, scope)
}

// readsOf is the action that makes a connection, or else a resource, visible.
func readsOf(scope patchbay.ID) string {
	switch _, _, connection := scope.ConnectionSource(); {
	case scope.IsLocal():
		return connectors + "read"
	case connection:
		return linkers + "read"
	}
	return own + "resources/read"
}

// act is on whose behalf the request is done, for the audit log of each tenant
// that it touches: that of the scope, and those that the caller has brought a
// token of.
func (x *exchange) act(scope patchbay.ID) patchbay.Act {
	who := x.caller.subject
	a := patchbay.Act{
		Caller: x.caller.Name, ID: who.ID, Kind: who.Kind, Tenant: who.Tenant,
		Address: x.server.addressOf(x.r), Request: visitOf(x.r.Context()).id, Action: x.action,
	}
	add := func(tenant string) {
		for _, t := range a.Tenants {
			if strings.EqualFold(t, tenant) {
				return
			}
		}
		if tenant != "" {
			a.Tenants = append(a.Tenants, tenant)
		}
	}
	if x.server.opts.Access != nil {
		// What can't be found out is found out again by the decision, and fails there.
		tenant, _, _ := x.server.opts.Access.TenantOf(x.r.Context(), scope)
		add(tenant)
	}
	add(who.Tenant)
	for _, aux := range x.caller.auxiliary {
		add(aux.Tenant)
	}
	return a
}
