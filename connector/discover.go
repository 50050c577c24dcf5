package connector

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/settings"
	"patchbay.dev/patchbay/store"
)

// What a search asks its caller about besides [ActionHost].
const (
	actionReadResource  = "Patchbay.Connector/resources/read"
	actionWriteResource = "Patchbay.Connector/resources/write"
	actionReadLinker    = "Microsoft.ServiceLinker/linkers/read"
)

// DiscoverRequest looks for applications, and for the services beside them.
type DiscoverRequest struct {
	Group patchbay.ID // in which they would be registered
	// Driver is a source's; Endpoint, Properties and Admin are what it is told of where
	// to look: those of its description's Search.
	Driver     string
	Endpoint   string
	Properties json.RawMessage
	Admin      driver.Secrets
	Caller     Caller
}

// TakeRequest registers a service that a search finds, with the credential that its
// image keeps.
type TakeRequest struct {
	DiscoverRequest
	Name string // [patchbay.Discovered].Name
	As   string // the resource's name; "": the same
}

// hit is a found thing, with what is made of it.
type hit struct {
	found   driver.Found
	service *settings.Service
	name    string
}

// Discover implements [API].
func (s *Service) Discover(ctx context.Context, r DiscoverRequest) ([]patchbay.Discovered, error) {
	hits, machine, err := s.search(ctx, r, nil)
	if err := s.tellSearch(ctx, r, "what runs there is looked for", err); err != nil {
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	return s.describeHits(ctx, r, hits, machine)
}

// Take implements [API].
func (s *Service) Take(ctx context.Context, r TakeRequest) (patchbay.Resource, bool, []string, error) {
	fail := func(err error) (patchbay.Resource, bool, []string, error) {
		return patchbay.Resource{}, false, nil, err
	}
	var wanted driver.TargetDriver
	// The names depend on all that is there, so all of it is looked at first.
	hits, machine, err := s.search(ctx, r.DiscoverRequest, nil)
	if err != nil {
		return fail(err)
	}
	all, err := s.describeHits(ctx, r.DiscoverRequest, hits, machine)
	if err != nil {
		return fail(err)
	}
	at := slices.IndexFunc(all, func(d patchbay.Discovered) bool { return d.Name == r.Name })
	if at < 0 {
		return fail(patchbay.Errorf(patchbay.ResourceNotFound, "nothing that was found is called %s", clip(r.Name, 80)).WithFix("patchbay discover %s", r.Driver))
	}
	d, h := all[at], hits[at]
	switch {
	case d.Service == nil:
		return fail(patchbay.Errorf(patchbay.InvalidArgument, "%s is an application, and has no credential to take", d.Name))
	case d.Registered != "":
		return fail(patchbay.Errorf(patchbay.Conflict, "%s is registered already, as %s", d.Name, d.Registered.Name()).
			WithFix("patchbay connection create %s --target %s --source NAME", cmp.Or(d.Service.Kind, "KIND"), d.Registered.Name()))
	case d.Refused != "":
		return fail(patchbay.Errorf(patchbay.NotSupported, "%s can't be registered: %s", d.Name, d.Refused).WithFix("%s", d.Fix))
	case len(d.Service.Credential) == 0:
		return fail(noCredential(d))
	}
	wanted = s.catalog.Targets[d.Driver]
	id := d.ID
	if r.As != "" {
		if id, err = patchbay.ParseID(string(id[:strings.LastIndexByte(string(id), '/')+1]) + r.As); err != nil {
			return fail(err)
		}
	}
	if err := r.Caller.allow(ctx, actionWriteResource, id); err != nil {
		return fail(err)
	}
	if err := s.stillFree(ctx, id); err != nil {
		return fail(err)
	}
	kept, _ := credentialOf(wanted, *h.service, h.found.Variables)
	admin, err := s.takeFrom(ctx, r, h, kept)
	if err := s.tellSearch(ctx, r.DiscoverRequest, fmt.Sprintf("the credential of %s is taken from %s of %s", id.Name(), list(d.Service.Credential), h.found.What), err); err != nil {
		return fail(err)
	}
	if err != nil {
		return fail(err)
	}
	return s.PutResource(ctx, ResourceRequest{
		Resource: patchbay.Resource{ID: id, Kind: d.Kind, Driver: d.Driver, Endpoint: d.Endpoint, Properties: d.Properties},
		Admin:    admin, Caller: r.Caller,
	})
}

// stillFree refuses to change what is registered: taking a credential makes something
// new.
func (s *Service) stillFree(ctx context.Context, id patchbay.ID) error {
	_, err := s.records.Resource(ctx, id)
	switch {
	case patchbay.CodeOf(err) == patchbay.ResourceNotFound:
		return nil
	case err != nil:
		return err
	}
	return patchbay.Errorf(patchbay.Conflict, "another resource is registered as %s", id.Name()).
		WithFix("pick it under another name: NAME=OTHER   (patchbay discover)")
}

// takeFrom reads a credential where it is kept.
func (s *Service) takeFrom(ctx context.Context, r TakeRequest, h hit, kept settings.Kept) (driver.Secrets, error) {
	reveal := func(f driver.Found) (want driver.Reveal) {
		if f.Instance != h.found.Instance || f.Name != h.found.Name || f.Within != h.found.Within {
			return want
		}
		for _, part := range kept {
			want.Variables = append(want.Variables, part.Env...)
			want.Files = append(want.Files, part.Files...)
		}
		return want
	}
	hits, _, err := s.search(ctx, r.DiscoverRequest, reveal)
	if err != nil {
		return nil, err
	}
	for _, again := range hits {
		if again.found.Instance != h.found.Instance || again.name != h.name {
			continue
		}
		admin := driver.Secrets{}
		for name, part := range kept {
			value := patchbay.NewSecret(part.Value)
			for _, variable := range slices.Backward(slices.Concat(part.Env, part.Files)) {
				if v, ok := again.found.Revealed[variable]; ok && !v.IsZero() {
					value = v
				}
			}
			if !value.IsZero() {
				admin[name] = value
			}
		}
		return admin, nil
	}
	return nil, patchbay.Errorf(patchbay.SourceNotFound, "%s is gone meanwhile", h.name).AsTransient()
}

func noCredential(d patchbay.Discovered) error {
	return patchbay.Errorf(patchbay.InvalidArgument, "no variable of %s has a credential that could be taken", d.Name).
		WithFix("%s", byHand(d))
}

// byHand is the command that registers a service with a credential of the user's own.
func byHand(d patchbay.Discovered) string {
	return fmt.Sprintf("patchbay resource add %s %s --endpoint %s   (and the credential: patchbay resource add %s --help)", d.Driver, d.Name, cmp.Or(d.Endpoint, "ADDRESS"), d.Driver)
}

func (s *Service) tellSearch(ctx context.Context, r DiscoverRequest, what string, failed error) error {
	// Not the request's own action: nothing is written by looking.
	told := patchbay.AuditEntry{Action: ActionHost, Resource: cmp.Or(s.hostID(patchbay.Resource{Driver: r.Driver, Properties: r.Properties}), r.Group), Detail: what}
	if failed != nil {
		told.Result, told.Code = patchbay.AuditFailed, patchbay.CodeOf(failed)
	}
	return r.Caller.tell(ctx, told)
}

// search has the driver look, and knows the services among what it finds. machine is
// what the machine is called from here; the server's own is 127.0.0.1.
func (s *Service) search(ctx context.Context, r DiscoverRequest, reveal func(driver.Found) driver.Reveal) (hits []hit, machine string, err error) {
	d, ok := s.catalog.Sources[r.Driver]
	if !ok || d.Discover == nil {
		var can []string
		for _, name := range slices.Sorted(maps.Keys(s.catalog.Sources)) {
			if s.catalog.Sources[name].Discover != nil {
				can = append(can, name)
			}
		}
		return nil, "", patchbay.Errorf(patchbay.InvalidArgument, "there is no driver %q that looks for what runs; there are %s", clip(r.Driver, 40), cmp.Or(list(can), "none"))
	}
	if _, err := s.records.ResourceGroup(ctx, r.Group); err != nil {
		if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
			return nil, "", noGroup(r.Group)
		}
		return nil, "", err
	}
	told := map[string]any{}
	if err := driver.DecodeProperties(driver.Searched(d.Driver), r.Properties, &told); err != nil {
		return nil, "", err
	}
	as := patchbay.Resource{ID: "the search", Driver: r.Driver, Endpoint: r.Endpoint, Properties: r.Properties}
	on := s.hostID(as)
	// As for a source that is registered there.
	if err := r.Caller.allow(ctx, ActionHost, cmp.Or(on, r.Group)); err != nil {
		return nil, "", err
	}
	c := placeOf(as)
	c.ID, c.Admin, c.Dialer, c.Host = "", r.Admin, s.dialer, s.local
	registered, err := s.hostOf(ctx, as)
	if err != nil {
		return nil, "", err
	}
	machine = "127.0.0.1"
	if registered.ID != "" {
		host, done, err := s.host(ctx, registered)
		if err != nil {
			return nil, "", err
		}
		defer done()
		c.Host = host
		if machine, _, err = net.SplitHostPort(registered.Endpoint); err != nil {
			machine = registered.Endpoint
		}
	}
	found, err := driver.Guard{Name: r.Driver, Admin: c.Admin, Observe: s.observe}.Discover(ctx, d, c, reveal)
	if err != nil {
		return nil, "", err
	}
	for _, f := range found {
		h := hit{found: f}
		if service, ok := settings.Recognize(f.Image, f.Unit, f.Ports); ok {
			h.service = &service
		}
		if h.service != nil || !f.Plumbing {
			hits = append(hits, h)
		}
	}
	nameAll(hits)
	return hits, machine, nil
}

// notInName is what stands between the words of a resource's name.
var notInName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// nameAll gives each a name of its own: with where it is before it, where that tells it
// from others of the same, and with a number where nothing does.
func nameAll(hits []hit) {
	slices.SortStableFunc(hits, func(a, b hit) int {
		role := func(h hit) int {
			if h.service != nil {
				return 1
			}
			return 0
		}
		return cmp.Or(role(a)-role(b), strings.Compare(a.found.Name, b.found.Name), strings.Compare(a.found.Within, b.found.Within))
	})
	word := func(text string) string { return strings.Trim(notInName.ReplaceAllString(text, "-"), "-.") }
	count := map[string]int{}
	for i := range hits {
		hits[i].name = cmp.Or(word(hits[i].found.Name), "unnamed")
		count[strings.ToLower(hits[i].name)]++
	}
	taken := map[string]bool{}
	for i := range hits {
		h := &hits[i]
		if within := word(h.found.Within); within != "" && count[strings.ToLower(h.name)] > 1 {
			h.name = within + "-" + h.name
		}
		base := h.name
		for n := 2; taken[strings.ToLower(h.name)]; n++ {
			h.name = fmt.Sprintf("%s-%d", base, n)
		}
		taken[strings.ToLower(h.name)] = true
	}
}

// describeHits says of each what registers it, and what is there already.
func (s *Service) describeHits(ctx context.Context, r DiscoverRequest, hits []hit, machine string) ([]patchbay.Discovered, error) {
	inventory, err := s.inventory(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]patchbay.Discovered, 0, len(hits))
	for _, h := range hits {
		d := patchbay.Discovered{Name: h.name, Instance: h.found.Instance, What: h.found.What, State: h.found.State}
		var same func(patchbay.Resource) bool
		if h.service == nil {
			same, err = s.asSource(r, h.found, &d)
		} else {
			same = s.asTarget(h, machine, &d)
		}
		if err != nil {
			return nil, err
		}
		typ := s.typeOf(h, r.Driver)
		if typ != "" {
			if d.ID, err = patchbay.ParseID(string(r.Group) + "/providers/" + typ + "/" + h.name); err != nil {
				return nil, err
			}
		}
		for _, known := range inventory {
			if !same(known) || r.Caller.allow(ctx, actionReadResource, known.ID) != nil {
				continue
			}
			d.Registered, d.Refused, d.Fix = known.ID, "", ""
			if d.Connections, err = s.connectionsAt(ctx, r.Caller, known.ID); err != nil {
				return nil, err
			}
			break
		}
		d.Taken = d.Registered == "" && slices.ContainsFunc(inventory, func(known patchbay.Resource) bool { return known.ID.Equal(d.ID) })
		all = append(all, d)
	}
	return all, nil
}

// typeOf is the type of the resource that a found thing would be.
func (s *Service) typeOf(h hit, source string) string {
	if h.service == nil {
		return s.catalog.Sources[source].Types[0]
	}
	_, typ, _ := s.serving(h.service.Kind)
	return typ
}

// asSource says what registers an application; same tells the resources that are it.
func (s *Service) asSource(r DiscoverRequest, f driver.Found, d *patchbay.Discovered) (same func(patchbay.Resource) bool, err error) {
	properties := map[string]any{}
	if len(bytes.TrimSpace(r.Properties)) > 0 {
		if err := json.Unmarshal(r.Properties, &properties); err != nil {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "the properties are no JSON object")
		}
	}
	for name, value := range f.Properties {
		properties[name] = value
	}
	d.Driver, d.Endpoint, d.Refused, d.Fix = r.Driver, cmp.Or(f.Endpoint, r.Endpoint), f.Refused, f.Fix
	if d.Properties, err = json.Marshal(properties); err != nil {
		return nil, err
	}
	return func(known patchbay.Resource) bool {
		said := map[string]any{}
		if known.Driver != r.Driver || known.Endpoint != d.Endpoint || len(known.Properties) > 0 && json.Unmarshal(known.Properties, &said) != nil {
			return false
		}
		for _, name := range s.catalog.Sources[r.Driver].Search {
			if name != "endpoint" && s.saidOf(r.Driver, said, name) != s.saidOf(r.Driver, properties, name) {
				return false
			}
		}
		for name := range f.Properties { // what it leaves open may be this
			if v := s.saidOf(r.Driver, said, name); v != "" && v != s.saidOf(r.Driver, properties, name) {
				return false
			}
		}
		return true
	}, nil
}

// saidOf is what properties say of one, to be compared: its default where they say
// nothing.
func (s *Service) saidOf(source string, properties map[string]any, name string) string {
	outer, inner, nested := strings.Cut(name, ".")
	v := properties[outer]
	if nested {
		below, _ := v.(map[string]any)
		v = below[inner]
	}
	if v == nil || v == "" {
		of := s.catalog.Sources[source]
		at := slices.IndexFunc(of.Properties, func(f patchbay.Field) bool { return f.Name == name })
		if at < 0 || !slices.Contains(of.Search, name) {
			return ""
		}
		v = of.Properties[at].Default
	}
	return strings.ToLower(fmt.Sprint(v))
}

// asTarget says what registers a service.
func (s *Service) asTarget(h hit, machine string, d *patchbay.Discovered) (same func(patchbay.Resource) bool) {
	f, is := h.found, h.service
	d.Service = &patchbay.DiscoveredService{Kind: is.Kind, Title: is.Title, By: is.By}
	addresses := map[string]bool{}
	for _, way := range f.Reach {
		if way.Port != is.Port {
			continue
		}
		address := way.Address
		if strings.HasPrefix(address, ":") {
			address = net.JoinHostPort(machine, address[1:])
		}
		if len(d.Service.Addresses) == 0 && way.Note != "" {
			d.Notes = append(d.Notes, way.Note)
		}
		if !addresses[address] {
			addresses[address] = true
			d.Service.Addresses = append(d.Service.Addresses, address)
		}
	}
	if len(d.Service.Addresses) > 0 {
		d.Endpoint = is.Endpoint(d.Service.Addresses[0])
	}
	t, _, kind := s.serving(is.Kind)
	d.Driver, d.Kind = t.Name, kind
	if t.Name != "" {
		kept, needed := credentialOf(t, *is, f.Variables)
		d.Service.Needed = needed
		for _, part := range kept {
			for _, name := range slices.Concat(part.Env, part.Files) {
				if slices.Contains(f.Variables, name) {
					d.Service.Credential = append(d.Service.Credential, name)
				}
			}
		}
		slices.Sort(d.Service.Credential)
	}
	lacks := func(what, fix string) { d.Refused, d.Fix = what, fix }
	required := slices.DeleteFunc(slices.Clone(t.Properties), func(f patchbay.Field) bool { return !f.Required })
	switch {
	case t.Name == "":
		lacks("Patchbay connects nothing to "+is.Title, "")
	case len(d.Service.Addresses) == 0:
		lacks(fmt.Sprintf("nothing says where port %d of it can be reached from here", is.Port), "publish the port, or register it with the address that it has: "+byHand(*d))
	case len(required) > 0:
		var names []string
		for _, f := range required {
			names = append(names, f.Name)
		}
		lacks(fmt.Sprintf("a registration says what is not kept beside it: %s", strings.Join(names, ", ")), byHand(*d))
	}
	return func(known patchbay.Resource) bool {
		if _, target := s.catalog.Targets[known.Driver]; !target {
			return false
		}
		for one := range strings.SplitSeq(known.Endpoint, ",") {
			if _, rest, ok := strings.Cut(one, "://"); ok {
				one, _, _ = strings.Cut(rest, "/")
			}
			if addresses[one] {
				return true
			}
		}
		return false
	}
}

// serving is the driver that registers services of a kind: one that administers them
// before one that knows their logins alone; the zero driver where none does.
func (s *Service) serving(kind string) (d driver.TargetDriver, typ, resourceKind string) {
	if kind == "" {
		return d, "", ""
	}
	names := slices.Sorted(maps.Keys(s.catalog.Targets))
	for _, name := range names {
		if d := s.catalog.Targets[name]; d.Kind == kind && d.Administers() && len(d.Types) > 0 {
			return d, d.Types[0], ""
		}
	}
	for _, name := range names {
		for _, k := range s.catalog.Targets[name].Kinds {
			if k.Name == kind {
				return s.catalog.Targets[name], k.Type, k.Kind
			}
		}
	}
	return driver.TargetDriver{}, "", ""
}

// credentialOf is where the credential of a service is kept that its driver takes: an
// administrator's, or a login to hand out. needed says that none is not enough.
func credentialOf(t driver.TargetDriver, is settings.Service, variables []string) (kept settings.Kept, needed bool) {
	sets := is.Login
	if t.Administers() {
		sets = is.Admin
	}
	for _, set := range sets {
		if set.In(variables) {
			kept = set
			break
		}
	}
	return kept, len(t.AdminForms) > 0
}

// inventory is all that is registered.
func (s *Service) inventory(ctx context.Context) (all []patchbay.Resource, err error) {
	err = s.eachResource(ctx, func(r patchbay.Resource) error {
		all = append(all, r)
		return nil
	})
	return all, err
}

// connectionsAt are those of a resource that the caller may see.
func (s *Service) connectionsAt(ctx context.Context, who Caller, id patchbay.ID) (all []patchbay.DiscoveredConnection, err error) {
	page, err := s.records.ConnectionsOf(ctx, id, store.MaxPage)
	if err != nil {
		return nil, err
	}
	for _, c := range page {
		if who.allow(ctx, actionReadLinker, c.ID) == nil {
			all = append(all, patchbay.DiscoveredConnection{ID: c.ID, Name: c.Name, Source: c.Source, Target: c.Spec.Target.ID})
		}
	}
	return all, nil
}
