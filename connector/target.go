package connector

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/settings"
	"patchbay.dev/patchbay/store"
)

// ref says which target a connection has: all that it takes to open it again in
// a later step, or in another process.
type ref struct {
	Target patchbay.ID `json:"target,omitempty"` // the registered resource
	// Endpoint is a target that nobody registered; Target is "" then.
	Endpoint *endpoint `json:"endpoint,omitempty"`
	Sub      string    `json:"sub,omitempty"`
	Kind     string    `json:"kind"` // in the settings table
	// Reach is where the source finds it, by where it is registered ([driver.Platform].Reach).
	Reach map[string]string `json:"reach,omitempty"`
}

// endpoint is a target that nobody registered.
type endpoint struct {
	// ID is made of where it is. It is in no inventory.
	ID      patchbay.ID `json:"id"`
	Address string      `json:"address"`
}

func (r ref) made() bool { return r.Target != "" || r.Endpoint != nil }

// resource is the endpoint as a resource of the driver that administers
// nothing.
func (e endpoint) resource(driverName string) patchbay.Resource {
	return patchbay.Resource{ID: e.ID, Driver: driverName, Endpoint: e.Address, State: patchbay.Succeeded}
}

// unregistered is the driver of endpoints that nobody registered; ok is false
// when the build has none.
func (s *Service) unregistered() (name string, ok bool) {
	for _, name := range slices.Sorted(maps.Keys(s.catalog.Targets)) {
		if len(s.catalog.Targets[name].Unregistered) > 0 {
			return name, true
		}
	}
	return "", false
}

// openRef gives the opened driver of a target.
func (s *Service) openRef(ctx context.Context, r ref) (*driver.GuardedTarget, func(), error) {
	switch {
	case r.Endpoint == nil && len(r.Reach) > 0:
		return s.seen(ctx, r)
	case r.Endpoint == nil:
		return s.target(ctx, r.Target)
	}
	name, ok := s.unregistered()
	if !ok {
		return nil, nil, noUnregistered()
	}
	return s.openEndpoint(ctx, r.Endpoint.resource(name))
}

// openEndpoint opens what is in no inventory. It is not pooled: nothing says
// when its last connection is gone, and there is no admin connection to keep.
func (s *Service) openEndpoint(ctx context.Context, r patchbay.Resource) (*driver.GuardedTarget, func(), error) {
	target, err := s.openTarget(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	return target, func() { _ = target.Close() }, nil // nothing is left to be done with it
}

func noUnregistered() error {
	return patchbay.Errorf(patchbay.NotSupported, "this build has no driver for services that are not registered; register the service and name its id")
}

// inspect asks a target where it is. One that says so without being reached need
// not be: whether there is a way to it, the probe finds out from where the
// application runs.
func inspect(ctx context.Context, target *driver.GuardedTarget, sub string) (driver.TargetInfo, error) {
	info, err := target.Inspect(ctx, sub)
	if err != nil && len(info.Values) > 0 {
		return info, nil
	}
	return info, err
}

// openParty gives the opened driver of the target that p has.
func (s *Service) openParty(ctx context.Context, p parties) (*driver.GuardedTarget, func(), error) {
	if p.endpoint {
		return s.openEndpoint(ctx, p.target)
	}
	return s.targetOf(ctx, p.target)
}

// refOf is what is kept of p's target.
func refOf(p parties) ref {
	if p.endpoint {
		return ref{Endpoint: &endpoint{ID: p.target.ID, Address: p.target.Endpoint}, Sub: p.sub, Kind: p.kind}
	}
	return ref{Target: p.target.ID, Sub: p.sub, Kind: p.kind}
}

// today is the target of a connection as its resource is by now: another driver
// may have taken the place of the one that the connection was made with, and
// name children in another way.
func (s *Service) today(ctx context.Context, r ref, target patchbay.ID) (ref, driver.TargetDriver, error) {
	if r.Endpoint != nil {
		name, _ := s.unregistered()
		return r, s.catalog.Targets[name], nil
	}
	res, err := s.records.Resource(ctx, r.Target)
	if err != nil {
		return r, driver.TargetDriver{}, err
	}
	d := s.catalog.Targets[res.Driver]
	if sub, ok := d.Sub(res.ID, target); ok {
		r.Sub = sub
	}
	return r, d, nil
}

// resolveTarget finds what t names, and asks whether who may connect it before
// anything about it is told.
func (s *Service) resolveTarget(ctx context.Context, who Caller, p *parties, t patchbay.TargetService) error {
	if t.Type != patchbay.AzureResource {
		return s.resolveEndpoint(ctx, who, p, t)
	}
	r, err := s.registered(ctx, t.ID)
	if err == nil {
		err = who.allow(ctx, ActionConnect, r.ID)
	}
	if err := s.unseen(err, t.ID); err != nil {
		return err
	}
	d, ok := s.catalog.Targets[r.Driver]
	if !ok {
		return patchbay.Errorf(patchbay.InvalidArgument, "%s has driver %q and can't be a target", r.ID.Name(), r.Driver)
	}
	p.target, p.targets, p.typ = r, d, t.ID.Type()
	if p.sub, ok = d.Sub(r.ID, t.ID); !ok {
		return wrongChild(d, r.ID, t.ID)
	}
	if p.kind = d.Kind; p.kind == "" {
		if p.kind, ok = settings.KindOf(p.typ); !ok {
			return unknownType(t.ID)
		}
		p.kind = settings.Variant(p.kind, r.Kind)
	}
	if t.Resource != nil && t.Resource.ConnectAsKubernetesCSIDriver != nil && *t.Resource.ConnectAsKubernetesCSIDriver {
		p.kind = settings.Variant(p.kind, "csi")
	}
	return nil
}

// unseen is err, with one answer for a target that is not there and for one that
// its caller may not know of.
func (s *Service) unseen(err error, target patchbay.ID) error {
	if patchbay.CodeOf(err) != patchbay.ResourceNotFound {
		return err
	}
	kind, _ := settings.KindOf(target.Type())
	return patchbay.Errorf(patchbay.TargetNotFound, "the target %s is not in the inventory", target).
		WithFix("%s", registration(s.catalog.Describe(nil).Targets, topLevel(target), kind))
}

// registered is the resource that id is or is a child of.
func (s *Service) registered(ctx context.Context, id patchbay.ID) (patchbay.Resource, error) {
	for ; id.Type() != ""; id = id.Parent() {
		r, err := s.records.Resource(ctx, id)
		if patchbay.CodeOf(err) != patchbay.ResourceNotFound {
			return r, err
		}
	}
	return patchbay.Resource{}, patchbay.Errorf(patchbay.ResourceNotFound, "there is no such resource")
}

func wrongChild(d driver.TargetDriver, resource, target patchbay.ID) error {
	e := patchbay.Errorf(patchbay.TargetTypeNotSupported, "Target resource type %s is not supported.", strings.ToUpper(target.Type()))
	if len(d.Children) > 0 && d.Children[0] != "" && resource.Equal(target) {
		return e.WithFix("name what is below it too: %s/%s/NAME", target, strings.ReplaceAll(d.Children[0], "/", "/NAME/"))
	}
	return e
}

// unknownType is the error of a target id whose type no kind has; where kinds
// have children of it (a storage account's services), the fix names them.
func unknownType(target patchbay.ID) error {
	e := patchbay.Errorf(patchbay.TargetTypeNotSupported, "Target resource type %s is not supported.", strings.ToUpper(target.Type()))
	var children []string
	for _, k := range settings.Kinds() {
		for _, typ := range k.Types() {
			prefix := target.Type() + "/"
			if len(typ) > len(prefix) && strings.EqualFold(typ[:len(prefix)], prefix) {
				children = append(children, target.String()+"/"+strings.ReplaceAll(typ[len(prefix):], "/", "/NAME/")+"/NAME")
			}
		}
	}
	if len(children) == 0 {
		return e
	}
	slices.Sort(children)
	return e.WithFix("name what is below it too: %s", list(slices.Compact(children)))
}

// resolveEndpoint makes a target of an endpoint that nobody registered.
func (s *Service) resolveEndpoint(ctx context.Context, who Caller, p *parties, t patchbay.TargetService) error {
	scope := p.source.ID
	if p.local {
		scope = p.location
	}
	if err := who.allow(ctx, ActionDial, scope); err != nil {
		return err
	}
	if err := checkEndpoint(t.Endpoint); err != nil {
		return err
	}
	name, ok := s.unregistered()
	if !ok {
		return noUnregistered()
	}
	kind, err := s.endpointKind(t)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(string(t.Type) + " " + t.Endpoint))
	id := store.GroupOf(scope).Child("providers/Patchbay.Services/"+kind, hex.EncodeToString(sum[:8]))
	p.endpoint, p.kind, p.typ, p.targets = true, kind, id.Type(), s.catalog.Targets[name]
	p.target = endpoint{ID: id, Address: t.Endpoint}.resource(name)
	return nil
}

// endpointKind is what is behind an endpoint.
func (s *Service) endpointKind(t patchbay.TargetService) (string, error) {
	if t.Type == patchbay.FabricPlatform && strings.Contains(strings.ToLower(t.Endpoint), "//api.fabric.") {
		return "", patchbay.Errorf(patchbay.InvalidArgument, "the endpoint is the database's page at Fabric's own API, and only Fabric knows which server is behind it").
			WithFix("give the server and the database that Fabric shows as its SQL connection string: NAME.database.fabric.microsoft.com:1433/DATABASE")
	}
	if t.Type != patchbay.SelfHostedServer {
		kind, ok := settings.KindOf(string(t.Type))
		if !ok {
			return "", patchbay.Errorf(patchbay.TargetTypeNotSupported, "Target service type %s is not supported.", clip(string(t.Type), 60))
		}
		return kind, nil
	}
	schemes := map[string]string{}
	for _, d := range s.catalog.Targets {
		maps.Copy(schemes, d.Unregistered)
	}
	scheme, _, ok := strings.Cut(t.Endpoint, "://")
	if kind := schemes[strings.ToLower(scheme)]; ok && kind != "" {
		return kind, nil
	}
	return "", patchbay.Errorf(patchbay.InvalidArgument, "the endpoint's scheme does not say what is there; it is one of %s",
		list(slices.Sorted(maps.Keys(schemes)))).
		WithFix("write it as scheme://host:port, or register the service and name its id")
}

// maxEndpoint bounds an endpoint, in bytes.
const maxEndpoint = 1024

// loginParameter is the name of a parameter that has a part of a login. It is
// matched without case and without what stands between words.
var loginParameter = regexp.MustCompile(`pass|pwd|secret|token|credential|signature|login|username|key$|^(user|userid|uid|auth|sig|sas)$`)

// hasLogin reports whether what is behind an endpoint's scheme has a login in
// it, in whatever form some product knows.
func hasLogin(rest string) bool {
	if plain, err := url.PathUnescape(rest); err == nil {
		rest = plain
	}
	if strings.Contains(rest, "@") {
		return true
	}
	parts := strings.FieldsFunc(rest, func(r rune) bool { return strings.ContainsRune("?&;,/", r) })
	return slices.ContainsFunc(parts, func(part string) bool {
		name, _, ok := strings.Cut(part, "=")
		name = strings.NewReplacer("_", "", "-", "", ".", "", "+", "", " ", "").Replace(strings.ToLower(name))
		return ok && loginParameter.MatchString(name)
	})
}

// checkEndpoint refuses what is no endpoint, and one that has a login in it: it
// is shown by every GET. No error shows any of it.
func checkEndpoint(e string) error {
	_, rest, hasScheme := strings.Cut(e, "://")
	if !hasScheme {
		rest = e
	}
	switch {
	case e == "":
		return patchbay.Errorf(patchbay.InvalidArgument, "the target service has no endpoint")
	case len(e) > maxEndpoint:
		return patchbay.Errorf(patchbay.InvalidArgument, "the endpoint is longer than %d bytes", maxEndpoint)
	case strings.ContainsFunc(e, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\\\"'`<>{}|^#", r) }):
		return patchbay.Errorf(patchbay.InvalidArgument, "the endpoint has characters that no endpoint has")
	case hasLogin(rest):
		return patchbay.Errorf(patchbay.InvalidArgument, "the endpoint has a login in it, and everybody who reads the connection would see it").
			WithFix("give the login as authInfo (--secret name=… secret=…), and the endpoint without it")
	case strings.HasPrefix(rest, "/") || strings.HasPrefix(rest, ":") || rest == "":
		return patchbay.Errorf(patchbay.InvalidArgument, "the endpoint names no host")
	}
	return nil
}
