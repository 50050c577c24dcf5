package external

import (
	"cmp"
	"slices"
	"strings"

	"github.com/nats-io/jwt/v2"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// login is what signs in to a kind, by the names of its values.
type login struct {
	name     string // the value that the login's name is; "": it has none
	secret   string // "": nobody signs in with a secret
	fallback string // the name when none is given, of other values
	nameless bool   // it may do without a name
	// parts are the properties of a connection string, in lower case, and the
	// values that they are.
	parts map[string]string
	// forms reads a login that is in none of these forms; ok is false when it is.
	forms func(name string, secret patchbay.Secret) (c driver.Credential, ok bool, err error)
}

// Given implements [driver.GivenLogins].
func (t *target) Given(sub, name string, secret patchbay.Secret) (driver.Credential, error) {
	kind, err := t.kindOf(sub)
	if err != nil {
		return driver.Credential{}, err
	}
	return t.given(kind, sub, name, secret)
}

func (t *target) given(kind, sub, name string, secret patchbay.Secret) (driver.Credential, error) {
	l := t.service(kind).login
	if err := l.check(kind, name, secret); err != nil {
		return driver.Credential{}, err
	}
	facts, err := t.facts(kind, sub)
	if err != nil {
		return driver.Credential{}, err
	}
	if l.forms != nil {
		if c, ok, err := l.forms(name, secret); ok || err != nil {
			return c, err
		}
	}
	c := driver.Credential{Public: map[string]string{}, Secret: driver.Secrets{l.secret: secret}}
	if pairs := l.connectionString(secret); pairs != nil {
		if c, err = l.taken(pairs, facts); err != nil {
			return driver.Credential{}, err
		}
	}
	if name != "" && l.name == "" {
		return driver.Credential{}, invalid("a login of %s has no name; leave it out", kind)
	}
	if l.name == "" {
		return c, nil
	}
	known := cmp.Or(name, c.Public[l.name], t.values[l.name], t.admin[adminName].Reveal(), fill(l.fallback, t.ids(facts)))
	switch {
	case name != "" && c.Public[l.name] != "" && name != c.Public[l.name]:
		return driver.Credential{}, invalid("the login's name is not the one in its connection string")
	case known == "" && !l.nameless:
		return driver.Credential{}, invalid("a login of %s needs a name, its %s", kind, l.name)
	case known != "":
		c.Public[l.name] = known
	}
	return c, nil
}

// ids are facts with what the kind has no value for.
func (t *target) ids(facts map[string]string) map[string]string {
	if facts["account"] == "" {
		facts["account"] = t.id.Name()
	}
	return facts
}

func (l login) check(kind, name string, secret patchbay.Secret) error {
	text := secret.Reveal()
	switch {
	case l.secret == "":
		return patchbay.Errorf(patchbay.NotSupported, "nobody signs in to %s with a secret; use an identity", kind)
	case text == "":
		return invalid("the login has no %s", l.secret)
	case len(text) > 64<<10 || len(name) > maxValue:
		return invalid("the login is longer than any that %s has", kind)
	case hostile(name):
		return invalid("the login's name has control characters")
	case l.forms == nil && hostile(text), strings.ContainsRune(text, 0):
		return invalid("the login's %s has control characters", l.secret)
	}
	return nil
}

// connectionString are the properties of a secret that is a connection string,
// nil when it is none. Keys of Azure end in "=", so only a property that is
// known makes one.
func (l login) connectionString(secret patchbay.Secret) map[string]string {
	pairs := map[string]string{}
	for part := range strings.SplitSeq(secret.Reveal(), ";") {
		name, value, ok := strings.Cut(part, "=")
		if ok {
			pairs[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
		}
	}
	for property, value := range l.parts {
		if value == l.secret && pairs[property] != "" && len(pairs) > 1 {
			return pairs
		}
	}
	return nil
}

// taken is the login in a connection string. One of another resource is
// refused: its settings would have one's address and the other's key.
func (l login) taken(pairs, facts map[string]string) (driver.Credential, error) {
	for _, property := range []string{"endpoint", "accountendpoint"} {
		if pairs[property] == "" || l.parts[property] != "" {
			continue
		}
		a, err := parseAddress("the login's connection string", pairs[property])
		if err != nil {
			return driver.Credential{}, err
		}
		if !namesHost(facts, a.host) {
			return driver.Credential{}, invalid("the login's connection string is of another resource: its endpoint is %s", clip(a.host))
		}
	}
	if account := pairs["accountname"]; account != "" && facts["account"] != "" && !strings.EqualFold(account, facts["account"]) {
		return driver.Credential{}, invalid("the login's connection string is of another account: %s", clip(account))
	}
	c := driver.Credential{Public: map[string]string{}, Secret: driver.Secrets{}}
	for property, value := range l.parts {
		switch text := pairs[property]; {
		case text == "":
		case value == l.secret:
			c.Secret[value] = patchbay.NewSecret(text)
		default:
			c.Public[value] = text
		}
	}
	return c, nil
}

// namesHost reports whether one of the addresses in facts is host's.
func namesHost(facts map[string]string, host string) bool {
	for _, name := range []string{"host", "endpoint", "tableEndpoint", "url"} {
		if facts[name] == "" {
			continue
		}
		if a, err := parseAddress("", facts[name]); err == nil && strings.EqualFold(a.host, host) {
			return true
		}
	}
	return false
}

// Registered implements [driver.RegisteredLogins].
func (t *target) Registered(sub string) (driver.Credential, error) {
	kind, err := t.kindOf(sub)
	if err != nil {
		return driver.Credential{}, err
	}
	return t.registered(kind, sub)
}

func (t *target) registered(kind, sub string) (driver.Credential, error) {
	l := t.service(kind).login
	if secret, ok := t.admin[adminSecret]; ok {
		return t.given(kind, sub, t.admin[adminName].Reveal(), secret)
	}
	c := driver.Credential{Public: map[string]string{}, Secret: driver.Secrets{}}
	for _, v := range t.kinds[kind].Values {
		secret, ok := t.admin[v.Name]
		switch {
		case !ok:
		case v.Secret && secret.Reveal() != "":
			c.Secret[v.Name] = secret
		case secret.Reveal() != "":
			c.Public[v.Name] = secret.Reveal()
		}
	}
	if len(c.Secret) == 0 {
		return driver.Credential{}, invalid("%s has no login registered that a connection could have", t.id.Name()).
			WithFix("give one with the connection (--secret name=NAME secret=…), or register one: patchbay resource add external %s … --login NAME --secret-file FILE", t.id.Name())
	}
	main, whole := c.Secret[l.secret]
	if !whole {
		// It is in another form (jwt and seed, secretId): the kind's need of it
		// is checked where the settings are made.
		return t.companions(kind, c), nil
	}
	rest := c
	c, err := t.given(kind, sub, cmp.Or(c.Public[l.name], t.admin[adminName].Reveal()), main)
	if err != nil {
		return driver.Credential{}, err
	}
	for name, secret := range rest.Secret {
		if _, taken := c.Secret[name]; !taken {
			c.Secret[name] = secret
		}
	}
	return c, nil
}

// companions adds the name of a login from the properties.
func (t *target) companions(kind string, c driver.Credential) driver.Credential {
	l := t.service(kind).login
	if name := cmp.Or(c.Public[l.name], t.admin[adminName].Reveal(), t.values[l.name]); l.name != "" && name != "" {
		c.Public[l.name] = name
	}
	return c
}

// natsLogin takes the content of a creds file.
func natsLogin(_ string, secret patchbay.Secret) (driver.Credential, bool, error) {
	text := secret.Reveal()
	if !strings.Contains(text, "BEGIN NATS USER JWT") {
		if hostile(text) {
			return driver.Credential{}, false, invalid("the login's password has control characters")
		}
		return driver.Credential{}, false, nil
	}
	token, err := jwt.ParseDecoratedJWT([]byte(text))
	if err != nil {
		return driver.Credential{}, false, invalid("the login is not the content of a creds file")
	}
	pair, err := jwt.ParseDecoratedUserNKey([]byte(text))
	if err != nil {
		return driver.Credential{}, false, invalid("the login is not the content of a creds file: it has no seed of a user")
	}
	seed, err := pair.Seed()
	if err != nil {
		return driver.Credential{}, false, invalid("the login is not the content of a creds file: it has no seed of a user")
	}
	return driver.Credential{
		Public: map[string]string{},
		Secret: driver.Secrets{"jwt": patchbay.NewSecret(token), "seed": patchbay.NewSecret(string(seed))},
	}, true, nil
}

// vaultLogin takes a role id and a secret id; without a name it is a token.
func vaultLogin(name string, secret patchbay.Secret) (driver.Credential, bool, error) {
	if hostile(secret.Reveal()) {
		return driver.Credential{}, false, invalid("the login's token has control characters")
	}
	if name == "" {
		return driver.Credential{Public: map[string]string{}, Secret: driver.Secrets{"token": secret}}, true, nil
	}
	return driver.Credential{Public: map[string]string{"roleId": name}, Secret: driver.Secrets{"secretId": secret}}, true, nil
}

// signsIn reports whether c has more than what an identity has.
func signsIn(c driver.Credential) bool {
	return slices.ContainsFunc(names(c.Secret), func(name string) bool { return name != "clientSecret" && !c.Secret[name].IsZero() })
}

func names(s driver.Secrets) []string {
	var all []string
	for name := range s {
		all = append(all, name)
	}
	return all
}
