package mongodb

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// maxName is how long a database's name may be, in bytes.
const maxName = 63

var (
	nameForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)
	accesses = []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}
	// rolesOf are MongoDB's own, on the login's database.
	rolesOf = map[patchbay.Access][]string{
		patchbay.Reader: {"read"},
		patchbay.Writer: {"readWrite"},
		patchbay.Owner:  {"dbAdmin", "readWrite"},
	}
)

// checkDatabase refuses what can't be a database, and those of the server itself.
func checkDatabase(name string) error {
	switch {
	case name == "" || len(name) > maxName || strings.ContainsAny(name, "/\\. \"$\x00"):
		return invalid("the database's name %s can't be one of MongoDB", driver.Quoted(fmt.Sprintf("%.80q", name)))
	case slices.Contains([]string{adminDatabase, "local", "config"}, strings.ToLower(name)):
		return invalid("the database %s is the server's own: nobody gets a login to it", name)
	}
	return nil
}

// check refuses a request that can't be carried out whatever the server says. A removal
// needs less than a making.
func check(r driver.LoginRequest, making bool) error {
	switch {
	case !nameForm.MatchString(r.Name):
		return invalid("the login's name %.60q is not of lower-case letters, digits and underscores, at most 40", r.Name)
	case !uidForm.MatchString(r.Mark.UID) || r.Mark.Generation <= 0:
		return invalid("the login %s has no mark", r.Name)
	}
	if err := checkDatabase(r.Sub); err != nil {
		return err
	}
	switch {
	case !making:
		return nil
	case r.Auth != patchbay.AuthSecret:
		return patchbay.Errorf(patchbay.NotSupported, "a MongoDB login signs in with a secret, not by %s", r.Auth)
	case len(r.Roles) == 0 && rolesOf[r.Access] == nil:
		return invalid("access %q is not one of reader, writer, owner", r.Access)
	}
	for _, role := range r.Roles {
		if role == "" || len(role) > 128 || strings.ContainsFunc(role, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) {
			return invalid("the role %s can't be one of MongoDB", driver.Quoted(fmt.Sprintf("%.80q", role)))
		}
	}
	for name := range r.Options {
		return invalid("MongoDB logins have no option %q", name)
	}
	_, err := sourcesOf(r.Sources)
	return err
}

// role is one of a database.
type role struct {
	Role string `bson:"role"`
	DB   string `bson:"db"`
}

func (r role) String() string { return r.Role + " on " + r.DB }

// restriction is one of a user's: from where it may sign in, and to where.
type restriction struct {
	Client []string `bson:"clientSource"`
	Server []string `bson:"serverAddress"`
}

// privilege is what a role gives.
type privilege struct {
	Resource struct {
		DB         *string `bson:"db"`
		Collection *string `bson:"collection"`
		Cluster    bool    `bson:"cluster"`
		Any        bool    `bson:"anyResource"`
	} `bson:"resource"`
	Actions []string `bson:"actions"`
}

// user is what usersInfo tells of one.
type user struct {
	Name         string        `bson:"user"`
	DB           string        `bson:"db"`
	Data         bson.Raw      `bson:"customData"`
	Roles        []role        `bson:"roles"`
	Mechanisms   []string      `bson:"mechanisms"`
	Restrictions []restriction `bson:"authenticationRestrictions"`
	Privileges   []privilege   `bson:"inheritedPrivileges"`
}

// wanted is what a login should be.
type wanted struct {
	roles   []role
	sources []netip.Prefix
	custom  bool // somebody asked for the roles by name
}

func wantedOf(r driver.LoginRequest) wanted {
	names := r.Roles
	if len(names) == 0 {
		names = rolesOf[r.Access]
	}
	w := wanted{custom: len(r.Roles) > 0}
	for _, name := range names {
		if one := (role{name, r.Sub}); !slices.Contains(w.roles, one) {
			w.roles = append(w.roles, one)
		}
	}
	w.sources, _ = sourcesOf(r.Sources) // check had it
	return w
}

// sourcesOf are addresses and networks as MongoDB takes them.
func sourcesOf(sources []netip.Prefix) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, p := range sources {
		a, bits := p.Addr(), p.Bits()
		if a.Is4In6() && bits >= 96 {
			a, bits = a.Unmap(), bits-96
		}
		p = netip.PrefixFrom(a, bits)
		if !p.IsValid() || a.Zone() != "" {
			return nil, invalid("the source %s is no address or network", p)
		}
		if p = p.Masked(); !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all, nil
}

// restrictions are what createUser is told of the sources.
func (w wanted) restrictions() bson.A {
	if len(w.sources) == 0 {
		return bson.A{}
	}
	var all []string
	for _, p := range w.sources {
		all = append(all, p.String())
	}
	return bson.A{bson.D{{Key: "clientSource", Value: all}}}
}

// readSource reads one as the server tells it: an address, or a network.
func readSource(text string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

// compare says what a user lacks, and has beyond it, in the server's words.
func (w wanted) compare(u *user) (missing, excess []string) {
	lacks := func(format string, args ...any) { missing = append(missing, fmt.Sprintf(format, args...)) }
	exceeds := func(format string, args ...any) { excess = append(excess, fmt.Sprintf(format, args...)) }
	for _, one := range w.roles {
		if !slices.Contains(u.Roles, one) {
			lacks("%s", one)
		}
	}
	for _, one := range u.Roles {
		if !slices.Contains(w.roles, one) {
			exceeds("%s", one)
		}
	}
	if !slices.Contains(u.Mechanisms, sha256Mechanism) {
		lacks("%s: it can't sign in", sha256Mechanism)
	}
	for _, m := range u.Mechanisms {
		if m != sha256Mechanism {
			exceeds("%s, a weaker way to sign in", m)
		}
	}
	w.compareSources(u, lacks, exceeds)
	for _, p := range u.Privileges {
		if why := p.beyond(u.DB); why != "" {
			exceeds("%s, by one of its roles", why)
		}
	}
	return missing, excess
}

func (w wanted) compareSources(u *user, lacks, exceeds func(string, ...any)) {
	switch {
	case len(u.Restrictions) == 0 && len(w.sources) == 0:
		return
	case len(u.Restrictions) == 0:
		exceeds("signing in from any address")
		return
	case len(w.sources) == 0:
		lacks("signing in from any address")
		return
	case len(u.Restrictions) > 1:
		exceeds("%d authentication restrictions in place of one", len(u.Restrictions))
		return
	}
	have := u.Restrictions[0]
	if len(have.Server) > 0 {
		lacks("signing in to any address of the server")
	}
	var sources []netip.Prefix
	for _, text := range have.Client {
		p, ok := readSource(text)
		if !ok {
			exceeds("signing in from %s", text)
			continue
		}
		sources = append(sources, p)
	}
	if len(have.Client) == 0 {
		exceeds("signing in from any address")
	}
	for _, p := range w.sources {
		if !slices.Contains(sources, p) {
			lacks("signing in from %s", p)
		}
	}
	for _, p := range sources {
		if !slices.Contains(w.sources, p) {
			exceeds("signing in from %s", p)
		}
	}
}

// administers are the actions with which a user could give itself, or somebody, more.
// viewUser is one: it shows how passwords are kept.
var administers = []string{
	"anyAction", "changeCustomData", "changeOwnCustomData", "changePassword", "createRole", "createUser", "dropRole", "dropUser",
	"enableLocalhostAuthBypass", "grantRole", "impersonate", "internal", "revokeRole", "setAuthenticationRestriction", "viewUser",
}

// beyond says what of a privilege reaches beyond a database's data; "" for nothing.
func (p privilege) beyond(database string) string {
	var actions []string
	for _, a := range p.Actions {
		if slices.Contains(administers, a) {
			actions = append(actions, a)
		}
	}
	switch r := p.Resource; {
	case len(p.Actions) == 0:
		return ""
	case r.Any:
		return "rights on everything"
	case r.Cluster:
		return "rights on the cluster: " + few(p.Actions)
	case r.DB == nil || *r.DB != database:
		name := "every database"
		if r.DB != nil && *r.DB != "" {
			name = "the database " + *r.DB
		}
		return "rights on " + name + ": " + few(p.Actions)
	case len(actions) > 0:
		return "administration of users: " + few(actions)
	}
	return ""
}

// covers reports whether the privilege gives an action on a whole database.
func (p privilege) covers(database, action string) bool {
	whole := p.Resource.Any || p.Resource.DB != nil && (*p.Resource.DB == "" || *p.Resource.DB == database) &&
		p.Resource.Collection != nil && *p.Resource.Collection == ""
	return whole && (slices.Contains(p.Actions, action) || slices.Contains(p.Actions, "anyAction"))
}

// few are the first of what is listed.
func few(all []string) string {
	const most = 8
	text := strings.Join(all[:min(len(all), most)], ", ")
	if len(all) > most {
		text += fmt.Sprintf(" and %d more", len(all)-most)
	}
	return driver.Quoted(text)
}

// user asks the server for one; nil when there is none.
func (l *link) user(ctx context.Context, name, database string) (*user, error) {
	var told struct {
		Users []user `bson:"users"`
	}
	err := l.run(ctx, database, bson.D{
		{Key: "usersInfo", Value: bson.D{{Key: "user", Value: name}, {Key: "db", Value: database}}},
		{Key: "showPrivileges", Value: true}, {Key: "showAuthenticationRestrictions", Value: true},
	}, &told)
	switch {
	case err != nil:
		return nil, l.fault("look at the user", err)
	case len(told.Users) == 0:
		return nil, nil
	case len(told.Users) > 1 || told.Users[0].Name != name || told.Users[0].DB != database:
		return nil, l.strange("a user")
	}
	return &told.Users[0], nil
}
