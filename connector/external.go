package connector

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/settings"
)

// login is whose login a connection has. The words are stored.
type loginKind string

const (
	loginNone       loginKind = ""
	loginOwn        loginKind = "own"        // Patchbay made it
	loginGiven      loginKind = "given"      // the caller gave it
	loginRegistered loginKind = "registered" // it was given with the target's registration
	loginIdentity   loginKind = "identity"   // an identity or a service principal, which others grant its rights
)

// whose is the login of a connection, also of one that was made before this
// was stored.
func (h holding) whose() loginKind {
	switch {
	case h.LoginKind != loginNone:
		return h.LoginKind
	case h.Login != nil:
		return loginOwn
	case len(h.Given) > 0:
		return loginGiven
	}
	return loginNone
}

// sentTo are the facts of a target that decide where a login goes, and how.
var sentTo = []string{
	"account", "endpoint", "endpoints", "host", "ingestionEndpoint", "liveEndpoint", "openaiEndpoint", "port", "servers", "speechEndpoint", "ssl", "sslmode", "suffix", "tableEndpoint", "url",
}

// whereIs is what a target says of that.
func whereIs(facts map[string]string) map[string]string {
	where := maps.Clone(facts)
	maps.DeleteFunc(where, func(name, _ string) bool { return !slices.Contains(sentTo, name) })
	return where
}

// stays fails when a login that was given for the target where it was would be
// sent to where it is now: who moves a target is not who gave the login. Another
// driver has other facts, of which those that both have are the same.
func (h holding) stays(c patchbay.Connection, now map[string]string) error {
	if h.whose() != loginGiven || len(h.Where) == 0 {
		return nil
	}
	same, where := false, ""
	for _, name := range sentTo {
		was, is := h.Where[name], now[name]
		switch {
		case was == "":
		case is == "":
			where = cmp.Or(where, name+" "+was)
		case was != is:
			return movedAway(c, name+" "+was, name+" "+is)
		default:
			same = true
		}
	}
	if !same {
		return movedAway(c, where, "nothing of that kind")
	}
	return nil
}

func movedAway(c patchbay.Connection, was, is string) error {
	return patchbay.Errorf(patchbay.Conflict, "the login of %s was given for %s, and its target has %s now: it is not sent there", c.Name, was, is).
		WithFix("give it again, with --secret name=… secret=…")
}

// loginOf is whose login a connection has with that spec and those secrets.
func loginOf(p parties, spec patchbay.Spec, given map[string]string) loginKind {
	switch {
	case !authenticates(spec):
		return loginNone
	case !p.targets.Administers() && spec.Auth.Type != patchbay.AuthSecret && spec.Auth.Type != patchbay.AuthAccessKey:
		return loginIdentity
	case spec.Auth.Type == patchbay.AuthSecret && given[givenValue] != "":
		return loginGiven
	case !p.targets.Administers():
		return loginRegistered
	}
	return loginOwn
}

// identity is what the settings say of an identity or a service principal:
// what the settings table has for its auth type, and nothing else.
func (s *Service) identity(ctx context.Context, want patchbay.Connection, kind string, given map[string]string) (driver.Credential, error) {
	a := want.Spec.Auth
	sub, err := s.subscription(ctx, want.ID.Subscription())
	if err != nil {
		return driver.Credential{}, err
	}
	c := driver.Credential{Public: map[string]string{}, Secret: driver.Secrets{}}
	public := map[string]string{"clientId": a.ClientID, "principalId": a.PrincipalID, "tenantId": sub.TenantID}
	for _, v := range valuesOf(kind) {
		if v.Name == "username" && v.Default == "" && !v.Optional && len(v.Auths) == 0 {
			// Databases know an identity by a user's name. Unless it was said, it is the
			// one that az's passwordless extension makes.
			c.Public[v.Name] = cmp.Or(a.UserName, "aad_"+want.Name)
		}
		if !slices.Contains(v.Auths, a.Type) {
			continue
		}
		if value := public[v.Name]; value != "" {
			c.Public[v.Name] = value
		}
		if v.Name == "clientSecret" && given[givenSecret] != "" {
			c.Secret[v.Name] = patchbay.NewSecret(given[givenSecret])
		}
	}
	return c, nil
}

func valuesOf(kind string) []patchbay.TargetValue {
	for _, k := range settings.Kinds() {
		if k.Name == kind {
			return k.Values
		}
	}
	return nil
}
