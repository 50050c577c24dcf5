// Package access decides what a caller may do: from role definitions, which
// are sets of actions, and role assignments, which give one to a principal at a
// scope and below it. It decides as Azure Resource Manager does, from memory.
package access

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/store"
)

// Places are what roles are assigned at; [store.Records] has them.
type Places interface {
	Subscriptions(ctx context.Context) ([]patchbay.Subscription, error)
	ResourceGroup(ctx context.Context, id patchbay.ID) (patchbay.ResourceGroup, error)
	Resource(ctx context.Context, id patchbay.ID) (patchbay.Resource, error)
	Connection(ctx context.Context, id patchbay.ID) (patchbay.Connection, error)
}

// People are whom roles are assigned to; [store.Directory] has them.
type People interface {
	Tenants(ctx context.Context) ([]patchbay.Tenant, error)
	Principal(ctx context.Context, id string) (patchbay.Principal, error)
}

// Options are what a [Control] is made of.
type Options struct {
	Roles  store.Roles
	Places Places
	People People
	Clock  patchbay.Clock // nil means time.Now
}

// Control decides, and keeps definitions and assignments. Make one with [New];
// it may be used by many at once.
type Control struct {
	roles  store.Roles
	places Places
	people People
	now    patchbay.Clock

	current atomic.Pointer[snapshot]
	loading sync.Mutex
	tenants atomic.Pointer[map[string]string] // subscription, in lower case -> tenant
}

// New reads the roles.
func New(ctx context.Context, o Options) (*Control, error) {
	c := &Control{roles: o.Roles, places: o.Places, people: o.People, now: o.Clock}
	if c.now == nil {
		c.now = time.Now
	}
	if _, err := c.snapshot(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// Check is nil when who may do the action at the scope, else Forbidden, which
// names the caller, the action, the scope and the smallest built-in role that
// would do. A scope of another tenant is like one that nobody has a role at.
func (c *Control) Check(ctx context.Context, who patchbay.Subject, action string, scope patchbay.ID) error {
	ok, err := c.decide(ctx, who, action, scope)
	if err != nil {
		return err
	}
	if !ok {
		return forbidden(who, action, scope)
	}
	return nil
}

// May is Check without its reasons. What can't be decided may not be done.
func (c *Control) May(ctx context.Context, who patchbay.Subject, action string, scope patchbay.ID) bool {
	ok, err := c.decide(ctx, who, action, scope)
	return ok && err == nil
}

// Still is Check for somebody who asked a while ago, and was who: the subjects
// that it then had tokens of, of which that of the scope's tenant counts. It is
// also Forbidden when that one's tokens have ended since: its principal is gone or
// disabled, or was, or its secrets were replaced. Groups are those that the token
// named.
func (c *Control) Still(ctx context.Context, who []patchbay.Subject, action string, scope patchbay.ID) error {
	tenant, _, err := c.TenantOf(ctx, scope)
	if err != nil {
		return err
	}
	for _, s := range who {
		if !s.Operator && !strings.EqualFold(s.Tenant, tenant) {
			continue
		}
		if err := c.signedIn(ctx, s); err != nil {
			return err
		}
		return c.Check(ctx, s, action, scope)
	}
	var nobody patchbay.Subject
	if len(who) > 0 {
		nobody = who[0]
	}
	return forbidden(nobody, action, scope)
}

// signedIn fails when the tokens that s had have ended. Who signs in at a
// provider need not be on record.
func (c *Control) signedIn(ctx context.Context, s patchbay.Subject) error {
	if s.Operator {
		return nil
	}
	p, err := c.people.Principal(ctx, strings.ToLower(s.ID))
	ended := func(why string) error {
		e := patchbay.Errorf(patchbay.Forbidden, "%s %s", Called(s), why)
		e.Subject = s.ID
		return e
	}
	switch {
	case patchbay.CodeOf(err) == patchbay.ResourceNotFound && s.AppID == "":
		return nil
	case patchbay.CodeOf(err) == patchbay.ResourceNotFound:
		return ended("is no principal any more")
	case err != nil:
		return err
	case p.Disabled:
		return ended("is disabled")
	case !strings.EqualFold(p.Tenant, s.Tenant):
		return ended("is a principal of another tenant by now")
	case !p.TokensFrom.Equal(s.TokensFrom):
		return ended("had its tokens ended since: it was disabled for a while, or given another secret")
	}
	return nil
}

// Within reports whether who may do the action at the scope, or somewhere
// below it: a subscription shows itself to whom something in it shows itself.
func (c *Control) Within(ctx context.Context, who patchbay.Subject, action string, scope patchbay.ID) bool {
	if c.May(ctx, who, action, scope) {
		return true
	}
	key, ok := scopeKey(scope)
	if !ok || who.Tenant == "" || who.ID == "" {
		return false
	}
	s, err := c.snapshot(ctx)
	if err != nil {
		return false
	}
	if tenant, known, err := c.tenantOf(ctx, key); err != nil || key != rootKey && (!known || !strings.EqualFold(tenant, who.Tenant)) {
		return false
	}
	return s.below(who, strings.ToLower(action), key)
}

// Reach reports whether who may do the action anywhere: it may then ask for a
// list, which shows what it may read.
func (c *Control) Reach(ctx context.Context, who patchbay.Subject, action string) bool {
	return c.Within(ctx, who, action, patchbay.RootScope)
}

// TenantOf is the tenant that the scope is in; known is false for the root and
// for a subscription that is not there.
func (c *Control) TenantOf(ctx context.Context, scope patchbay.ID) (tenant string, known bool, err error) {
	key, ok := scopeKey(scope)
	if !ok {
		return "", false, nil
	}
	return c.tenantOf(ctx, key)
}

func (c *Control) decide(ctx context.Context, who patchbay.Subject, action string, scope patchbay.ID) (bool, error) {
	if who.Operator {
		return true, nil
	}
	key, ok := scopeKey(scope)
	if !ok || who.Tenant == "" || who.ID == "" || action == "" {
		return false, nil
	}
	if key != rootKey {
		tenant, known, err := c.tenantOf(ctx, key)
		if err != nil {
			return false, err
		}
		if !known || !strings.EqualFold(tenant, who.Tenant) {
			return false, nil
		}
	}
	s, err := c.snapshot(ctx)
	if err != nil {
		return false, err
	}
	return s.above(who, strings.ToLower(action), key), nil
}

// tenantOf finds the tenant of a subscription in memory. One that is not known
// is looked for again: subscriptions are added, and never move.
func (c *Control) tenantOf(ctx context.Context, key string) (string, bool, error) {
	sub, ok := subscriptionOf(key)
	if !ok {
		return "", false, nil
	}
	if m := c.tenants.Load(); m != nil {
		if t, ok := (*m)[sub]; ok {
			return t, true, nil
		}
	}
	list, err := c.places.Subscriptions(ctx)
	if err != nil {
		return "", false, err
	}
	m := make(map[string]string, len(list))
	for _, s := range list {
		m[strings.ToLower(s.ID)] = s.TenantID
	}
	c.tenants.Store(&m)
	t, ok := m[sub]
	return t, ok, nil
}

func forbidden(who patchbay.Subject, action string, scope patchbay.ID) error {
	if scope == "" {
		scope = patchbay.RootScope
	}
	e := patchbay.Errorf(patchbay.Forbidden, "%s may not do %s at %s", Called(who), action, scope)
	e.Subject = string(scope)
	if role := Smallest(action); role != "" && who.ID != "" {
		e.Fix = AssignCommand(role, who, scope)
	}
	return e
}

// Called is how messages name a caller: its name, and its object id, which no
// other has.
func Called(who patchbay.Subject) string {
	switch {
	case who.Name == "" && who.ID == "":
		return "the caller"
	case who.ID == "":
		return plain(who.Name)
	case who.Name == "":
		return who.ID
	}
	return plain(who.Name) + " (" + who.ID + ")"
}

// AssignCommand is the command that gives who the role at the scope.
func AssignCommand(role string, who patchbay.Subject, scope patchbay.ID) string {
	return "patchbay role assign " + shell(role) + " --to " + shell(who.ID) + " --scope " + shell(string(scope))
}

// plain is a name that people gave, fit for one line.
func plain(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) > 100 {
		s = strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}

// shell quotes a word for a POSIX shell where it needs it.
func shell(s string) string {
	if s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./@") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
