package arm

import (
	"encoding/json"

	"patchbay.dev/patchbay"
)

// Members of a resource's properties that are not its driver's own.
const (
	propDriver   = "driver"
	propEndpoint = "endpoint"
	propAdmin    = "admin"
	propState    = "provisioningState"
	propWarnings = "warnings"
)

// DecodeResource reads the body of a PUT of a resource. admin is nil when the
// body has none: the stored one is kept. What properties holds besides driver,
// endpoint and admin is the driver's own and checked by it.
func DecodeResource(id patchbay.ID, body []byte) (r patchbay.Resource, admin map[string]patchbay.Secret, err error) {
	tree, err := parse(body)
	if err != nil {
		return r, nil, err
	}
	d := &decoding{version: V20261101}
	o := newObject(d, "", tree)
	if d.err != nil {
		return r, nil, d.err
	}
	r.ID = id
	o.ignore("id", "name", "type", "systemData", "etag")
	o.str("", "location", &r.Location)
	o.str("", "kind", &r.Kind)
	o.stringMap("", "tags", &r.Tags)
	o.child("", "properties", func(p *object) {
		p.ignore(propState, propWarnings)
		p.str("", propDriver, &r.Driver)
		p.str("", propEndpoint, &r.Endpoint)
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
			if _, known := p.known[name]; !known {
				own[name] = value
				p.known[name] = ""
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
	o.end()
	return r, admin, d.err
}

// Resource is the answer to a GET or PUT of a resource, without its admin
// credential. warnings are what a PUT found and did not refuse.
func Resource(r patchbay.Resource, warnings []string) any {
	p := &members{}
	p.add("", propState, orNull(string(r.State)))
	p.add("", propDriver, r.Driver)
	p.add("", propEndpoint, orNull(r.Endpoint))
	if len(warnings) > 0 {
		p.add("", propWarnings, warnings)
	}
	var own map[string]json.RawMessage
	if len(r.Properties) > 0 && json.Unmarshal(r.Properties, &own) == nil {
		for _, name := range sortedKeys(own) {
			switch name {
			case propDriver, propEndpoint, propAdmin, propState, propWarnings:
			default:
				p.add("", name, own[name])
			}
		}
	}
	m := &members{}
	m.add("", "id", string(r.ID))
	m.add("", "name", r.ID.Name())
	m.add("", "type", r.ID.Type())
	m.add("", "location", orNull(r.Location))
	m.add("", "kind", orNull(r.Kind))
	m.add("", "tags", orEmptyMap(r.Tags))
	m.add("", "systemData", systemData(r.Created, r.CreatedBy, r.Modified, r.ModifiedBy))
	m.add("", "properties", p)
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
	tree, err := parse(body)
	if err != nil {
		return g, err
	}
	d := &decoding{version: V20261101}
	o := newObject(d, "", tree)
	if d.err != nil {
		return g, d.err
	}
	o.ignore("id", "name", "type", "properties", "managedBy")
	o.str("", "location", &g.Location)
	o.stringMap("", "tags", &g.Tags)
	if g.Location == "" {
		o.fail(invalid("location is required"))
	}
	o.end()
	return g, d.err
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

// Rotate is the body of a rotation.
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

// DecodeValidate reads the optional body of a validation and says whether to
// fix what is safe.
func DecodeValidate(body []byte) (fix bool, err error) {
	err = decodeOptional(body, func(o *object) { fix = o.isTrue("fix") })
	return fix, err
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
