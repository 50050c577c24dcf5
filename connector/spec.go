package connector

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/settings"
)

// connectionName is what az allows, and the dash that its users ask for. It
// reaches setting names, comments in files, and logs.
var connectionName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,60}$`)

// maxSettings bounds each of a spec's maps.
const maxSettings = 200

// parties are the two ends of a spec, resolved.
type parties struct {
	local    bool              // there is no source: the connection is a developer's own
	location patchbay.ID       // of a local connection
	source   patchbay.Resource // of the others
	scope    string            // the part of it that the connection names
	target   patchbay.Resource
	endpoint bool   // target is nobody's registration, but an endpoint that the caller named
	sub      string // what the target id adds to the resource: the database
	kind     string // in the settings table
	typ      string // the target id's type
	targets  driver.TargetDriver
	sources  driver.SourceDriver // zero where there is no source
}

// place is the connection's location.
func (p parties) place() string {
	if p.local {
		return p.location.Name()
	}
	return p.source.Location
}

// openSourceOf gives the opened driver of the source that p has.
func (s *Service) openSourceOf(ctx context.Context, p parties) (*driver.GuardedSource, func(), error) {
	if p.local {
		return s.nowhere(), func() {}, nil
	}
	return s.sourceIn(ctx, p.source, p.scope)
}

// newParties resolves spec's ends and says, before anything happens, whether
// such a connection can be, and whether who may have it.
func (s *Service) newParties(ctx context.Context, who Caller, id patchbay.ID, spec *patchbay.Spec) (parties, error) {
	nameOnce(&spec.Target)
	p, err := s.newSource(ctx, id)
	if err != nil {
		return p, err
	}
	if err := s.resolveTarget(ctx, who, &p, spec.Target); err != nil {
		return p, err
	}
	if err := s.checkSpec(ctx, p, spec); err != nil {
		return p, err
	}
	return p, mayLetIn(ctx, who, p, *spec)
}

// nameOnce leaves the one name that a target of t's type has: what nobody looked
// at is neither stored nor shown.
func nameOnce(t *patchbay.TargetService) {
	if t.Type == patchbay.AzureResource {
		t.Endpoint = ""
	} else {
		t.ID, t.Resource = "", nil
	}
}

// newSource resolves where a connection of that id is, and checks its name.
func (s *Service) newSource(ctx context.Context, id patchbay.ID) (parties, error) {
	var p parties
	of, name, ok := id.ConnectionSource()
	if !ok {
		return p, notConnection(id)
	}
	if !connectionName.MatchString(name) {
		return p, patchbay.Errorf(patchbay.InvalidArgument,
			"a connection's name is 1 to 60 letters, digits, dots, underscores and dashes; %q is not", clip(name, 80))
	}
	if id.IsLocal() {
		p.local, p.location = true, of
		return p, s.checkLocation(ctx, of)
	}
	var err error
	if p.source, err = s.records.Resource(ctx, of); err != nil {
		if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
			return p, patchbay.Errorf(patchbay.SourceNotFound, "the source %s is not in the inventory", of).
				WithFix("%s", registration(s.catalog.Describe(nil).Sources, of, ""))
		}
		return p, err
	}
	if p.sources, ok = s.catalog.Sources[p.source.Driver]; !ok {
		return p, patchbay.Errorf(patchbay.InvalidArgument, "%s has driver %q and can't be a source", p.source.ID.Name(), p.source.Driver)
	}
	return p, nil
}

func notConnection(id patchbay.ID) error {
	return patchbay.Errorf(patchbay.InvalidResourceID, "%q is not the id of a connection", clip(string(id), 200))
}

// topLevel is the resource that id is or is a child of.
func topLevel(id patchbay.ID) patchbay.ID {
	for strings.Count(id.Type(), "/") > 1 {
		id = id.Parent()
	}
	return id
}

// checkSpec fills spec's defaults and refuses what the two ends can't do.
func (s *Service) checkSpec(ctx context.Context, p parties, spec *patchbay.Spec) error {
	if spec.Naming == "" {
		spec.Naming = settings.DefaultNaming(p.kind)
	}
	// A change is merged into what there is: an empty template takes a setting away.
	maps.DeleteFunc(spec.Settings, func(_, template string) bool { return template == "" })
	for _, check := range []func(parties, *patchbay.Spec) error{checkAccess, checkAuth, checkConfiguration, checkFirewall} {
		if err := check(p, spec); err != nil {
			return err
		}
	}
	if err := s.checkVNet(ctx, p, spec); err != nil {
		return err
	}
	switch spec.Naming {
	case patchbay.NamingAzure, patchbay.NamingNative, patchbay.NamingServiceBinding, patchbay.NamingOwn:
		return settings.Check(settingsAsked(p.kind, *spec, settingsAuth(p.kind, *spec)))
	}
	return patchbay.Errorf(patchbay.InvalidArgument, "naming %q is not one of azure, native, servicebinding, own", clip(string(spec.Naming), 40))
}

// title names p's target in a message.
func (p parties) title() string {
	if p.endpoint {
		return "a service that is not registered"
	}
	return p.target.ID.Name()
}

func checkAccess(p parties, spec *patchbay.Spec) error {
	logins := p.targets.Logins
	switch {
	case logins == nil && (spec.Access == "" || spec.Access == patchbay.Writer):
		spec.Access = "" // the default of the others: nobody asked for anything
	case logins == nil:
		return patchbay.Errorf(patchbay.InvalidArgument, "%s is not administered by Patchbay, which can't give %s access there; leave it out", p.title(), clip(string(spec.Access), 40))
	case spec.Access == "":
		spec.Access = patchbay.Writer
		fallthrough
	default:
		if !slices.Contains(logins.Accesses, spec.Access) {
			return patchbay.Errorf(patchbay.InvalidArgument, "access %q is not one of those that %s has: %s", clip(string(spec.Access), 40), p.title(), list(logins.Accesses))
		}
	}
	var options []string
	if logins != nil {
		for _, o := range logins.Options {
			options = append(options, o.Name)
		}
	}
	for name := range spec.Options {
		if !slices.Contains(options, name) {
			known := "it has none"
			if len(options) > 0 {
				known = "it has " + list(options)
			}
			return patchbay.Errorf(patchbay.InvalidArgument, "%s has no option %q; %s", p.title(), clip(name, 40), known)
		}
	}
	return nil
}

// auths are the ways to sign in that p's target has. Where no login is made,
// anybody's may be used; what its kind can tell a client of, checkSpec finds.
func (p parties) auths() []patchbay.AuthType {
	if p.targets.Logins != nil {
		return p.targets.Logins.Auths
	}
	auths := []patchbay.AuthType{
		patchbay.AuthSecret, patchbay.AuthSystemIdentity, patchbay.AuthUserIdentity,
		patchbay.AuthSPSecret, patchbay.AuthSPCertificate, patchbay.AuthUserAccount,
	}
	if settings.HasAccessKey(p.kind) {
		auths = append(auths, patchbay.AuthAccessKey)
	}
	return auths
}

func checkAuth(p parties, spec *patchbay.Spec) error {
	a := spec.Auth
	if a == nil {
		return nil
	}
	if auths := p.auths(); !slices.Contains(auths, a.Type) {
		e := patchbay.Errorf(patchbay.NotSupported, "authentication by %q is not one of those that %s has: %s", clip(string(a.Type), 40), p.title(), list(auths))
		if at := slices.IndexFunc(p.targets.Lacks, func(l patchbay.Lack) bool { return l.What == string(a.Type) }); at >= 0 {
			e.Message += "; " + p.targets.Lacks[at].Why
		}
		return e
	}
	if p.local && (a.Type == patchbay.AuthSystemIdentity || a.Type == patchbay.AuthUserIdentity) {
		return patchbay.Errorf(patchbay.NotSupported, "a local connection has no source that could have an identity; sign in as a user account, as a service principal or with a secret")
	}
	if p.endpoint && a.Type != patchbay.AuthSecret && takesSecrets(p.kind) {
		return patchbay.Errorf(patchbay.NotSupported, "authentication by %q needs a registered target; %s has: secret", clip(string(a.Type), 40), p.title())
	}
	if a.SecretInfo != nil && a.SecretInfo.Type != "" && a.SecretInfo.Type != patchbay.RawValue {
		return patchbay.Errorf(patchbay.NotSupported, "a secret of type %s needs a secret store, and none can be registered yet; give the value, or none", clip(a.SecretInfo.Type, 40))
	}
	if !p.targets.Administers() && authenticates(*spec) && a.ClientID == "" && (a.Type == patchbay.AuthUserIdentity || a.Type == patchbay.AuthSPSecret) && !mayLackClientID(p.kind) {
		return patchbay.Errorf(patchbay.InvalidArgument, "authentication by %s needs its clientId", a.Type)
	}
	return nil
}

// mayLackClientID reports whether the settings of that kind do without the client
// id of an identity. A vault that a cluster mounts is read by the identity of the
// cluster's own driver: clients name none.
func mayLackClientID(kind string) bool {
	return slices.ContainsFunc(valuesOf(kind), func(v patchbay.TargetValue) bool { return v.Name == "clientId" && v.Optional })
}

// takesSecrets reports whether a target of that kind can be signed in to with a
// secret.
func takesSecrets(kind string) bool {
	return slices.ContainsFunc(settings.Kinds(), func(k patchbay.TargetKind) bool {
		return k.Name == kind && slices.Contains(k.Auths, patchbay.AuthSecret)
	})
}

func checkConfiguration(p parties, spec *patchbay.Spec) error {
	if len(spec.Settings) > maxSettings {
		return patchbay.Errorf(patchbay.InvalidArgument, "settings has %d entries; %d are the most", len(spec.Settings), maxSettings)
	}
	if c := spec.Configuration; c != nil {
		for what, m := range map[string]map[string]string{
			"customizedKeys": c.CustomizedKeys, "additionalConfigurations": c.Additional, "additionalConnectionStringProperties": c.ConnectionString,
		} {
			if len(m) > maxSettings {
				return patchbay.Errorf(patchbay.InvalidArgument, "%s has %d entries; %d are the most", what, len(m), maxSettings)
			}
		}
		if c.AppConfiguration != "" {
			return patchbay.Errorf(patchbay.NotSupported, "an App Configuration store can't be written to yet")
		}
	}
	if spec.SecretStore != nil && spec.SecretStore.KeyVaultID != "" {
		return patchbay.Errorf(patchbay.NotSupported, "a secret store can't be written to yet")
	}
	return nil
}

// parted are the types of sources that Azure divides. Its clients name a part of
// one as a connection's scope: a container, a namespace (contract 3.3).
var parted = map[string]bool{"microsoft.app/containerapps": true, clusterType: true}

const clusterType = "microsoft.containerservice/managedclusters"

// scopeName is what a container or a namespace may be called.
var scopeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// checkScope refuses a scope that nothing can read, one that is no name, and another
// than old, which the connection has.
func checkScope(p parties, scope, old string) error {
	switch {
	case scope == "":
		return nil
	case p.local:
		return patchbay.Errorf(patchbay.InvalidArgument, "a local connection has no source, so no part of one that a scope could name; leave it out")
	case p.sources.Part != "" && old != "":
		return patchbay.Errorf(patchbay.InvalidArgument, "the connection is one of the %s %s, and stays there", p.sources.Part, old).
			WithFix("make another connection for %s, and delete this one", scope)
	case p.sources.Part == "" && !parted[strings.ToLower(p.source.ID.Type())]:
		return patchbay.Errorf(patchbay.InvalidArgument, "%s has no parts that a scope could name: its settings are those of all of it; leave it out", p.source.ID.Name())
	case !scopeName.MatchString(scope):
		return patchbay.Errorf(patchbay.InvalidArgument, "a scope is the name of a container or a namespace, 1 to 63 lower-case letters, digits and dashes; %q is not", clip(scope, 80))
	}
	return nil
}

// authType is the auth type whose settings are written; a connection without
// authentication has those of a secret, less the login.
func authType(a *patchbay.Auth) patchbay.AuthType {
	if a == nil {
		return patchbay.AuthSecret
	}
	return a.Type
}

// settingsAuth is the auth type whose settings are written for a target of that
// kind. A developer's own account reads what a system-assigned identity does,
// where the table has nothing of its own for it: what finds the one finds the
// other.
func settingsAuth(kind string, spec patchbay.Spec) patchbay.AuthType {
	auth := authType(spec.Auth)
	switch auth {
	case patchbay.AuthAccessKey:
		return patchbay.AuthSecret // it is one
	case patchbay.AuthUserAccount:
	default:
		return auth
	}
	for _, one := range []patchbay.AuthType{auth, patchbay.AuthSystemIdentity} {
		if settings.Check(settingsAsked(kind, spec, one)) == nil {
			return one
		}
	}
	return auth
}

// settingsAsked is what spec asks of the settings, before there are values.
func settingsAsked(kind string, spec patchbay.Spec, auth patchbay.AuthType) settings.Request {
	return settings.Request{Kind: kind, Client: spec.Client, Auth: auth, Naming: spec.Naming, Templates: spec.Settings}
}

// configures reports whether spec wants its settings written.
func configures(spec patchbay.Spec) bool {
	return spec.Configuration == nil || !strings.EqualFold(spec.Configuration.Action, patchbay.OptOut)
}

// authenticates reports whether spec wants a login.
func authenticates(spec patchbay.Spec) bool {
	return spec.Auth != nil && !strings.EqualFold(spec.Auth.Mode, patchbay.OptOutAllAuth)
}

// cloneSpec copies what takeSecrets and checkSpec change.
func cloneSpec(spec patchbay.Spec) patchbay.Spec {
	if spec.Auth != nil {
		a := *spec.Auth
		if a.SecretInfo != nil {
			i := *a.SecretInfo
			a.SecretInfo = &i
		}
		a.Roles = slices.Clone(a.Roles)
		spec.Auth = &a
	}
	if spec.Configuration != nil {
		c := *spec.Configuration
		spec.Configuration = &c
	}
	spec.Options, spec.Settings = maps.Clone(spec.Options), maps.Clone(spec.Settings)
	return spec
}

func list[T ~string](values []T) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = string(v)
	}
	return strings.Join(words, ", ")
}

// clip keeps what a caller sent from filling an error message.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(s[:n], ""), len(s))
}
