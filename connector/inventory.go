package connector

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store"
)

// PutResource implements [API].
func (s *Service) PutResource(ctx context.Context, r ResourceRequest) (patchbay.Resource, bool, []string, error) {
	p, err := unlessOvertaken(r.IfMatch, func() (putResource, error) { return s.putResource(ctx, r) })
	return p.resource, p.created, p.warnings, err
}

// putResource is what came of a [ResourceRequest].
type putResource struct {
	resource patchbay.Resource
	created  bool
	warnings []string
}

func (s *Service) putResource(ctx context.Context, r ResourceRequest) (p putResource, err error) {
	res := r.Resource
	old, err := s.records.Resource(ctx, res.ID)
	exists := err == nil
	if err != nil && patchbay.CodeOf(err) != patchbay.ResourceNotFound {
		return p, err
	}
	if err := saga.MatchETag(res.ID, r.IfMatch, old.ETag, exists); err != nil {
		return p, err
	}
	// It must still be what was found: what its caller may was decided from that,
	// and a stored credential is kept from it.
	found := store.Absent
	if exists {
		found = old.ETag
	}
	if err := s.mayPut(ctx, r.Caller, old, &res); err != nil {
		return p, err
	}
	now := s.now().UTC()
	res.State, res.ETag = patchbay.Succeeded, newETag()
	res.Created, res.CreatedBy, res.CreatedByType = now, r.Caller.Name, r.Caller.Type
	res.Modified, res.ModifiedBy, res.ModifiedByType = now, r.Caller.Name, r.Caller.Type
	admin := r.Admin
	if exists {
		res.ID, res.Created, res.CreatedBy, res.CreatedByType = old.ID, old.Created, old.CreatedBy, old.CreatedByType
		if admin == nil {
			if err := s.notWhileAdminChanges(ctx, res.ID); err != nil {
				return p, err
			}
			if err := mayKeepAdmin(ctx, r.Caller, old, res); err != nil {
				return p, err
			}
			if admin, err = s.openAdmin(old); err != nil {
				return p, err
			}
		}
	}
	// Nothing is not sealed: a source without a credential needs no key.
	if len(admin) > 0 {
		if res.Admin, err = s.seal(revealAll(admin), "resource "+res.ID.Key()); err != nil {
			return p, err
		}
	}
	warnings, err := s.checkResource(ctx, r.Caller, res, r.NoCheck)
	if err != nil {
		return p, err
	}
	if old.PublicAccess != res.PublicAccess {
		more, err := s.openedBefore(ctx, res)
		if err != nil {
			return p, err
		}
		warnings = append(warnings, more...)
	}
	if err := s.records.PutResource(ctx, res, found); err != nil {
		return p, err
	}
	return putResource{res, !exists, warnings}, nil
}

// mayPut chooses what r did not say, and refuses what can't be, or what its
// caller may not. old is zero when there is none.
func (s *Service) mayPut(ctx context.Context, who Caller, old patchbay.Resource, r *patchbay.Resource) error {
	// What it is, and where, does not change by saying nothing.
	r.Driver, r.Location = cmp.Or(r.Driver, old.Driver), cmp.Or(r.Location, old.Location)
	if r.Guards == nil { // likewise
		r.Guards = old.Guards
	}
	if err := s.checkPlace(ctx, r); err != nil {
		return err
	}
	if err := s.chooseDriver(r); err != nil {
		return err
	}
	if err := s.choosePublicAccess(old, r); err != nil {
		return err
	}
	_, source := s.catalog.Sources[r.Driver]
	_, machine := s.catalog.Hosts[r.Driver]
	_, guard := s.catalog.Networks[r.Driver]
	if source || machine || guard {
		// Whoever says where a machine is says where the settings of its sources go, and
		// which of the server's own keys sign in there.
		if err := who.allow(ctx, ActionHost, cmp.Or(s.hostID(*r), r.ID)); err != nil {
			return err
		}
	}
	if old.ID == "" {
		return s.roomForResource(ctx, r.ID)
	}
	return s.mayBecome(ctx, old, *r)
}

// mayKeepAdmin refuses to take a stored admin credential elsewhere for a caller
// who is not trusted with the server: one who may only change targets could
// point one at a machine of their own, and be sent the credential.
func mayKeepAdmin(ctx context.Context, c Caller, old, res patchbay.Resource) error {
	if len(old.Admin) == 0 || samePlace(old, res) {
		return nil
	}
	err := c.allow(ctx, ActionHost, res.ID)
	if patchbay.CodeOf(err) == patchbay.Forbidden {
		e := *patchbay.AsError(err)
		e.Message += ": its stored admin credential would be sent to another place, or in another way"
		e.Fix = "give the admin credential again, with the change"
		return &e
	}
	return err
}

// samePlace reports whether one driver is told the same of both.
func samePlace(a, b patchbay.Resource) bool {
	was, is := placeOf(a), placeOf(b)
	same := bytes.Equal(was.Properties, is.Properties)
	was.Properties, is.Properties = nil, nil
	return same && a.Driver == b.Driver && reflect.DeepEqual(was, is)
}

// checkPlace wants the resource below a subscription and resource group that
// exist, and of a type that a resource can have.
func (s *Service) checkPlace(ctx context.Context, r *patchbay.Resource) error {
	if r.ID.ResourceGroup() == "" || r.ID.Type() == "" {
		return patchbay.Errorf(patchbay.InvalidResourceID, "%q is not the id of a resource in a resource group", clip(string(r.ID), 200))
	}
	if strings.HasPrefix(strings.ToLower(r.ID.Type()), "microsoft.servicelinker/") {
		return patchbay.Errorf(patchbay.InvalidResourceID, "%q is the id of a connection, or of what belongs to one", clip(string(r.ID), 200))
	}
	group, err := s.records.ResourceGroup(ctx, store.GroupOf(r.ID))
	if err != nil {
		if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
			return noGroup(r.ID)
		}
		return err
	}
	if r.Location == "" {
		r.Location = group.Location
	}
	return nil
}

// chooseDriver takes the one driver of the resource's type when none is named.
// One that administers nothing is taken only when no other fits.
func (s *Service) chooseDriver(r *patchbay.Resource) error {
	serves := func(types []string) bool {
		return slices.ContainsFunc(types, func(t string) bool { return strings.EqualFold(t, r.ID.Type()) })
	}
	fits := map[string]bool{} // of each known driver
	for name, d := range s.catalog.Targets {
		fits[name] = serves(d.Types)
	}
	for name, d := range s.catalog.Sources {
		fits[name] = fits[name] || serves(d.Types)
	}
	for name, d := range s.catalog.Hosts {
		fits[name] = fits[name] || serves(d.Types)
	}
	for name, d := range s.catalog.Networks {
		fits[name] = fits[name] || serves(d.Types)
	}
	all := slices.Sorted(maps.Keys(fits))
	fitting := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return !fits[name] })
	administering := slices.DeleteFunc(slices.Clone(fitting), func(name string) bool {
		d, target := s.catalog.Targets[name]
		return target && !d.Administers()
	})
	if len(administering) > 0 && r.Driver == "" {
		fitting = administering
	}
	_, known := fits[r.Driver]
	switch {
	case r.Driver != "" && !known:
		return patchbay.Errorf(patchbay.InvalidArgument, "there is no driver %q; there are %s", clip(r.Driver, 40), list(all))
	case r.Driver != "" && !fits[r.Driver]:
		return patchbay.Errorf(patchbay.InvalidArgument, "the driver %s does not serve resources of type %s", r.Driver, r.ID.Type())
	case r.Driver != "":
		return nil
	case len(fitting) == 1:
		r.Driver = fitting[0]
		return nil
	case len(fitting) == 0:
		return patchbay.Errorf(patchbay.TargetTypeNotSupported, "no driver serves resources of type %s; there are the drivers %s", r.ID.Type(), list(all))
	}
	return patchbay.Errorf(patchbay.InvalidArgument, "name the driver of %s: %s", r.ID.Name(), list(fitting))
}

// mayBecome refuses that a registered target gets another driver while that
// would leave something behind which only the old one can remove. One that
// administers nothing leaves nothing.
func (s *Service) mayBecome(ctx context.Context, old, now patchbay.Resource) error {
	if old.Driver == now.Driver {
		return nil
	}
	if _, machine := s.catalog.Hosts[now.Driver]; !machine {
		if err := s.noSources(ctx, old); err != nil {
			return err
		}
	}
	if _, guard := s.catalog.Networks[now.Driver]; !guard {
		if err := s.unguarded(ctx, old); err != nil {
			return err
		}
	}
	was, target := s.catalog.Targets[old.Driver]
	if !target {
		return nil
	}
	busy := patchbay.Errorf(patchbay.Conflict, "%s can't get another driver: ", old.ID.Name())
	if _, ok := s.catalog.Targets[now.Driver]; !ok {
		page, err := s.records.ConnectionsOf(ctx, old.ID, 1)
		if err != nil || len(page) == 0 {
			return err
		}
		busy.Message += fmt.Sprintf("the connection %s has it as its target", page[0].Name)
		return busy
	}
	err := s.eachOn(ctx, old.ID, func(c patchbay.Connection) error {
		switch {
		case changing(c):
			busy.Message += fmt.Sprintf("an operation of the connection %s has not ended", c.Name)
			return busy
		case c.Login != "" && was.Administers():
			busy.Message += fmt.Sprintf("the connection %s has a login there that was made with driver %s", c.Name, old.Driver)
			return busy.WithFix("patchbay connection delete %s", onCommandLine(c))
		}
		return nil
	})
	if err != nil || !was.Administers() {
		return err
	}
	return s.noLeftovers(ctx, old, busy)
}

// noLeftovers fails with busy while something is left over on a target.
func (s *Service) noLeftovers(ctx context.Context, target patchbay.Resource, busy *patchbay.Error) error {
	return s.eachLeftoverAt(ctx, target.ID, func(l patchbay.Leftover) error {
		busy.Message += fmt.Sprintf("%s is a leftover there that only driver %s can remove", l.What, target.Driver)
		return busy.WithFix("patchbay leftovers")
	})
}

// eachOn calls do for the connections of a target until it fails.
func (s *Service) eachOn(ctx context.Context, target patchbay.ID, do func(patchbay.Connection) error) error {
	page, err := s.records.ConnectionsOf(ctx, target, store.MaxPage)
	if err != nil {
		return err
	}
	if len(page) < store.MaxPage {
		for _, c := range page {
			if err := do(c); err != nil {
				return err
			}
		}
		return nil
	}
	for after := ""; ; { // more than are given at once: among all
		page, next, err := s.records.Connections(ctx, "", after, store.MaxPage)
		if err != nil {
			return err
		}
		for _, c := range page {
			if on := c.Spec.Target.ID; !on.Equal(target) && !strings.HasPrefix(on.Key(), target.Key()+"/") {
				continue
			}
			if err := do(c); err != nil {
				return err
			}
		}
		if after = next; next == "" {
			return nil
		}
	}
}

// checkResource opens the resource, which checks its configuration, and asks
// it whether what it is told is true.
func (s *Service) checkResource(ctx context.Context, who Caller, r patchbay.Resource, noCheck bool) ([]string, error) {
	if err := s.checkGuards(ctx, who, r); err != nil {
		return nil, err
	}
	if _, ok := s.catalog.Networks[r.Driver]; ok {
		guard, err := s.openGuard(ctx, r, patchbay.Resource{})
		if err != nil {
			return nil, err
		}
		defer func() { _ = guard.Close() }()
		if noCheck {
			return nil, nil
		}
		warnings, err := guard.Check(ctx)
		return warnings, s.asked(ctx, who, r, err)
	}
	if _, ok := s.catalog.Targets[r.Driver]; ok {
		target, err := s.openTarget(ctx, r)
		if err != nil {
			return nil, err
		}
		defer func() { _ = target.Close() }()
		if noCheck {
			return nil, nil
		}
		info, err := target.Inspect(ctx, "")
		if err != nil {
			return info.Warnings, s.asked(ctx, who, r, err)
		}
		more, err := s.askGuards(ctx, r)
		return append(info.Warnings, more...), s.asked(ctx, who, r, err)
	}
	if _, ok := s.catalog.Hosts[r.Driver]; ok {
		machine, err := s.openHost(ctx, r)
		if err != nil {
			return nil, err
		}
		defer func() { _ = machine.Close() }()
		if noCheck {
			return nil, nil
		}
		found, err := machine.Check(ctx)
		return lacking(r.ID, found), s.asked(ctx, who, r, err)
	}
	source, err := s.openSource(ctx, r, "")
	if err != nil {
		return nil, err
	}
	defer func() { _ = source.Close() }()
	if noCheck {
		return nil, nil
	}
	info, err := source.Inspect(ctx)
	return info.Warnings, registering(err)
}

// asked is what a resource answered, for who registers it, and in the audit log when it
// failed: nothing will be written, and wherever the caller said was connected to.
func (s *Service) asked(ctx context.Context, who Caller, r patchbay.Resource, err error) error {
	if err != nil {
		if err := who.tell(ctx, patchbay.AuditEntry{Resource: r.ID, Result: patchbay.AuditFailed, Code: patchbay.CodeOf(err)}); err != nil {
			return err
		}
	}
	return registering(err)
}

// askGuards asks the guards of a target whether they may do their work for it.
func (s *Service) askGuards(ctx context.Context, target patchbay.Resource) (warnings []string, err error) {
	for _, id := range target.Guards {
		r, err := s.records.Resource(ctx, id)
		if err != nil {
			return nil, err
		}
		guard, err := s.openGuard(ctx, r, target)
		if err != nil {
			return nil, err
		}
		found, err := guard.Check(ctx)
		_ = guard.Close() // it was opened to be asked
		if err != nil {
			e := *patchbay.AsError(err)
			e.Message = fmt.Sprintf("its guard %s: %s", id.Name(), e.Message)
			return nil, &e
		}
		for _, text := range found {
			warnings = append(warnings, id.Name()+": "+text)
		}
	}
	return warnings, nil
}

// lacking says what a machine does not let us do. What of it a source needs is the
// source's to say.
func lacking(id patchbay.ID, found []patchbay.Finding) []string {
	missing := 0
	for _, f := range found {
		if !f.OK {
			missing++
		}
	}
	if missing == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d of what sources on it may need is missing: patchbay host check %s", missing, id.Name())}
}

// registering adds to a failed check what the resource said, since it is asked by
// who administers it, and how to register without one.
func registering(err error) error {
	if err == nil {
		return nil
	}
	e := *patchbay.AsError(err)
	if e.Said != "" {
		e.Message += "; it says: " + e.Said
	}
	if e.Fix == "" {
		e.Fix = "mend it, or register without asking with --no-check"
	}
	return &e
}

// eachResource calls do for all resources until it fails.
func (s *Service) eachResource(ctx context.Context, do func(patchbay.Resource) error) error {
	for after := ""; ; {
		page, next, err := s.records.Resources(ctx, "", after, store.MaxPage)
		if err != nil {
			return err
		}
		for _, r := range page {
			if err := do(r); err != nil {
				return err
			}
		}
		if after = next; next == "" {
			return nil
		}
	}
}

// Resource implements [API]. A child of a registered target (a database) is
// there when the target says so.
func (s *Service) Resource(ctx context.Context, id patchbay.ID) (patchbay.Resource, error) {
	r, err := s.records.Resource(ctx, id)
	if patchbay.CodeOf(err) != patchbay.ResourceNotFound {
		return r, err
	}
	parent, parentErr := s.records.Resource(ctx, id.Parent())
	if parentErr != nil {
		return r, err
	}
	d, ok := s.catalog.Targets[parent.Driver]
	sub, child := d.Sub(parent.ID, id)
	if !ok || !child || sub == "" || !d.Administers() {
		return r, err
	}
	target, done, openErr := s.targetOf(ctx, parent)
	if openErr != nil {
		return r, openErr
	}
	defer done()
	if _, inspectErr := target.Inspect(ctx, sub); inspectErr != nil {
		if patchbay.CodeOf(inspectErr) == patchbay.ChildMissing {
			return r, err
		}
		return r, inspectErr
	}
	r = parent
	r.ID, r.Admin, r.Properties = id, nil, nil
	return r, nil
}

// Resources implements [API].
func (s *Service) Resources(ctx context.Context, scope patchbay.ID, after string, limit int) ([]patchbay.Resource, string, error) {
	return s.records.Resources(ctx, scope, after, limit)
}

// DeleteResource implements [API].
func (s *Service) DeleteResource(ctx context.Context, id patchbay.ID, ifMatch string) error {
	if err := s.nobodyLeaves(ctx, id); err != nil {
		return err
	}
	if err := s.notWhileAdminChanges(ctx, id); err != nil {
		return err
	}
	r, err := s.records.Resource(ctx, id)
	if err == nil {
		err = s.noSources(ctx, r)
	}
	if err == nil {
		err = s.unguarded(ctx, r)
	}
	if err != nil && patchbay.CodeOf(err) != patchbay.ResourceNotFound { // that it is absent, the records say
		return err
	}
	if err := s.records.DeleteResource(ctx, id, ifMatch); err != nil {
		return err
	}
	s.targets.drop(id)
	s.sources.drop(id)
	s.hosts.drop(id)
	s.guards.drop(id)
	return nil
}

// nobodyLeaves refuses to remove a target that a connection is being moved away
// from: its login is there until that has succeeded, and so is the connection
// when it is undone.
func (s *Service) nobodyLeaves(ctx context.Context, target patchbay.ID) error {
	for after := ""; ; {
		page, next, err := s.records.Operations(ctx, store.OperationFilter{Active: true}, after, store.MaxPage)
		if err != nil {
			return err
		}
		for _, op := range page {
			c, err := s.records.Connection(ctx, op.Connection)
			if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
				continue
			}
			if err != nil {
				return err
			}
			held, err := s.openHolding(c)
			if err != nil {
				return err
			}
			if held.Target.Equal(target) {
				busy := patchbay.Errorf(patchbay.Conflict, "an operation of the connection %s, which is moved away from %s, has not ended", c.Name, target.Name())
				busy.Subject = string(c.ID)
				return busy.WithFix("patchbay operation show %s", op.ID)
			}
		}
		if after = next; next == "" {
			return nil
		}
	}
}

// ResourceGroups implements [API].
func (s *Service) ResourceGroups(ctx context.Context, subscription string) ([]patchbay.ResourceGroup, error) {
	return s.records.ResourceGroups(ctx, subscription)
}

// ResourceGroup implements [API].
func (s *Service) ResourceGroup(ctx context.Context, id patchbay.ID) (patchbay.ResourceGroup, error) {
	return s.records.ResourceGroup(ctx, id)
}

// PutResourceGroup implements [API].
func (s *Service) PutResourceGroup(ctx context.Context, g patchbay.ResourceGroup) error {
	subs, err := s.records.Subscriptions(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(subs, func(sub patchbay.Subscription) bool {
		return strings.EqualFold(sub.ID, g.ID.Subscription())
	}) {
		return patchbay.Errorf(patchbay.ResourceNotFound, "there is no subscription %s", g.ID.Subscription())
	}
	if g.Location == "" {
		g.Location = DefaultLocation
	}
	return s.records.PutResourceGroup(ctx, g)
}

// UpdateResourceGroup implements [API].
func (s *Service) UpdateResourceGroup(ctx context.Context, g patchbay.ResourceGroup) error {
	return s.records.UpdateResourceGroup(ctx, g)
}

// DeleteResourceGroup implements [API]. A group with resources or local
// connections stays.
func (s *Service) DeleteResourceGroup(ctx context.Context, id patchbay.ID) error {
	page, _, err := s.records.Resources(ctx, id, "", 1)
	if err != nil {
		return err
	}
	if len(page) > 0 {
		return patchbay.Errorf(patchbay.Conflict, "the resource group %s still has resources, %s among them", id.Name(), page[0].ID.Name())
	}
	local, err := s.records.ConnectionsOf(ctx, id, 1)
	if err != nil {
		return err
	}
	if len(local) > 0 {
		return patchbay.Errorf(patchbay.Conflict, "the resource group %s still has connections, %s among them", id.Name(), local[0].Name)
	}
	return s.records.DeleteResourceGroup(ctx, id)
}
