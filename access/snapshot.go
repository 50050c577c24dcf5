package access

import (
	"context"
	"strings"

	"patchbay.dev/patchbay"
)

// snapshot is all roles at one moment. It is never changed: a decision is made
// from one as a whole.
type snapshot struct {
	version     int64
	definitions map[string]patchbay.RoleDefinition // by tenant and id
	assignments []patchbay.RoleAssignment          // in the order of the store
	// grants are the roles of a principal, in lower case, at its scopes.
	grants map[string]map[string][]*role
}

// snapshot is the roles as they are now.
func (c *Control) snapshot(ctx context.Context) (*snapshot, error) {
	version := c.roles.RolesVersion()
	if s := c.current.Load(); s != nil && s.version == version {
		return s, nil
	}
	c.loading.Lock()
	defer c.loading.Unlock()
	// The number is read before the rows: what is written between the two is
	// read again with the next decision, never missed.
	version = c.roles.RolesVersion()
	if s := c.current.Load(); s != nil && s.version == version {
		return s, nil
	}
	s, err := c.load(ctx, version)
	if err != nil {
		return nil, err
	}
	c.current.Store(s)
	return s, nil
}

func (c *Control) load(ctx context.Context, version int64) (*snapshot, error) {
	s := &snapshot{version: version, definitions: map[string]patchbay.RoleDefinition{}, grants: map[string]map[string][]*role{}}
	compiled := map[string]*role{}
	for _, d := range Builtin() {
		s.definitions[definitionKey("", d.ID)] = d
		compiled[definitionKey("", d.ID)] = compileRole(d)
	}
	own, err := c.roles.RoleDefinitions(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, d := range own {
		s.definitions[definitionKey(d.Tenant, d.ID)] = d
		compiled[definitionKey(d.Tenant, d.ID)] = compileRole(d)
	}
	if s.assignments, err = c.roles.RoleAssignments(ctx, ""); err != nil {
		return nil, err
	}
	for _, a := range s.assignments {
		r := compiled[definitionKey("", a.Role)]
		if r == nil {
			r = compiled[definitionKey(a.Tenant, a.Role)]
		}
		key, ok := scopeKey(a.Scope)
		if r == nil || !ok {
			continue // a role that is gone gives nothing
		}
		who := grantee(a.Tenant, a.Principal)
		at := s.grants[who]
		if at == nil {
			at = map[string][]*role{}
			s.grants[who] = at
		}
		at[key] = append(at[key], r)
	}
	return s, nil
}

func definitionKey(tenant, id string) string { return strings.ToLower(tenant + "/" + id) }

// grantee is a principal in its tenant: what one tenant's assignments say is
// never about another's principals, whatever their ids.
func grantee(tenant, principal string) string { return strings.ToLower(tenant + "/" + principal) }

// definition is a tenant's role, or a built-in one.
func (s *snapshot) definition(tenant, id string) (patchbay.RoleDefinition, bool) {
	d, ok := s.definitions[definitionKey("", id)]
	if !ok && tenant != "" {
		d, ok = s.definitions[definitionKey(tenant, id)]
	}
	return d, ok
}

// eachGrantee calls yield with the scopes and roles of who and of its groups.
func (s *snapshot) eachGrantee(who patchbay.Subject, yield func(map[string][]*role) bool) bool {
	if at := s.grants[grantee(who.Tenant, who.ID)]; at != nil && who.ID != "" && yield(at) {
		return true
	}
	for _, g := range who.Groups {
		if at := s.grants[grantee(who.Tenant, g)]; at != nil && g != "" && yield(at) {
			return true
		}
	}
	return false
}

// above reports whether an assignment at key or above it grants the action.
func (s *snapshot) above(who patchbay.Subject, action, key string) bool {
	return s.eachGrantee(who, func(at map[string][]*role) bool {
		for k := key; ; {
			for _, r := range at[k] {
				if r.grants(action) {
					return true
				}
			}
			if k == rootKey {
				return false
			}
			if i := strings.LastIndexByte(k, '/'); i > 0 {
				k = k[:i]
			} else {
				k = rootKey
			}
		}
	})
}

// below reports whether an assignment at key or below it grants the action.
func (s *snapshot) below(who patchbay.Subject, action, key string) bool {
	return s.eachGrantee(who, func(at map[string][]*role) bool {
		for k, roles := range at {
			if !covers(key, k) {
				continue
			}
			for _, r := range roles {
				if r.grants(action) {
					return true
				}
			}
		}
		return false
	})
}
