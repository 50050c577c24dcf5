package external

import (
	"cmp"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// has reports whether a kind has a value of that name.
func (t *target) has(kind, name string) bool {
	return slices.ContainsFunc(t.kinds[kind].Values, func(v patchbay.TargetValue) bool { return v.Name == name })
}

// facts are the values that settings are filled with, less the login: what the
// endpoint, the ids and the properties say, and the kind's defaults.
func (t *target) facts(kind, sub string) (map[string]string, error) {
	s := t.service(kind)
	at := t.addressOf(kind)
	v := map[string]string{
		"account": t.id.Name(), "vault": t.id.Name(), "subscription": t.id.Subscription(), "resourceGroup": t.id.ResourceGroup(),
		"location": t.location,
	}
	if at.host != "" {
		if err := t.sayable(kind, s, at); err != nil {
			return nil, err
		}
		t.accountOf(v, at)
		placed(s, at, v)
		if path := strings.Trim(at.path, "/"); path != "" && (s.place == inHost || s.place == inServers && t.has(kind, "database")) {
			v["database"] = path
		}
	} else if err := t.unnamed(s); err != nil {
		return nil, err
	} else if s.host != "" && !t.hasDefault(kind, cmp.Or(s.url, "host")) {
		azure(s, v)
	}
	t.inAzure(s, at, v)
	maps.Copy(v, t.values)
	if err := t.below(kind, sub, v); err != nil {
		return nil, err
	}
	facts := t.complete(kind, v)
	if t.noTLS {
		facts["encrypt"] = "false"
	}
	if facts["sslmode"] != "" && t.values["sslmode"] == "" {
		facts["checked"] = "true" // nobody chose a mode, and certificates are checked
	}
	// What the application's settings should have, too.
	for name, value := range map[string]string{"ca": t.tls.CA, "serverName": t.tls.ServerName} {
		if value != "" {
			facts[name] = value
		}
	}
	return facts, nil
}

// sayable refuses a port that the settings of the kind have no word for: the
// application would knock at another than what was checked.
func (t *target) sayable(kind string, s service, at address) error {
	k := t.kinds[kind]
	known := slices.ContainsFunc(k.Values, func(v patchbay.TargetValue) bool { return v.Name == "port" })
	if s.place != inHost || known || at.port == "" || at.port == s.port || at.scheme == "https" && at.port == "443" {
		return nil
	}
	return invalid("the settings of %s have no port: clients take %s, and the endpoint says %s", k.Title, s.port, at.port)
}

// addressOf is the endpoint of a kind, zero where Azure has it.
func (t *target) addressOf(kind string) address {
	at, own := t.endpoints[kind]
	if own {
		return at
	}
	at = t.endpoint
	if at.host == "" || at.fits(t.service(kind)) != nil { // none, or another kind's
		return address{}
	}
	host, account := strings.ToLower(at.host), strings.ToLower(t.id.Name())
	switch service, isStorage := strings.CutPrefix(kind, "storage-"); {
	case kind != "cosmos-sql" && len(t.serves) > 1 && host == account+".documents.azure.com":
		return address{} // what Azure shows of the account, whose other kinds have names of their own
	case kind == "fabric-sql" && at.scheme == "https":
		return address{} // Fabric's own API; the connection string's properties say the server
	case isStorage && strings.HasPrefix(host, account+"."):
		// The services of an account are beside each other.
		if _, suffix, ok := strings.Cut(host[len(account)+1:], "."); ok && strings.HasPrefix(suffix, "core.") {
			at.host = account + "." + service + "." + suffix
		}
	}
	return at
}

// accountOf is the account that an endpoint says, where no id does, and the
// suffix of Azure's clouds.
func (t *target) accountOf(v map[string]string, at address) {
	first, rest, dotted := strings.Cut(at.host, ".")
	if _, own := cutPrefixFold(t.id.Type(), ownTypes); own {
		if _, err := netip.ParseAddr(at.host); err != nil {
			v["account"] = first
		}
	}
	if _, suffix, ok := strings.Cut(rest, "."); dotted && ok && strings.HasPrefix(suffix, "core.") && strings.EqualFold(first, v["account"]) {
		v["suffix"] = suffix
	}
}

// placed puts the address into the values that say where a service is.
func placed(s service, at address, v map[string]string) {
	how := s.schemes[at.scheme]
	port := cmp.Or(at.port, how.port)
	switch s.place {
	case inHost:
		v["host"] = at.host
		if port != "" {
			v["port"] = port
		}
		if how.plain {
			v["ssl"] = "false"
		} else if at.scheme == "rediss" {
			v["ssl"] = "true"
		}
	case inURL:
		v[s.url] = urlOf(cmp.Or(how.to, at.scheme, "https"), at.host, port, at.path)
		if s.url == "" {
			delete(v, "")
			v["vault"], _, _ = strings.Cut(at.host, ".")
		}
	case inURLs, inServers:
		var all []string
		for _, server := range at.servers {
			if _, _, err := net.SplitHostPort(server); err != nil {
				server = net.JoinHostPort(server, cmp.Or(how.port, s.port))
			}
			if s.place == inURLs {
				server = cmp.Or(how.to, at.scheme, "nats") + "://" + server
			}
			all = append(all, server)
		}
		v[cmp.Or(s.url, "servers")] = strings.Join(all, ",")
	}
}

func urlOf(scheme, host, port, path string) string {
	u := url.URL{Scheme: scheme, Host: host, Path: path}
	switch {
	case port != "":
		u.Host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		u.Host = "[" + host + "]"
	}
	return u.String()
}

// The hosts of Azure, and what they say of where its other hosts are.
var (
	azureHost     = regexp.MustCompile(`(?i)\.(?:azure\.[a-z]+|windows\.net|azconfig\.io|signalr\.net|visualstudio\.com|microsoft\.com|chinacloudapi\.cn|usgovcloudapi\.net)$`)
	cosmosHost    = regexp.MustCompile(`(?i)\.(?:documents|[a-z]+\.cosmos)\.(azure\.[a-z]+)$`)
	vaultHost     = regexp.MustCompile(`(?i)^[^.]+\.(vault\.[a-z.]+)$`)
	aiAccountHost = regexp.MustCompile(`(?i)^([^.]+)\.cognitiveservices\.(azure\.[a-z]+)$`)
)

// unnamed refuses to take a kind of a resource for one of Azure's when another
// kind of it has an endpoint that is not: nobody named this one's host.
func (t *target) unnamed(s service) error {
	elsewhere := t.endpoint
	for _, kind := range slices.Sorted(maps.Keys(t.endpoints)) {
		elsewhere = t.endpoints[kind]
	}
	if elsewhere.host == "" || azureHost.MatchString(elsewhere.host) {
		return nil
	}
	return invalid("%s is registered at %s, which is not an endpoint of %s, and nothing says where that is", t.id.Name(), elsewhere.host, s.kind).
		WithFix("register the endpoint of this kind too: --service-endpoint %s=ENDPOINT", s.kind)
}

// inAzure adds what settings have of Azure besides the endpoint. Where a service
// is Azure's, its endpoint says which cloud's hosts those are; where it is not,
// no host of Azure is named: what a setting still needs, whoever registers the
// service has to say.
func (t *target) inAzure(s service, at address, v map[string]string) {
	host := cmp.Or(at.host, t.endpoint.host)
	switch {
	case at.host == "" && !azureHost.MatchString(host):
		v["cloud"], v["suffix"] = "azure.com", "core.windows.net"
	case cosmosHost.MatchString(host):
		v["cloud"] = strings.ToLower(cosmosHost.FindStringSubmatch(host)[1])
	}
	if s.kind == "keyvault" {
		v["scope"] = strings.TrimSuffix(v["endpoint"], "/") + "/.default"
		if u, err := url.Parse(v["endpoint"]); err == nil && vaultHost.MatchString(u.Hostname()) {
			v["scope"] = "https://" + strings.ToLower(vaultHost.FindStringSubmatch(u.Hostname())[1]) + "/.default"
		}
	}
	if s.kind != "aiservices" || at.host == "" {
		return
	}
	if account := aiAccountHost.FindStringSubmatch(at.host); account != nil {
		v["openaiEndpoint"] = "https://" + account[1] + ".openai." + account[2] + "/"
		return
	}
	v["openaiEndpoint"], v["speechEndpoint"] = v["endpoint"], v["endpoint"]
}

// azure is where Azure has the resource.
func azure(s service, v map[string]string) {
	host := fill(s.host, v)
	switch {
	case s.place == inURL && s.url != "":
		v[s.url] = "https://" + host
		if s.kind != "signalr" && s.kind != "appconfig" && s.kind != "confluent-schema" {
			v[s.url] += "/"
		}
	case s.place == inHost:
		v["host"] = host
	}
}

// below adds what the names in the target id say.
func (c catalogue) below(kind, sub string, v map[string]string) error {
	if sub == "" {
		return nil
	}
	parts := strings.Split(sub, "/")
	for i := 0; i+1 < len(parts); i += 2 {
		name, ok := segments[strings.ToLower(parts[i])]
		if !ok {
			if name, ok = c.named(kind, parts[i]); !ok {
				continue
			}
		}
		if hostile(parts[i+1]) || parts[i+1] == "" {
			return invalid("the name of the %s has control characters", name)
		}
		v[name] = parts[i+1]
		if c.service(kind).escaped {
			var err error
			if v[name], err = driver.NameIn(parts[i+1]); err != nil {
				return err
			}
		}
	}
	// Redis counts its databases; Redis Enterprise calls the only one default.
	if kind == "redis" && strings.ContainsFunc(v["database"], func(r rune) bool { return r < '0' || r > '9' }) {
		v["database"] = "0"
	}
	return nil
}

// named is the value that a segment's name is, as the forms of the kind's ids call
// it.
func (c catalogue) named(kind, segment string) (value string, ok bool) {
	for _, id := range c.kinds[kind].IDs {
		for _, s := range id.Segments() {
			if strings.EqualFold(s.Type, segment) && slices.ContainsFunc(c.kinds[kind].Values, func(v patchbay.TargetValue) bool { return v.Name == s.Name }) {
				return s.Name, true
			}
		}
	}
	return "", false
}

// complete leaves the kind's own values, with their defaults.
func (t *target) complete(kind string, v map[string]string) map[string]string {
	out := map[string]string{}
	login := t.service(kind).login.name
	// A vault of the CSI driver is the same vault.
	all := append(slices.Clone(t.kinds[kind].Values), t.kinds[t.variant(kind, "csi")].Values...)
	for range 2 { // a default may be made of one
		for _, value := range all {
			switch {
			case value.Secret:
			case v[value.Name] != "":
				out[value.Name] = v[value.Name]
			case value.Default != "" && value.Name != login:
				if text := fill(value.Default, v); text != "" {
					v[value.Name], out[value.Name] = text, text
				}
			}
		}
	}
	return out
}

// fill replaces {name}; it is "" when one has no value.
func fill(template string, v map[string]string) string {
	missing := false
	text := hole.ReplaceAllStringFunc(template, func(name string) string {
		value := v[name[1:len(name)-1]]
		missing = missing || value == ""
		return value
	})
	if missing {
		return ""
	}
	return text
}

var hole = regexp.MustCompile(`\{[a-zA-Z]+\}`)

// where is the address to dial, host:port, and whether its URL says TLS.
func (t *target) where(s service, facts map[string]string) (at string, secure bool) {
	secure = true
	host, port := facts["host"], cmp.Or(facts["port"], s.port)
	switch s.place {
	case inServers:
		first, _, _ := strings.Cut(facts["servers"], ",")
		return first, secure
	case inURL, inURLs:
		text := facts[s.url]
		if s.url == "" {
			text = "https://" + fill(s.host, facts)
			if a := t.addressOf(s.kind); a.host != "" {
				text = urlOf("https", a.host, a.port, "")
			}
		}
		first, _, _ := strings.Cut(text, ",")
		u, err := url.Parse(first)
		if err != nil || u.Hostname() == "" {
			return "", secure
		}
		secure = !slices.Contains([]string{"http", "nats"}, u.Scheme)
		host, port = u.Hostname(), u.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		port = cmp.Or(port, s.port)
	}
	if host == "" || port == "" {
		return "", secure
	}
	return net.JoinHostPort(host, port), secure
}
