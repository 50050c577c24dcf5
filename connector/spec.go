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
	source  patchbay.Resource
	target  patchbay.Resource
	sub     string // what the target id adds to the resource: the database
	kind    string // in the settings table
	typ     string // the target id's type
	targets driver.TargetDriver
}

// newParties resolves spec's ends and says, before anything happens, whether
// such a connection can be.
func (s *Service) newParties(ctx context.Context, id patchbay.ID, spec *patchbay.Spec) (parties, error) {
	var p parties
	sourceID, name, ok := id.LinkerSource()
	if !ok {
		return p, patchbay.Errorf(patchbay.InvalidResourceID, "%q is not the id of a connection", id)
	}
	if !connectionName.MatchString(name) {
		return p, patchbay.Errorf(patchbay.InvalidArgument,
			"a connection's name is 1 to 60 letters, digits, dots, underscores and dashes; %q is not", clip(name, 80))
	}
	var err error
	if p.source, err = s.records.Resource(ctx, sourceID); err != nil {
		if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
			return p, patchbay.Errorf(patchbay.SourceNotFound, "the source %s is not in the inventory", sourceID).
				WithFix("patchbay resource add envfile %s --path FILE", sourceID.Name())
		}
		return p, err
	}
	if _, ok := s.catalog.Sources[p.source.Driver]; !ok {
		return p, patchbay.Errorf(patchbay.InvalidArgument, "%s has driver %q and can't be a source", p.source.ID.Name(), p.source.Driver)
	}
	if err := s.resolveTarget(ctx, &p, spec.Target); err != nil {
		return p, err
	}
	return p, s.checkSpec(p, spec)
}

func (s *Service) resolveTarget(ctx context.Context, p *parties, t patchbay.TargetService) error {
	if t.Type != patchbay.AzureResource {
		return patchbay.Errorf(patchbay.NotSupported, "targets of type %s can't be connected yet; register the service and name its id", t.Type)
	}
	p.typ = t.ID.Type()
	var found bool
	for id, below := t.ID, []string(nil); id.Type() != ""; id = id.Parent() {
		r, err := s.records.Resource(ctx, id)
		if err == nil {
			p.target, found = r, true
			slices.Reverse(below)
			d, ok := s.catalog.Targets[r.Driver]
			if !ok {
				return patchbay.Errorf(patchbay.InvalidArgument, "%s has driver %q and can't be a target", r.ID.Name(), r.Driver)
			}
			p.targets = d
			switch {
			case d.Child == "" && len(below) == 0:
			case d.Child != "" && len(below) == 2 && strings.EqualFold(below[0], d.Child):
				p.sub = below[1]
			case d.Child != "" && len(below) == 0:
				return patchbay.Errorf(patchbay.TargetTypeNotSupported, "Target resource type %s is not supported.", strings.ToUpper(p.typ)).
					WithFix("name the %s too: %s/%s/NAME", strings.TrimSuffix(d.Child, "s"), t.ID, d.Child)
			default:
				return patchbay.Errorf(patchbay.TargetTypeNotSupported, "Target resource type %s is not supported.", strings.ToUpper(p.typ))
			}
			break
		}
		if patchbay.CodeOf(err) != patchbay.ResourceNotFound {
			return err
		}
		parts := strings.Split(string(id), "/")
		below = append(below, parts[len(parts)-1], parts[len(parts)-2])
	}
	if !found {
		return patchbay.Errorf(patchbay.TargetNotFound, "the target %s is not in the inventory", t.ID).
			WithFix("patchbay resource add KIND %s --endpoint HOST:PORT", topLevel(t.ID).Name())
	}
	p.kind = p.targets.Kind
	return nil
}

// topLevel is the resource that id is or is a child of.
func topLevel(id patchbay.ID) patchbay.ID {
	for strings.Count(id.Type(), "/") > 1 {
		id = id.Parent()
	}
	return id
}

// checkSpec fills spec's defaults and refuses what the two ends can't do.
func (s *Service) checkSpec(p parties, spec *patchbay.Spec) error {
	if spec.Access == "" {
		spec.Access = patchbay.Writer
	}
	if spec.Naming == "" {
		spec.Naming = settings.DefaultNaming(p.kind)
	}
	if spec.Client == "" {
		spec.Client = "none"
	}
	caps := p.targets.Capabilities
	if !slices.Contains(caps.Access, spec.Access) {
		return patchbay.Errorf(patchbay.InvalidArgument, "access %q is not one of those that %s has: %s", clip(string(spec.Access), 40), p.target.ID.Name(), list(caps.Access))
	}
	for name := range spec.Options {
		if !slices.Contains(caps.Options, name) {
			known := "it has none"
			if len(caps.Options) > 0 {
				known = "it has " + list(caps.Options)
			}
			return patchbay.Errorf(patchbay.InvalidArgument, "%s has no option %q; %s", p.target.ID.Name(), clip(name, 40), known)
		}
	}
	if a := spec.Auth; a != nil {
		if !slices.Contains(caps.Auth, a.Type) {
			return patchbay.Errorf(patchbay.NotSupported, "authentication by %q is not one of those that %s has: %s", clip(string(a.Type), 40), p.target.ID.Name(), list(caps.Auth))
		}
		if a.SecretInfo != nil && a.SecretInfo.Type != "" && a.SecretInfo.Type != patchbay.RawValue {
			return patchbay.Errorf(patchbay.NotSupported, "a secret of type %s needs a secret store, and none can be registered yet; give the value, or none", clip(a.SecretInfo.Type, 40))
		}
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
	if spec.VNet != nil && spec.VNet.Type != "" {
		return patchbay.Errorf(patchbay.NotSupported, "%s has no guard of its network that Patchbay administers; leave vNetSolution out", p.target.ID.Name())
	}
	if spec.Naming == patchbay.NamingAzure || spec.Naming == patchbay.NamingNative || spec.Naming == patchbay.NamingServiceBinding {
		if _, err := settings.Names(p.kind, spec.Client, authType(spec.Auth), spec.Naming); err != nil {
			return err
		}
		return nil
	}
	return patchbay.Errorf(patchbay.InvalidArgument, "naming %q is not one of azure, native, servicebinding", clip(string(spec.Naming), 40))
}

// authType is the auth type whose settings are written; a connection without
// authentication has those of a secret, less the login.
func authType(a *patchbay.Auth) patchbay.AuthType {
	if a == nil {
		return patchbay.AuthSecret
	}
	return a.Type
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
	spec.Options = maps.Clone(spec.Options)
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
