package arm

import (
	"encoding/json"
	"encoding/xml"
	"strings"

	"patchbay.dev/patchbay"
)

// stacks are the words that App Service has for client types; az takes the one
// before the bar of linuxFxVersion for the client type of a connection.
var stacks = map[string]string{
	"nodejs": "NODE", "dotnet": "DOTNETCORE", "springboot": "JAVA", "django": "PYTHON",
}

// Runtime is what a source runs, in App Service's words (PYTHON|3.12): what its
// tag or property runtime or linuxFxVersion says; "" when none does.
func Runtime(r patchbay.Resource) string {
	var own map[string]any
	_ = json.Unmarshal(r.Properties, &own) // properties that are no object say nothing of it
	for _, name := range []string{"runtime", "linuxFxVersion"} {
		for tag, value := range r.Tags {
			if is(tag, name) && value != "" {
				return stack(value)
			}
		}
		if value, ok := own[name].(string); ok && value != "" {
			return stack(value)
		}
	}
	return ""
}

func stack(runtime string) string {
	language, version, _ := strings.Cut(runtime, "|")
	if version == "" {
		language, version, _ = strings.Cut(runtime, ":") // az webapp create takes both
	}
	if word, ok := stacks[strings.ToLower(language)]; ok {
		language = word
	}
	return strings.ToUpper(language) + "|" + version
}

// siteChild is the answer of a child of a web site.
func siteChild(site patchbay.Resource, name string, properties any) any {
	m := &members{}
	m.add("", "id", string(site.ID)+"/config/"+name)
	m.add("", "name", name)
	m.add("", "type", site.ID.Type()+"/config")
	m.add("", "location", orNull(site.Location))
	m.add("", "properties", properties)
	return m
}

// SiteConfig is the answer of GET {site}/config/{name}; ok is false for a
// configuration that a source of Patchbay's does not have.
func SiteConfig(site patchbay.Resource, name string) (body any, ok bool) {
	p := &members{}
	switch name {
	case "web":
		p.add("", "linuxFxVersion", Runtime(site))
	case "slotconfignames":
		p.add("", "connectionStringNames", nil)
		p.add("", "appSettingNames", nil)
	default:
		return nil, false
	}
	return siteChild(site, name, p), true
}

// SiteSettings is the answer of POST {site}/config/appsettings/list, with the
// settings' values.
func SiteSettings(site patchbay.Resource, settings map[string]patchbay.Secret) any {
	p := &members{}
	for _, name := range sortedKeys(settings) {
		p.add("", name, settings[name].Reveal())
	}
	return siteChild(site, "appsettings", p)
}

type publishData struct {
	XMLName  xml.Name         `xml:"publishData"`
	Profiles []publishProfile `xml:"publishProfile"`
}

type publishProfile struct {
	Name   string `xml:"profileName,attr"`
	Method string `xml:"publishMethod,attr"`
	URL    string `xml:"publishUrl,attr"`
}

// PublishProfiles is the answer of POST {site}/publishxml: az webapp show wants
// one, and takes where to upload from it. There is nowhere.
func PublishProfiles(site patchbay.Resource) ([]byte, error) {
	return xml.Marshal(publishData{Profiles: []publishProfile{{Name: site.ID.Name() + " - FTP", Method: "FTP"}}})
}
