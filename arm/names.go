package arm

import "patchbay.dev/patchbay"

// NamedSettings are the names of the settings of one kind of target, for one
// client type and one way to sign in.
type NamedSettings struct {
	Target string // the target service, in upper case
	Client patchbay.ClientType
	Auth   patchbay.AuthType
	Names  []SettingName
}

// SettingName is the name of a setting.
type SettingName struct {
	Name, Description string
	Required          bool
}

// ConfigurationName is one item of configurationNames.
func ConfigurationName(v Version, n NamedSettings) any {
	names := make([]any, len(n.Names))
	for i, s := range n.Names {
		m := &members{version: v}
		m.add(V20221101Preview, "value", s.Name)
		m.add(V20221101Preview, "description", s.Description)
		m.add(V20221101Preview, "required", s.Required)
		names[i] = m
	}
	p := &members{version: v}
	p.add(V20221101Preview, "targetService", n.Target)
	p.add(V20221101Preview, "clientType", string(n.Client))
	p.add(V20221101Preview, "authType", string(n.Auth))
	p.add(V20221101Preview, "names", names)
	m := &members{version: v}
	m.add(V20221101Preview, "properties", p)
	return m
}
