package arm

import (
	"fmt"

	"patchbay.dev/patchbay"
)

// Enumerations. Discriminators and switches are taken in any case and kept as
// documented, because Go's SDK compares them exactly. clientType alone is open:
// az sends values that no document has (dotnet-connectionString).
var (
	targetTypes = []choice{
		{string(patchbay.AzureResource), V20220501},
		{string(patchbay.ConfluentBootstrapServer), V20220501},
		{string(patchbay.ConfluentSchemaRegistry), V20220501},
		{string(patchbay.SelfHostedServer), V20221101Preview},
		{string(patchbay.FabricPlatform), V20240701Preview},
	}
	resourceTypes = []choice{{keyVault, V20220501}, {appConfig, V20240701Preview}}
	authTypes     = []choice{
		{string(patchbay.AuthSecret), V20220501},
		{string(patchbay.AuthSystemIdentity), V20220501},
		{string(patchbay.AuthUserIdentity), V20220501},
		{string(patchbay.AuthSPSecret), V20220501},
		{string(patchbay.AuthSPCertificate), V20220501},
		{string(patchbay.AuthAccessKey), V20221101Preview},
		{string(patchbay.AuthUserAccount), V20221101Preview},
		{string(patchbay.AuthEasyAuth), V20230401Preview},
	}
	secretTypes = since(V20220501, patchbay.RawValue, patchbay.KeyVaultSecretURI, patchbay.KeyVaultSecretReference)
	vnetTypes   = since(V20220501, "serviceEndpoint", "privateLink")
	actions     = since(V20220501, "enable", patchbay.OptOut)
	behaviors   = since(V20220501, "Default", "ForcedCleanup")
	authModes   = since(V20220501, "optInAllAuth", patchbay.OptOutAllAuth)
	words       = since(V20220501, "true", "false") // booleans that the wire has as strings
	permissions = since(V20220501, "Read", "Write", "Listen", "Send", "Manage")
	drifts      = since(V20261101, string(patchbay.DriftReport), string(patchbay.DriftRepair))
	accesses    = since(V20261101, string(patchbay.Reader), string(patchbay.Writer), string(patchbay.Owner))
	namings     = since(V20261101, string(patchbay.NamingAzure), string(patchbay.NamingNative), string(patchbay.NamingServiceBinding), string(patchbay.NamingOwn))
)

const (
	keyVault  = "KeyVault"
	appConfig = "AppConfig"
)

// DecodePut reads the body of a PUT of a linker, as version v has it. Null,
// absent and {} are the same for every optional member. A property that v does
// not know, or one of the wrong type, is InvalidRequestContent.
func DecodePut(v Version, body []byte) (patchbay.Spec, error) {
	var s patchbay.Spec
	if err := decodeLinker(v, body, &s); err != nil {
		return patchbay.Spec{}, err
	}
	if s.Target.Type == "" {
		return patchbay.Spec{}, invalid("properties.targetService is required")
	}
	return s, nil
}

// DecodePatch reads the body of a PATCH of a linker and gives what merges it
// into a spec: null and absent leave a member as it is, targetService and
// authInfo are replaced whole, and the members of the others one by one.
func DecodePatch(v Version, body []byte) (func(*patchbay.Spec) error, error) {
	var scratch patchbay.Spec
	if err := decodeLinker(v, body, &scratch); err != nil {
		return nil, err
	}
	return func(s *patchbay.Spec) error { return decodeLinker(v, body, s) }, nil
}

// DecodeConfigurationInfo reads the optional body of generateConfigurations;
// nil when there is none.
func DecodeConfigurationInfo(v Version, body []byte) (*patchbay.ConfigurationInfo, error) {
	if len(body) == 0 {
		return nil, nil
	}
	tree, err := parse(body)
	if err != nil || tree == nil {
		return nil, err
	}
	d := &decoding{version: v}
	o := newObject(d, "", tree)
	if d.err != nil {
		return nil, d.err
	}
	var c *patchbay.ConfigurationInfo
	readConfiguration(o, &c)
	o.end()
	return c, d.err
}

// DecodeDryrun reads the body of a PUT of a dryrun: the linker's members flat
// under properties.parameters, beside the name of the action.
func DecodeDryrun(v Version, body []byte) (patchbay.Spec, error) {
	var s patchbay.Spec
	if err := decodeDryrun(v, body, &s); err != nil {
		return patchbay.Spec{}, err
	}
	if s.Target.Type == "" {
		return patchbay.Spec{}, invalid("properties.parameters.targetService is required")
	}
	return s, nil
}

// DecodeDryrunPatch reads the body of a PATCH of a dryrun, as [DecodePatch]
// does.
func DecodeDryrunPatch(v Version, body []byte) (func(*patchbay.Spec) error, error) {
	var scratch patchbay.Spec
	if err := decodeDryrun(v, body, &scratch); err != nil {
		return nil, err
	}
	return func(s *patchbay.Spec) error { return decodeDryrun(v, body, s) }, nil
}

// createOrUpdate is the one action that there are dryruns of.
const createOrUpdate = "createOrUpdate"

func decodeDryrun(v Version, body []byte, s *patchbay.Spec) error {
	return decodeProxy(v, body, func(o *object) {
		o.ignore("prerequisiteResults", "operationPreviews", "provisioningState")
		o.child(V20221101Preview, "parameters", func(o *object) {
			var action string
			if !o.oneOf(V20221101Preview, "actionName", &action, since(V20221101Preview, createOrUpdate)) {
				o.fail(invalid("%s is required", join(o.path, "actionName")))
			}
			readSpec(o, s)
		})
	})
}

// decodeLinker writes what the body says into s and leaves the rest of s. It
// copies what it changes behind a pointer.
func decodeLinker(v Version, body []byte, s *patchbay.Spec) error {
	return decodeProxy(v, body, func(o *object) { readSpec(o, s) })
}

// decodeProxy reads the body of a resource that is nothing but its properties.
func decodeProxy(v Version, body []byte, read func(*object)) error {
	tree, err := parse(body)
	if err != nil {
		return err
	}
	d := &decoding{version: v}
	top := newObject(d, "", tree)
	if d.err != nil {
		return d.err
	}
	// Clients send back what they read; the path says which resource it is.
	top.ignore("id", "name", "type", "systemData")
	if v := top.value(V20220501, "properties"); v == nil {
		top.fail(invalid("properties is required"))
	} else if o := newObject(d, "properties", v); d.err == nil {
		read(o)
		o.end()
	}
	top.end()
	return d.err
}

func readSpec(o *object, s *patchbay.Spec) {
	o.ignore("provisioningState")
	o.child(V20220501, "targetService", func(o *object) { s.Target = readTarget(o) })
	o.child(V20220501, "authInfo", func(o *object) { s.Auth = readAuth(o) })
	var client string
	if o.str(V20220501, "clientType", &client) {
		s.Client = patchbay.ClientType(client)
	}
	o.child(V20220501, "vNetSolution", func(o *object) {
		n := clone(s.VNet)
		o.oneOf(V20220501, "type", &n.Type, vnetTypes)
		o.oneOf(V20221101Preview, "deleteOrUpdateBehavior", &n.OnChange, behaviors)
		s.VNet = orNil(n)
	})
	o.child(V20220501, "secretStore", func(o *object) {
		n := clone(s.SecretStore)
		o.id(V20220501, "keyVaultId", &n.KeyVaultID)
		o.str(V20221101Preview, "keyVaultSecretName", &n.KeyVaultSecretName)
		s.SecretStore = orNil(n)
	})
	o.str(V20220501, "scope", &s.Scope)
	o.child(V20221101Preview, "publicNetworkSolution", func(o *object) { readPublicNetwork(o, s) })
	o.child(V20221101Preview, "configurationInfo", func(o *object) { readConfiguration(o, &s.Configuration) })
	o.child(V20261101, "patchbay", func(o *object) {
		o.ignore("generation", "principal", "operation", "keys", "message", "health")
		if a := string(s.Access); o.oneOf(V20261101, "access", &a, accesses) {
			s.Access = patchbay.Access(a)
		}
		if n := string(s.Naming); o.oneOf(V20261101, "naming", &n, namings) {
			s.Naming = patchbay.Naming(n)
		}
		o.stringMap(V20261101, "options", &s.Options)
		o.stringMap(V20261101, "settings", &s.Settings)
		var takeOver *bool
		if o.flag(V20261101, "takeOver", &takeOver); takeOver != nil {
			s.TakeOver = *takeOver
		}
		if d := string(s.Drift); o.oneOf(V20261101, "drift", &d, drifts) {
			s.Drift = patchbay.Drift(d)
		}
	})
}

func readTarget(o *object) patchbay.TargetService {
	var t patchbay.TargetService
	var typ string
	if !o.oneOf(V20220501, "type", &typ, targetTypes) {
		o.fail(invalid("%s is required", join(o.path, "type")))
		return t
	}
	t.Type = patchbay.TargetType(typ)
	if t.Type != patchbay.AzureResource {
		o.str(V20220501, "endpoint", &t.Endpoint)
		o.absent(typ, "id", "resourceProperties")
		if t.Endpoint == "" {
			o.fail(invalid("%s is required", join(o.path, "endpoint")))
		}
		return t
	}
	var id string
	o.id(V20220501, "id", &id)
	t.ID = patchbay.ID(id)
	o.absent(typ, "endpoint")
	o.child(V20220501, "resourceProperties", func(o *object) {
		var r patchbay.ResourceProperties
		if !o.oneOf(V20220501, "type", &r.Type, resourceTypes) {
			o.fail(invalid("%s is required", join(o.path, "type")))
			return
		}
		if r.Type == keyVault {
			o.flag(V20220501, "connectAsKubernetesCsiDriver", &r.ConnectAsKubernetesCSIDriver)
		} else {
			o.flag(V20240701Preview, "connectWithKubernetesExtension", &r.ConnectWithKubernetesExtension)
		}
		t.Resource = &r
	})
	if t.ID == "" {
		o.fail(invalid("%s is required", join(o.path, "id")))
	}
	return t
}

// absent complains of members that another form of a discriminated object has
// and this one does not; null is nothing.
func (o *object) absent(form string, names ...string) {
	for _, n := range names {
		if v := o.value(V20220501, n); v != nil {
			o.fail(invalid("%s does not belong to %s", join(o.path, n), form))
		}
	}
}

func readAuth(o *object) *patchbay.Auth {
	a := &patchbay.Auth{}
	var typ string
	if !o.oneOf(V20220501, "authType", &typ, authTypes) {
		o.fail(invalid("%s is required", join(o.path, "authType")))
		return a
	}
	a.Type = patchbay.AuthType(typ)
	o.oneOf(V20230401Preview, "authMode", &a.Mode, authModes)
	for _, f := range authFields[a.Type] {
		f.read(o, a)
	}
	if o.err != nil {
		return a
	}
	// A member of another form is a mistake worth a better word than unknown.
	for _, name := range sortedKeys(o.m) {
		if _, ok := o.known[name]; !ok && anyAuthField[name] {
			o.known[name] = ""
			if o.m[name] != nil {
				o.fail(invalid("%s does not belong to authType %s", join(o.path, name), typ))
			}
		}
	}
	if a.Type == patchbay.AuthSPSecret || a.Type == patchbay.AuthSPCertificate {
		// The secret itself is required of a first PUT only; a client that sends
		// back what it read has none.
		switch "" {
		case a.ClientID:
			o.fail(invalid("%s is required", join(o.path, "clientId")))
		case a.PrincipalID:
			o.fail(invalid("%s is required", join(o.path, "principalId")))
		}
	}
	return a
}

// authField is one member of one form of authInfo: how it is read, and how it
// is written.
type authField struct {
	name  string
	read  func(*object, *patchbay.Auth)
	write func(*members, *patchbay.Auth)
}

func authString(since Version, name string, at func(*patchbay.Auth) *string) authField {
	return authField{name,
		func(o *object, a *patchbay.Auth) { o.str(since, name, at(a)) },
		func(m *members, a *patchbay.Auth) { m.add(since, name, orNull(*at(a))) }}
}

func authSecret(since Version, name string, at func(*patchbay.Auth) *patchbay.Secret) authField {
	return authField{name,
		func(o *object, a *patchbay.Auth) { o.secret(since, name, at(a)) },
		func(m *members, a *patchbay.Auth) { m.secret(since, name, *at(a)) }}
}

// authFields has the members of each form, in the order in which they are
// written (contract section 3.4).
var authFields = func() map[patchbay.AuthType][]authField {
	name := authString(V20220501, "name", func(a *patchbay.Auth) *string { return &a.Name })
	clientID := authString(V20220501, "clientId", func(a *patchbay.Auth) *string { return &a.ClientID })
	subscription := authString(V20220501, "subscriptionId", func(a *patchbay.Auth) *string { return &a.SubscriptionID })
	principal := authString(V20220501, "principalId", func(a *patchbay.Auth) *string { return &a.PrincipalID })
	userName := authString(V20221101Preview, "userName", func(a *patchbay.Auth) *string { return &a.UserName })
	roles := authField{"roles",
		func(o *object, a *patchbay.Auth) { o.strings(V20221101Preview, "roles", &a.Roles) },
		func(m *members, a *patchbay.Auth) { m.add(V20221101Preview, "roles", orNullList(a.Roles)) }}
	behavior := authField{"deleteOrUpdateBehavior",
		func(o *object, a *patchbay.Auth) {
			o.oneOf(V20221101Preview, "deleteOrUpdateBehavior", &a.OnChange, behaviors)
		},
		func(m *members, a *patchbay.Auth) {
			m.add(V20221101Preview, "deleteOrUpdateBehavior", orNull(a.OnChange))
		}}
	perms := authField{"permissions", readPermissions,
		func(m *members, a *patchbay.Auth) { m.add(V20221101Preview, "permissions", orNullList(a.Permissions)) }}
	secret := authSecret(V20220501, "secret", func(a *patchbay.Auth) *patchbay.Secret { return &a.Secret })
	certificate := authSecret(V20220501, "certificate", func(a *patchbay.Auth) *patchbay.Secret { return &a.Certificate })
	info := authField{"secretInfo", readSecretInfo, writeSecretInfo}

	return map[patchbay.AuthType][]authField{
		patchbay.AuthSecret:         {name, info},
		patchbay.AuthSystemIdentity: {roles, userName, behavior},
		patchbay.AuthUserIdentity:   {clientID, subscription, roles, userName, behavior},
		patchbay.AuthSPSecret:       {clientID, principal, secret, roles, userName, behavior},
		patchbay.AuthSPCertificate:  {clientID, principal, certificate, roles, behavior},
		patchbay.AuthAccessKey:      {perms},
		patchbay.AuthUserAccount:    {principal, roles, userName, behavior},
		patchbay.AuthEasyAuth:       {clientID, secret, behavior},
	}
}()

var anyAuthField = func() map[string]bool {
	m := map[string]bool{}
	for _, fields := range authFields {
		for _, f := range fields {
			m[f.name] = true
		}
	}
	return m
}()

func readPermissions(o *object, a *patchbay.Auth) {
	o.strings(V20221101Preview, "permissions", &a.Permissions)
	for i, p := range a.Permissions {
		item := object{decoding: o.decoding, path: o.path, m: map[string]any{"permissions": p}, known: map[string]Version{}}
		item.oneOf(V20221101Preview, "permissions", &a.Permissions[i], permissions)
	}
}

func readSecretInfo(o *object, a *patchbay.Auth) {
	o.child(V20220501, "secretInfo", func(o *object) {
		s := &patchbay.SecretInfo{}
		if !o.oneOf(V20220501, "secretType", &s.Type, secretTypes) {
			o.fail(invalid("%s is required", join(o.path, "secretType")))
			return
		}
		switch s.Type {
		case patchbay.RawValue:
			o.secret(V20220501, "value", &s.Value)
			o.absent(s.Type, "name", "version")
		case patchbay.KeyVaultSecretURI:
			o.str(V20220501, "value", &s.URI)
			o.absent(s.Type, "name", "version")
		case patchbay.KeyVaultSecretReference:
			o.str(V20220501, "name", &s.Name)
			o.str(V20220501, "version", &s.Version)
			o.absent(s.Type, "value")
		}
		a.SecretInfo = s
	})
}

func readPublicNetwork(o *object, s *patchbay.Spec) {
	n := clone(s.PublicNetwork)
	o.oneOf(V20221101Preview, "action", &n.Action, actions)
	o.oneOf(V20221101Preview, "deleteOrUpdateBehavior", &n.OnChange, behaviors)
	o.child(V20221101Preview, "firewallRules", func(o *object) {
		f := clone(n.FirewallRules)
		o.strings(V20221101Preview, "ipRanges", &f.IPRanges)
		o.oneOf(V20221101Preview, "azureServices", &f.AzureServices, words)
		o.oneOf(V20221101Preview, "callerClientIP", &f.CallerClientIP, words)
		if len(f.IPRanges) > 0 || f.AzureServices != "" || f.CallerClientIP != "" {
			n.FirewallRules = f
		} else {
			n.FirewallRules = nil
		}
	})
	s.PublicNetwork = orNil(n)
}

func readConfiguration(o *object, at **patchbay.ConfigurationInfo) {
	c := clone(*at)
	o.oneOf(V20221101Preview, "action", &c.Action, actions)
	o.oneOf(V20221101Preview, "deleteOrUpdateBehavior", &c.OnChange, behaviors)
	o.stringMap(V20221101Preview, "customizedKeys", &c.CustomizedKeys)
	o.stringMap(V20221101Preview, "additionalConfigurations", &c.Additional)
	o.stringMap(V20230401Preview, "additionalConnectionStringProperties", &c.ConnectionString)
	o.child(V20230401Preview, "configurationStore", func(o *object) {
		o.id(V20230401Preview, "appConfigurationId", &c.AppConfiguration)
	})
	o.child(V20221101Preview, "daprProperties", func(o *object) { readDapr(o, c) })
	if c.Action == "" && c.OnChange == "" && c.CustomizedKeys == nil && c.Additional == nil &&
		c.ConnectionString == nil && c.AppConfiguration == "" && c.Dapr == nil {
		c = nil
	}
	*at = c
}

func readDapr(o *object, c *patchbay.ConfigurationInfo) {
	p := clone(c.Dapr)
	o.str(V20221101Preview, "version", &p.Version)
	o.str(V20221101Preview, "componentType", &p.ComponentType)
	o.str(V20221101Preview, "secretStoreComponent", &p.SecretStoreComponent)
	o.strings(V20221101Preview, "scopes", &p.Scopes)
	if o.version >= V20230401Preview {
		o.ignore("runtimeVersion", "bindingComponentDirection")
	}
	if v := o.value(V20221101Preview, "metadata"); v != nil {
		list, ok := v.([]any)
		if !ok {
			o.wrong("metadata", "an array", v)
			return
		}
		if !o.count("metadata", len(list)) {
			return
		}
		p.Metadata = nil
		for i, item := range list {
			m := newObject(o.decoding, fmt.Sprintf("%s[%d]", join(o.path, "metadata"), i), item)
			if o.err != nil {
				return
			}
			var x patchbay.DaprMetadata
			m.str(V20221101Preview, "name", &x.Name)
			m.str(V20221101Preview, "value", &x.Value)
			m.str(V20221101Preview, "secretRef", &x.SecretRef)
			m.str(V20230401Preview, "description", &x.Description)
			m.oneOf(V20230401Preview, "required", &x.Required, words)
			m.end()
			p.Metadata = append(p.Metadata, x)
		}
	}
	if p.Version == "" && p.ComponentType == "" && p.SecretStoreComponent == "" && len(p.Scopes) == 0 && len(p.Metadata) == 0 {
		c.Dapr = nil
		return
	}
	c.Dapr = p
}

// clone is a copy to change, of nothing when p is nil: a merge must not reach
// into the spec that it was given.
func clone[T any](p *T) *T {
	n := new(T)
	if p != nil {
		*n = *p
	}
	return n
}

// orNil is nil for a struct that says nothing.
func orNil[T comparable](p *T) *T {
	var zero T
	if *p == zero {
		return nil
	}
	return p
}

// Carry adds to a spec that was PUT under version v what v has no words for
// and the stored spec has. A client of an older version replaces what it can
// say; it must not, unknowing, take back the access that a newer one asked for.
func Carry(v Version, s *patchbay.Spec, stored patchbay.Spec) {
	if v < V20261101 {
		s.Access, s.Naming, s.Options, s.Settings = stored.Access, stored.Naming, stored.Options, stored.Settings
		s.TakeOver, s.Drift = stored.TakeOver, stored.Drift
	}
	if v < V20221101Preview {
		s.PublicNetwork, s.Configuration = stored.PublicNetwork, stored.Configuration
	}
	if a, old := s.Auth, stored.Auth; a != nil && old != nil && a.Type == old.Type {
		if v < V20230401Preview {
			a.Mode = old.Mode
		}
		if v < V20221101Preview {
			a.Roles, a.UserName, a.OnChange = old.Roles, old.UserName, old.OnChange
		}
	}
	if v == V20221101Preview && stored.Configuration != nil {
		c := clone(s.Configuration)
		c.ConnectionString, c.AppConfiguration = stored.Configuration.ConnectionString, stored.Configuration.AppConfiguration
		if s.Configuration != nil || len(c.ConnectionString) > 0 || c.AppConfiguration != "" {
			s.Configuration = c
		}
	}
}
