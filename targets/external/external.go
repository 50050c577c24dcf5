// Package external is the driver of services that Patchbay does not
// administer: nobody is made, granted or removed there. A connection has the
// login that its caller gives, the one that was given with the registration, or
// an identity that others have granted its rights.
//
// The package knows of each kind of the settings table where it is, what signs
// in, and how to try that: [Driver] is given the kinds, since the table is
// nobody's but the use cases'.
//
// # Registration
//
// The endpoint is host:port or a URL; without one a resource is where Azure has
// it (services says where). The properties are
//
//	values     what settings are made of, by the kind's own names, where the
//	           endpoint and the id don't say it: database, region, username, …
//	endpoints  kind to endpoint, for a resource whose kinds are in several places
//	           (the services of a storage account)
//	tls        ca (PEM), serverName, and off for a service without TLS whose
//	           kind has no value that says so
//
// and the admin credential is the login that connections get: the kind's own
// secret values by name, or username and secret, where secret may be a
// connection string as Azure shows it.
package external

import (
	"context"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// ownTypes is the namespace of resources that are of no product's type: a kind's
// name follows.
const ownTypes = "Patchbay.Services/"

// Driver serves all of these kinds. Variant is the kind of a resource of that
// kind whose own kind property is resourceKind (an account of Cognitive
// Services of kind OpenAI).
func Driver(kinds []patchbay.TargetKind, variant func(kind, resourceKind string) string) driver.TargetDriver {
	c := catalogue{kinds: map[string]patchbay.TargetKind{}, variant: variant, order: services}
	for _, k := range kinds {
		c.kinds[k.Name] = k
		if !slices.ContainsFunc(services, func(s service) bool { return s.kind == k.Name }) {
			c.order = append(slices.Clip(c.order), serviceOf(k))
		}
	}
	schemes := map[string]string{}
	for _, s := range c.order {
		for name := range s.schemes {
			if _, ok := c.kinds[s.kind]; ok {
				schemes[name] = s.kind
			}
		}
	}
	return driver.TargetDriver{Driver: describe(kinds), Unregistered: schemes, Open: c.open, Probe: c.probe}
}

// catalogue is the kinds of a build.
type catalogue struct {
	kinds   map[string]patchbay.TargetKind
	order   []service // in which they stand for a resource of several
	variant func(kind, resourceKind string) string
}

// target is one resource, or one endpoint that nobody registered.
type target struct {
	catalogue
	config
	resolve resolver
}

func (c catalogue) open(_ context.Context, cfg driver.Config) (driver.Target, error) {
	if cfg.Dialer == nil {
		return nil, patchbay.Errorf(patchbay.Internal, "no dialer to reach the service through")
	}
	parsed, err := c.parse(cfg)
	if err != nil {
		return nil, err
	}
	return &target{catalogue: c, config: parsed, resolve: systemResolver{}}, nil
}

// served are the kinds that a resource may be a target of, the one that stands
// for it first.
func (c catalogue) served(id patchbay.ID, resourceKind string) []string {
	typ := id.Type()
	if name, ok := cutPrefixFold(typ, ownTypes); ok {
		for kind := range c.kinds {
			if strings.EqualFold(kind, name) {
				return []string{kind}
			}
		}
	}
	var found []string
	for _, s := range c.order {
		k, ok := c.kinds[s.kind]
		if ok && slices.ContainsFunc(k.Types(), func(t string) bool { return within(t, typ) }) {
			found = append(found, c.variant(s.kind, resourceKind))
		}
	}
	return found
}

// within reports whether t is of, or below, the type top.
func within(t, top string) bool {
	rest, ok := cutPrefixFold(t, top)
	return ok && (rest == "" || rest[0] == '/')
}

func cutPrefixFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

// kindOf is the kind of the target that sub names.
func (t *target) kindOf(sub string) (string, error) {
	if sub == "" && len(t.kinds) > 0 {
		return t.serves[0], nil
	}
	typ := t.id.Type()
	for i, part := range strings.Split(sub, "/") {
		if i%2 == 0 {
			typ += "/" + part
		}
	}
	for _, name := range t.serves {
		if slices.ContainsFunc(t.kinds[name].Types(), func(known string) bool { return strings.EqualFold(known, typ) }) {
			return name, nil
		}
	}
	return "", patchbay.Errorf(patchbay.TargetTypeNotSupported, "%s serves no target of type %s", t.id.Name(), clip(typ))
}

// Close implements [driver.Target]. There is no admin connection to close.
func (t *target) Close() error { return nil }

func invalid(format string, args ...any) *patchbay.Error {
	return patchbay.Errorf(patchbay.InvalidArgument, format, args...)
}

// clip is s as a message may show it.
func clip(s string) string {
	const most = 120
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return '?'
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
