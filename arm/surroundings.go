package arm

import (
	"regexp"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

// namespace is what a resource provider may be called.
var namespace = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,40}(\.[A-Za-z][A-Za-z0-9]{0,40}){0,3}$`)

// IsSite reports whether id is a web site's, or one's of its slots.
func IsSite(id patchbay.ID) bool {
	return is(id.Type(), "Microsoft.Web/sites") || is(id.Type(), "Microsoft.Web/sites/slots")
}

// ResourceType is one type of a provider, and the api-versions that it is
// asked with.
type ResourceType struct {
	Name     string // without the namespace: flexibleServers/databases
	Versions []string
}

// TypeTable has the types of each provider's namespace.
type TypeTable map[string][]ResourceType

// Types is what this server answers for: its own providers, and the given
// types (Microsoft.Web/sites), with the types that those are children of. What
// is in the inventory is taken with any api-version; the newest is named.
func Types(given []string) TypeTable {
	t := TypeTable{}
	for _, r := range []struct {
		name  string
		since Version
	}{
		{"linkers", V20220501}, {"dryruns", V20221101Preview}, {"daprConfigurations", V20230401Preview}, {"locations", V20220501},
		{"locations/connectors", V20221101Preview}, {"locations/dryruns", V20221101Preview}, {"locations/operationStatuses", V20220501},
		{"operations", V20220501}, {"configurationNames", V20221101Preview},
	} {
		var served []string
		for _, v := range slices.Backward(Versions()) {
			if v >= r.since {
				served = append(served, string(v))
			}
		}
		t.add(Provider+"/"+r.name, served)
	}
	own := []string{string(V20261101)}
	for _, name := range []string{"operations", "leftovers", "settings", "resources", "tenants", "principals", "audit"} {
		t.add(OwnProvider+"/"+name, own)
	}
	for _, name := range []string{"roleAssignments", "roleDefinitions", "permissions"} {
		t.add(AuthorizationProvider+"/"+name, []string{"2022-04-01"})
	}
	for _, name := range []string{"tenants", "subscriptions", "resourceGroups", "providers"} {
		t.add("Microsoft.Resources/"+name, []string{"2022-12-01", "2021-04-01"})
	}
	for _, full := range given {
		for at := strings.IndexByte(full, '/'); at > 0 && at < len(full); {
			end := strings.IndexByte(full[at+1:], '/')
			if end < 0 {
				end = len(full)
			} else {
				end += at + 1
			}
			t.add(full[:end], own)
			at = end
		}
	}
	return t
}

func (t TypeTable) add(full string, versions []string) {
	ns, name, ok := strings.Cut(full, "/")
	if !ok {
		return
	}
	at := ns
	for known := range t {
		if is(known, ns) {
			at = known
		}
	}
	if !slices.ContainsFunc(t[at], func(r ResourceType) bool { return is(r.Name, name) }) {
		t[at] = append(t[at], ResourceType{name, versions})
	}
}

// Provider is the answer to a GET of a provider; subscription is "" at the
// tenant. ok is false when there is none of that namespace.
func (t TypeTable) Provider(subscription patchbay.ID, ns string, locations []string) (body any, ok bool) {
	for known, types := range t {
		if !is(known, ns) {
			continue
		}
		items := make([]any, len(types))
		for i, r := range types {
			m := &members{}
			m.add("", "resourceType", r.Name)
			m.add("", "locations", orEmptyList(locations))
			m.add("", "apiVersions", r.Versions)
			m.add("", "defaultApiVersion", r.Versions[0])
			m.add("", "capabilities", "None")
			items[i] = m
		}
		m := &members{}
		m.add("", "id", string(subscription)+"/providers/"+known)
		m.add("", "namespace", known)
		m.add("", "registrationPolicy", "RegistrationFree")
		m.add("", "registrationState", "Registered")
		m.add("", "resourceTypes", items)
		return m, true
	}
	return nil, false
}

// Namespaces are the providers', sorted.
func (t TypeTable) Namespaces() []string { return sortedKeys(t) }

func orEmptyList(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

// Tenant is one tenant as ARM lists it.
func Tenant(t patchbay.Tenant) any {
	m := &members{}
	m.add("", "id", "/tenants/"+t.ID)
	m.add("", "tenantId", t.ID)
	m.add("", "displayName", orNull(t.DisplayName))
	m.add("", "tenantCategory", "Home")
	m.add("", "domains", []string{})
	return m
}

// Location is one place that resources of a subscription are in.
func Location(subscription, name string) any {
	meta := &members{}
	meta.add("", "regionType", "Physical")
	meta.add("", "regionCategory", "Other")
	m := &members{}
	m.add("", "id", "/subscriptions/"+subscription+"/locations/"+name)
	m.add("", "name", name)
	m.add("", "type", "Region")
	m.add("", "displayName", name)
	m.add("", "regionalDisplayName", name)
	m.add("", "metadata", meta)
	return m
}

// DecodeSubscription reads the body of a PUT of a subscription.
func DecodeSubscription(id string, body []byte) (patchbay.Subscription, error) {
	s := patchbay.Subscription{ID: id}
	err := decodeBody(body, func(o *object) {
		o.ignore("id", "subscriptionId", "state", "authorizationSource", "managedByTenants", "subscriptionPolicies")
		o.str("", "tenantId", &s.TenantID)
		o.str("", "displayName", &s.DisplayName)
		if s.TenantID == "" {
			o.fail(invalid("tenantId is required"))
		}
	})
	return s, err
}

// decodeBody reads a body that has to be there.
func decodeBody(body []byte, read func(*object)) error {
	tree, err := parse(body)
	if err != nil {
		return err
	}
	d := &decoding{version: V20261101}
	o := newObject(d, "", tree)
	if d.err != nil {
		return d.err
	}
	read(o)
	o.end()
	return d.err
}
