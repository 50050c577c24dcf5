package arm

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"patchbay.dev/patchbay"
)

// members is a JSON object that keeps its order and leaves out what its
// version does not know. In an answer, optional members without a value are
// explicit null, as the live service has them (contract section 11, 19), and no
// secret is there. A request has its secrets, and leaves out what was not said:
// in a PATCH that stays as it is.
type members struct {
	version Version
	request bool
	list    []member
}

type member struct {
	name  string
	value any
}

func (m *members) add(since Version, name string, value any) {
	if m.version < since || m.request && saysNothing(value) {
		return
	}
	m.list = append(m.list, member{name, value})
}

func saysNothing(value any) bool {
	m, ok := value.(*members)
	return value == nil || ok && len(m.list) == 0
}

// secret adds what only a request has.
func (m *members) secret(since Version, name string, s patchbay.Secret) {
	if m.request && !s.IsZero() {
		m.add(since, name, disclosed{s})
	}
}

// orNull is null for an object in which nothing is said: all that a newer version
// has of it, an older one has no words for.
func (m *members) orNull() any {
	if !slices.ContainsFunc(m.list, func(f member) bool { return f.value != nil }) {
		return nil
	}
	return m
}

// object is an empty one for the same reader.
func (m *members) object() *members { return &members{version: m.version, request: m.request} }

// disclosed is a secret on its way to the server: its JSON alone shows it.
type disclosed struct{ patchbay.Secret }

// MarshalJSON implements [json.Marshaler].
func (d disclosed) MarshalJSON() ([]byte, error) { return Marshal(d.Reveal()) }

// MarshalJSON implements [json.Marshaler].
func (m *members) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range m.list {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := Marshal(f.name)
		if err != nil {
			return nil, err
		}
		value, err := Marshal(f.value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// Marshal is v as JSON, with <, > and & as they are: answers hold connection
// strings, and people read them.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func orNullList(s []string) any {
	if len(s) == 0 {
		return nil
	}
	return s
}

func orNullMap(m map[string]string) any {
	if len(m) == 0 {
		return nil
	}
	return m
}

func orNullBool(b *bool) any {
	if b == nil {
		return nil
	}
	return *b
}

// orNullTime is t as ARM writes it: UTC with seven digits.
func orNullTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format("2006-01-02T15:04:05.0000000Z")
}

// Linker is the answer to a GET, PUT or PATCH of a linker or connector: what
// version v knows of c, without any secret.
func Linker(v Version, c patchbay.Connection) any {
	typ := LinkerType
	if c.ID.IsLocal() {
		typ = ConnectorType
	}
	m := &members{version: v}
	m.add(V20220501, "id", string(c.ID))
	m.add(V20220501, "name", c.Name)
	m.add(V20220501, "type", typ)
	m.add(V20220501, "systemData", systemData(made{c.CreatedBy, c.CreatedByType, c.Created}, made{c.ModifiedBy, c.ModifiedByType, c.Modified}))
	m.add(V20220501, "properties", linkerProperties(v, c))
	return m
}

// made is who made or changed something, and when.
type made struct {
	by, typ string
	at      time.Time
}

// kind is the maker's, in the words of systemData; of records from before they
// kept one it was a person's.
func (m made) kind() string {
	if m.typ == "" {
		return "User"
	}
	return m.typ
}

func systemData(created, modified made) any {
	m := &members{}
	m.add("", "createdBy", orNull(created.by))
	m.add("", "createdByType", created.kind())
	m.add("", "createdAt", orNullTime(created.at))
	m.add("", "lastModifiedBy", orNull(modified.by))
	m.add("", "lastModifiedByType", modified.kind())
	m.add("", "lastModifiedAt", orNullTime(modified.at))
	return m
}

func linkerProperties(v Version, c patchbay.Connection) any {
	m := &members{version: v}
	m.add(V20220501, "provisioningState", orNull(string(c.State)))
	m.spec(c.Spec)
	m.add(V20261101, "patchbay", own(c))
	return m
}

// LinkerRequest is the body of a PUT or PATCH of a linker or connector, and of a
// preview, for [V20261101], secrets included. What the spec leaves at its zero
// value is not in it, so that a PATCH changes what is named and nothing else; it
// can't take anything away. [DecodePut] reads the same spec from it.
func LinkerRequest(s patchbay.Spec) any {
	p := &members{version: V20261101, request: true}
	p.spec(s)
	own := p.object()
	own.ownSpec(s)
	p.add(V20261101, "patchbay", own)
	return &members{list: []member{{"properties", p}}}
}

// spec adds what was asked for, in the words that Azure has.
func (m *members) spec(s patchbay.Spec) {
	m.add(V20220501, "targetService", target(m, s.Target))
	m.add(V20220501, "authInfo", auth(m, s.Auth))
	m.add(V20220501, "clientType", orNull(string(s.Client)))
	m.add(V20220501, "vNetSolution", vnet(m, s.VNet))
	m.add(V20220501, "secretStore", secretStore(m, s.SecretStore))
	m.add(V20220501, "scope", orNull(s.Scope))
	m.add(V20221101Preview, "publicNetworkSolution", publicNetwork(m, s.PublicNetwork))
	m.add(V20221101Preview, "configurationInfo", configuration(m, s.Configuration))
}

// ownSpec adds what was asked for in Patchbay's own words.
func (m *members) ownSpec(s patchbay.Spec) {
	m.add("", "access", orNull(string(s.Access)))
	m.add("", "naming", orNull(string(s.Naming)))
	m.add("", "options", orNullMap(s.Options))
	if len(s.Settings) > 0 {
		m.add("", "settings", s.Settings)
	}
	if s.TakeOver {
		m.add("", "takeOver", true)
	}
	if s.Drift != "" {
		m.add("", "drift", string(s.Drift))
	}
}

// Dryrun is the answer to a GET, PUT or PATCH of a dryrun.
func Dryrun(v Version, d patchbay.Dryrun) any {
	p := &members{version: v}
	p.add(V20221101Preview, "actionName", createOrUpdate)
	p.spec(d.Spec)
	if s := d.Spec; s.Access != "" || s.Naming != "" || len(s.Options) > 0 || len(s.Settings) > 0 || s.TakeOver || s.Drift != "" {
		o := &members{}
		o.ownSpec(s)
		p.add(V20261101, "patchbay", o)
	}
	properties := &members{version: v}
	properties.add(V20221101Preview, "parameters", p)
	properties.add(V20221101Preview, "prerequisiteResults", prerequisites(d))
	properties.add(V20221101Preview, "operationPreviews", previews(d.Steps))
	properties.add(V20221101Preview, "provisioningState", string(d.State))

	typ := DryrunType
	if of, _, ok := d.ID.DryrunSource(); ok && strings.EqualFold(of.Type(), Provider+"/locations") {
		typ = LocalDryrunType
	}
	m := &members{version: v}
	m.add(V20221101Preview, "id", string(d.ID))
	m.add(V20221101Preview, "name", d.ID.Name())
	m.add(V20221101Preview, "type", typ)
	m.add(V20221101Preview, "systemData", systemData(made{d.CreatedBy, d.CreatedByType, d.Created}, made{d.ModifiedBy, d.ModifiedByType, d.Modified}))
	m.add(V20221101Preview, "properties", properties)
	return m
}

// prerequisites are what stands in the way: missing rights first, because
// nothing else counts without them.
func prerequisites(d patchbay.Dryrun) []any {
	items := []any{}
	for _, r := range d.Missing {
		m := &members{}
		m.add("", "type", "permissionsMissing")
		m.add("", "scope", string(r.Scope))
		m.add("", "permissions", orEmptyList(r.Actions))
		m.add("", "recommendedRole", orNull(r.Role))
		items = append(items, m)
	}
	for i := range d.Problems {
		e := detail(&d.Problems[i])
		m := &members{}
		m.add("", "type", "basicError")
		m.add("", "code", e.Code)
		m.add("", "message", e.Message)
		items = append(items, m)
	}
	return items
}

func previews(steps []patchbay.DryrunPreview) []any {
	items := make([]any, len(steps))
	for i, s := range steps {
		m := &members{}
		m.add("", "name", s.Name)
		m.add("", "operationType", s.Kind)
		m.add("", "description", s.Description)
		m.add("", "action", s.Action)
		m.add("", "scope", string(s.Scope))
		items[i] = m
	}
	return items
}

func target(of *members, t patchbay.TargetService) any {
	m := of.object()
	m.add(V20220501, "type", orNull(string(t.Type)))
	if t.Type != patchbay.AzureResource {
		m.add(V20220501, "endpoint", orNull(t.Endpoint))
		return m
	}
	m.add(V20220501, "id", orNull(string(t.ID)))
	var properties any
	if r := t.Resource; r != nil {
		p := of.object()
		p.add(V20220501, "type", r.Type)
		if r.Type == keyVault {
			p.add(V20220501, "connectAsKubernetesCsiDriver", orNullBool(r.ConnectAsKubernetesCSIDriver))
		} else {
			p.add(V20240701Preview, "connectWithKubernetesExtension", orNullBool(r.ConnectWithKubernetesExtension))
		}
		properties = p
	}
	m.add(V20220501, "resourceProperties", properties)
	return m
}

func auth(of *members, a *patchbay.Auth) any {
	if a == nil {
		return nil
	}
	m := of.object()
	m.add(V20220501, "authType", string(a.Type))
	for _, f := range authFields[a.Type] {
		f.write(m, a)
	}
	m.add(V20230401Preview, "authMode", orNull(a.Mode))
	return m
}

// writeSecretInfo answers where the secret is, never what it is. Where nothing
// was said of it, because Patchbay makes or fetches it, there is nothing to
// answer: the live service has rawValue without a value then, and its clients
// take both.
func writeSecretInfo(of *members, a *patchbay.Auth) {
	s := a.SecretInfo
	if s == nil {
		of.add(V20220501, "secretInfo", nil)
		return
	}
	m := of.object()
	switch s.Type {
	case patchbay.RawValue, "":
		m.add(V20220501, "secretType", patchbay.RawValue)
		m.secret(V20220501, "value", s.Value)
	case patchbay.KeyVaultSecretURI:
		m.add(V20220501, "secretType", s.Type)
		m.add(V20220501, "value", orNull(s.URI))
	default:
		m.add(V20220501, "secretType", s.Type)
		m.add(V20220501, "name", orNull(s.Name))
		m.add(V20220501, "version", orNull(s.Version))
	}
	of.add(V20220501, "secretInfo", m)
}

func vnet(of *members, n *patchbay.VNetSolution) any {
	if n == nil {
		return nil
	}
	m := of.object()
	m.add(V20220501, "type", orNull(n.Type))
	m.add(V20221101Preview, "deleteOrUpdateBehavior", orNull(n.OnChange))
	return m.orNull()
}

// secretStore is null when nothing was said, also where the live service answers
// an object full of nulls to the {} that az always sends: azurerm takes such an
// object for a secret store, wants to remove it with every plan, and crashes when
// it does.
func secretStore(of *members, s *patchbay.SecretStore) any {
	if s == nil {
		return nil
	}
	m := of.object()
	m.add(V20220501, "keyVaultId", orNull(s.KeyVaultID))
	m.add(V20221101Preview, "keyVaultSecretName", orNull(s.KeyVaultSecretName))
	return m.orNull()
}

func publicNetwork(of *members, n *patchbay.PublicNetworkSolution) any {
	if n == nil {
		return nil
	}
	m := of.object()
	m.add(V20221101Preview, "action", orNull(n.Action))
	m.add(V20221101Preview, "deleteOrUpdateBehavior", orNull(n.OnChange))
	var rules any
	if f := n.FirewallRules; f != nil {
		r := of.object()
		r.add(V20221101Preview, "ipRanges", orNullList(f.IPRanges))
		r.add(V20221101Preview, "azureServices", orNull(f.AzureServices))
		r.add(V20221101Preview, "callerClientIP", orNull(f.CallerClientIP))
		rules = r.orNull()
	}
	m.add(V20221101Preview, "firewallRules", rules)
	return m.orNull()
}

func configuration(of *members, c *patchbay.ConfigurationInfo) any {
	if c == nil {
		return nil
	}
	m := of.object()
	m.add(V20221101Preview, "action", orNull(c.Action))
	m.add(V20221101Preview, "deleteOrUpdateBehavior", orNull(c.OnChange))
	m.add(V20221101Preview, "customizedKeys", orNullMap(c.CustomizedKeys))
	m.add(V20221101Preview, "additionalConfigurations", orNullMap(c.Additional))
	m.add(V20230401Preview, "additionalConnectionStringProperties", orNullMap(c.ConnectionString))
	var store any
	if c.AppConfiguration != "" {
		s := of.object()
		s.add(V20230401Preview, "appConfigurationId", c.AppConfiguration)
		store = s
	}
	m.add(V20230401Preview, "configurationStore", store)
	m.add(V20221101Preview, "daprProperties", dapr(of, c.Dapr))
	return m.orNull()
}

func dapr(of *members, p *patchbay.DaprProperties) any {
	if p == nil {
		return nil
	}
	m := of.object()
	m.add(V20221101Preview, "version", orNull(p.Version))
	m.add(V20221101Preview, "componentType", orNull(p.ComponentType))
	m.add(V20221101Preview, "secretStoreComponent", orNull(p.SecretStoreComponent))
	var list any
	if len(p.Metadata) > 0 {
		items := make([]any, len(p.Metadata))
		for i, x := range p.Metadata {
			d := of.object()
			d.add(V20221101Preview, "name", orNull(x.Name))
			d.add(V20221101Preview, "value", orNull(x.Value))
			d.add(V20221101Preview, "secretRef", orNull(x.SecretRef))
			d.add(V20230401Preview, "description", orNull(x.Description))
			d.add(V20230401Preview, "required", orNull(x.Required))
			items[i] = d
		}
		list = items
	}
	m.add(V20221101Preview, "metadata", list)
	m.add(V20221101Preview, "scopes", orNullList(p.Scopes))
	m.add(V20230401Preview, "runtimeVersion", nil)
	m.add(V20230401Preview, "bindingComponentDirection", nil)
	return m.orNull()
}

func own(c patchbay.Connection) any {
	m := &members{version: V20261101}
	m.ownSpec(c.Spec)
	m.add("", "generation", c.Generation)
	m.add("", "principal", orNull(c.Login))
	m.add("", "operation", orNull(c.Operation))
	keys := c.Keys
	if keys == nil {
		keys = []string{}
	}
	m.add("", "keys", keys)
	m.add("", "message", orNull(c.Message))
	if c.Health != nil {
		shown := *c.Health
		shown.Seen = nil // a name server's answers are nobody's
		m.add("", "health", &shown)
	}
	return m
}

// List is a page of a list; nextLink is absent at the end, because some
// clients follow an empty one.
func List(items []any, nextLink string) any {
	if items == nil {
		items = []any{}
	}
	m := &members{}
	m.add("", "value", items)
	if nextLink != "" {
		m.add("", "nextLink", nextLink)
	}
	return m
}

// Configurations is the answer of listConfigurations and
// generateConfigurations: the one answer that holds secrets.
func Configurations(v Version, settings []patchbay.Setting) any {
	items := make([]any, len(settings))
	for i, s := range settings {
		m := &members{version: v}
		m.add(V20220501, "name", s.Name)
		m.add(V20220501, "value", s.Value.Reveal())
		typ := s.ConfigType
		if typ == "" {
			typ = "Default"
		}
		m.add(V20230401Preview, "configType", typ)
		m.add(V20230401Preview, "keyVaultReferenceIdentity", orNull(s.Identity))
		m.add(V20230401Preview, "description", orNull(s.Description))
		m.add(V20261101, "secret", s.Secret)
		m.add(V20261101, "file", s.File)
		items[i] = m
	}
	m := &members{}
	m.add("", "configurations", items)
	return m
}
