package arm

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

// Members of a resource's properties that are not its driver's own.
const (
	propDriver   = "driver"
	propEndpoint = "endpoint"
	propAdmin    = "admin"
	propGuards   = "guards"
	propPublic   = "publicNetworkAccess"
	propState    = "provisioningState"
	propWarnings = "warnings"

	propLocalAuth = "disableLocalAuth"
)

var knownProperties = []string{propDriver, propEndpoint, propAdmin, propGuards, propPublic, propState, propWarnings}

// appConfigStore is the type of resource of which az asks whether it takes keys.
const appConfigStore = "Microsoft.AppConfiguration/configurationStores"

// DecodeResource reads the body of a PUT of a resource. admin is nil when the
// body has none: the stored one is kept. What properties holds besides driver,
// endpoint and admin is the driver's own and checked by it.
func DecodeResource(id patchbay.ID, body []byte) (r patchbay.Resource, admin map[string]patchbay.Secret, err error) {
	r.ID = id
	admin, err = decodeResource(body, &r)
	return r, admin, err
}

// DecodeResourcePatch reads the body of a PATCH of a resource and gives what
// merges it into one: null and absent leave a member as it is; tags and the
// members of properties are replaced one by one, and a tag or a driver's
// property that is null is taken away.
func DecodeResourcePatch(body []byte) (merge func(*patchbay.Resource) error, admin map[string]patchbay.Secret, err error) {
	var scratch patchbay.Resource
	if admin, err = decodeResource(body, &scratch); err != nil {
		return nil, nil, err
	}
	return func(r *patchbay.Resource) error {
		tags, own := r.Tags, r.Properties
		if _, err := decodeResource(body, r); err != nil {
			return err
		}
		tree, err := parse(body)
		if err != nil {
			return err
		}
		m, _ := tree.(map[string]any)
		given, _ := m["tags"].(map[string]any)
		r.Tags = mergedTags(tags, given)
		properties, _ := m["properties"].(map[string]any)
		r.Properties, err = mergedProperties(r.ID, own, properties)
		return err
	}, admin, nil
}

func mergedTags(old map[string]string, given map[string]any) map[string]string {
	if len(given) == 0 {
		return old
	}
	tags := map[string]string{}
	for name, value := range old {
		tags[name] = value
	}
	for name, value := range given {
		for had := range tags {
			if is(had, name) { // a tag's name is the same in any case
				delete(tags, had)
			}
		}
		if s, ok := value.(string); ok {
			tags[name] = s
		}
	}
	return tags
}

func mergedProperties(id patchbay.ID, old json.RawMessage, given map[string]any) (json.RawMessage, error) {
	own := map[string]any{}
	if len(old) > 0 {
		d := json.NewDecoder(bytes.NewReader(old))
		d.UseNumber()
		if err := d.Decode(&own); err != nil {
			return nil, patchbay.Errorf(patchbay.Internal, "read the stored properties: %w", err)
		}
	}
	for name, value := range given {
		switch {
		case slices.Contains(knownProperties, name), impliedProperty(id, name, value):
		case value == nil:
			delete(own, name)
		default:
			own[name] = value
		}
	}
	if len(own) == 0 {
		return nil, nil
	}
	return json.Marshal(own)
}

// impliedProperty reports whether a property is one that answers add, and that
// a client sends back as it came.
func impliedProperty(id patchbay.ID, name string, value any) bool {
	return name == propLocalAuth && value == false && is(id.Type(), appConfigStore)
}

func decodeResource(body []byte, r *patchbay.Resource) (admin map[string]patchbay.Secret, err error) {
	err = decodeBody(body, func(o *object) { admin = readResource(o, r) })
	return admin, err
}

func readResource(o *object, r *patchbay.Resource) (admin map[string]patchbay.Secret) {
	o.ignore("id", "name", "type", "systemData", "etag", "createdTime", "changedTime", "provisioningState")
	// ARM's generic resource has them, and clients send them back as they came.
	for _, name := range []string{"plan", "sku", "managedBy", "identity", "extendedLocation", "zones"} {
		if o.value("", name) != nil {
			o.fail(invalid("%s is not kept of a resource", name))
		}
	}
	o.str("", "location", &r.Location)
	o.str("", "kind", &r.Kind)
	o.stringMap("", "tags", &r.Tags)
	o.child("", "properties", func(p *object) {
		p.ignore(propState, propWarnings)
		p.str("", propDriver, &r.Driver)
		p.str("", propEndpoint, &r.Endpoint)
		readGuards(p, r)
		p.str("", propPublic, (*string)(&r.PublicAccess))
		var secrets map[string]string
		p.stringMap("", propAdmin, &secrets)
		for name, value := range secrets {
			if admin == nil {
				admin = map[string]patchbay.Secret{}
			}
			admin[name] = patchbay.NewSecret(value)
		}
		own := map[string]any{}
		for name, value := range p.m {
			if _, known := p.known[name]; known {
				continue
			}
			p.known[name] = ""
			if !impliedProperty(r.ID, name, value) {
				own[name] = value
			}
		}
		if len(own) == 0 {
			return
		}
		raw, err := json.Marshal(own)
		if err != nil {
			p.fail(invalid("properties can't be kept: %w", err))
			return
		}
		r.Properties = raw
	})
	return admin
}

// readGuards reads the ids of guards. Absent, a resource keeps those that it has; an
// empty list takes them away.
func readGuards(p *object, r *patchbay.Resource) {
	if p.value("", propGuards) == nil {
		return
	}
	var texts []string
	p.strings("", propGuards, &texts)
	r.Guards = []patchbay.ID{}
	for _, text := range texts {
		id, err := patchbay.ParseID(text)
		if err != nil {
			p.fail(invalid("%s names no resource by its id: %q", propGuards, text))
			return
		}
		r.Guards = append(r.Guards, id)
	}
}

// Resource is the answer to a GET or PUT of a resource, without its admin
// credential. warnings are what a PUT found and did not refuse.
func Resource(r patchbay.Resource, warnings []string) any {
	p := &members{}
	p.add("", propState, orNull(string(r.State)))
	p.add("", propDriver, r.Driver)
	p.add("", propEndpoint, orNull(r.Endpoint))
	if len(r.Guards) > 0 {
		p.add("", propGuards, r.Guards)
	}
	if r.PublicAccess != "" {
		p.add("", propPublic, r.PublicAccess)
	}
	if len(warnings) > 0 {
		p.add("", propWarnings, warnings)
	}
	var own map[string]json.RawMessage
	if len(r.Properties) > 0 && json.Unmarshal(r.Properties, &own) == nil {
		for _, name := range sortedKeys(own) {
			if !slices.Contains(knownProperties, name) {
				p.add("", name, own[name])
			}
		}
	}
	if _, said := own[propLocalAuth]; !said && is(r.ID.Type(), appConfigStore) {
		p.add("", propLocalAuth, false)
	}
	m := &members{}
	m.add("", "id", string(r.ID))
	m.add("", "name", r.ID.Name())
	m.add("", "type", r.ID.Type())
	m.add("", "location", orNull(r.Location))
	m.add("", "kind", orNull(r.Kind))
	m.add("", "tags", orEmptyMap(r.Tags))
	m.add("", "systemData", systemData(made{r.CreatedBy, r.CreatedByType, r.Created}, made{r.ModifiedBy, r.ModifiedByType, r.Modified}))
	m.add("", "properties", p)
	return m
}

// ResourceItem is a resource in one of ARM's lists: without its properties,
// which az can't show in a table, and with what the query parameter $expand
// names of provisioningState, createdTime and changedTime.
func ResourceItem(r patchbay.Resource, expand string) any {
	m := &members{}
	m.add("", "id", string(r.ID))
	m.add("", "name", r.ID.Name())
	m.add("", "type", r.ID.Type())
	m.add("", "location", orNull(r.Location))
	m.add("", "kind", orNull(r.Kind))
	m.add("", "tags", orEmptyMap(r.Tags))
	for name := range strings.SplitSeq(expand, ",") {
		switch name = strings.TrimSpace(name); {
		case is(name, propState):
			m.add("", propState, string(r.State))
		case is(name, "createdTime"):
			m.add("", "createdTime", orNullTime(r.Created))
		case is(name, "changedTime"):
			m.add("", "changedTime", orNullTime(r.Modified))
		}
	}
	return m
}

func orEmptyMap(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// DecodeResourceGroup reads the body of a PUT of a resource group.
func DecodeResourceGroup(id patchbay.ID, body []byte) (patchbay.ResourceGroup, error) {
	g := patchbay.ResourceGroup{ID: id}
	err := decodeBody(body, func(o *object) {
		readResourceGroup(o, &g)
		if g.Location == "" {
			o.fail(invalid("location is required"))
		}
	})
	return g, err
}

// DecodeResourceGroupPatch reads the body of a PATCH of a resource group into
// it: tags are replaced whole, as ARM does. A group stays where it is.
func DecodeResourceGroupPatch(g *patchbay.ResourceGroup, body []byte) error {
	return decodeBody(body, func(o *object) {
		want := *g
		readResourceGroup(o, &want)
		if !is(want.Location, g.Location) {
			o.fail(invalid("location can't be changed"))
		}
		g.Tags = want.Tags
	})
}

func readResourceGroup(o *object, g *patchbay.ResourceGroup) {
	o.ignore("id", "name", "type", "properties", "managedBy")
	o.str("", "location", &g.Location)
	o.stringMap("", "tags", &g.Tags)
}

// ResourceGroup is the answer to a GET of a resource group.
func ResourceGroup(g patchbay.ResourceGroup) any {
	p := &members{}
	p.add("", propState, string(patchbay.Succeeded))
	m := &members{}
	m.add("", "id", string(g.ID))
	m.add("", "name", g.ID.ResourceGroup())
	m.add("", "type", "Microsoft.Resources/resourceGroups")
	m.add("", "location", orNull(g.Location))
	m.add("", "tags", orEmptyMap(g.Tags))
	m.add("", "properties", p)
	return m
}

// Subscription is one subscription as az's sign-in reads it.
func Subscription(s patchbay.Subscription) any {
	m := &members{}
	m.add("", "id", "/subscriptions/"+s.ID)
	m.add("", "subscriptionId", s.ID)
	m.add("", "tenantId", s.TenantID)
	m.add("", "displayName", s.DisplayName)
	m.add("", "state", "Enabled")
	m.add("", "authorizationSource", "RoleBased")
	m.add("", "managedByTenants", []any{})
	policies := &members{}
	policies.add("", "locationPlacementId", "Public_2014-09-01")
	policies.add("", "quotaId", "PayAsYouGo_2014-09-01")
	policies.add("", "spendingLimit", "Off")
	m.add("", "subscriptionPolicies", policies)
	return m
}

// Discover is the body of a search: a source's driver and what it is told of where to
// look, as a registration's properties say it; and of what is found, the one whose
// credential is taken.
type Discover struct {
	Where    patchbay.Resource
	Admin    map[string]patchbay.Secret
	Name, As string
}

// DecodeDiscover reads the body of a search; of one that takes, too.
func DecodeDiscover(body []byte, takes bool) (d Discover, err error) {
	err = decodeBody(body, func(o *object) {
		if takes {
			o.str("", "name", &d.Name)
			o.str("", "as", &d.As)
			if d.Name == "" {
				o.fail(invalid("name is missing: whose credential is taken"))
			}
		}
		d.Admin = readResource(o, &d.Where)
		if d.Where.Driver == "" {
			o.fail(invalid("properties.driver is missing: who looks"))
		}
	})
	return d, err
}

// Rotate is the body of a rotation: the new login of a connection whose login
// was given, and whether the old one ends at once.
type Rotate struct {
	Name      string
	Secret    patchbay.Secret
	RevokeNow bool
}

// DecodeRotate reads the optional body of a rotation.
func DecodeRotate(body []byte) (Rotate, error) {
	var r Rotate
	err := decodeOptional(body, func(o *object) {
		o.str("", "name", &r.Name)
		o.secret("", "secret", &r.Secret)
		r.RevokeNow = o.isTrue("revokeNow")
	})
	return r, err
}

// RotateRequest is the body that [DecodeRotate] reads.
func RotateRequest(r Rotate) any {
	m := &members{request: true}
	m.add("", "name", orNull(r.Name))
	m.secret("", "secret", r.Secret)
	if r.RevokeNow {
		m.add("", "revokeNow", true)
	}
	return m
}

// Validate is what a validation is asked for.
type Validate struct {
	Fix  bool
	From patchbay.Vantage
}

// DecodeValidate reads the optional body of a validation.
func DecodeValidate(body []byte) (Validate, error) {
	var v Validate
	err := decodeOptional(body, func(o *object) {
		v.Fix = o.isTrue("fix")
		o.str("", "from", (*string)(&v.From))
	})
	return v, err
}

// ValidateRequest is the body that [DecodeValidate] reads.
func ValidateRequest(v Validate) any {
	m := &members{}
	m.add("", "fix", v.Fix)
	if v.From != patchbay.FromSource {
		m.add("", "from", v.From)
	}
	return m
}

func (o *object) isTrue(name string) bool {
	var b *bool
	o.flag("", name, &b)
	return b != nil && *b
}

func decodeOptional(body []byte, read func(*object)) error {
	if len(body) == 0 {
		return nil
	}
	tree, err := parse(body)
	if err != nil || tree == nil {
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
