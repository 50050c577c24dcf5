package azurestorage

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// service is one of an account's.
type service struct {
	name     string // blob: in hosts, and in what is signed
	segment  string // of a target id
	children string // the segment of what a login is made for
	option   string // names that; the settings' value too
	noun     string
	plural   string
	about    url.Values // what asks for the thing itself and not for what is in it
	resource string     // sr of a signature; "" where there is none
	access   map[patchbay.Access]string
	form     *regexp.Regexp // of a name
}

var (
	dashed = regexp.MustCompile(`^[a-z0-9](-?[a-z0-9]){2,62}$`)
	// The containers that Azure makes have a dollar in front.
	containers = regexp.MustCompile(`^(\$root|\$web|[a-z0-9](-?[a-z0-9]){2,62})$`)
	tableNames = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{2,62}$`)
)

// services are all of them. The permissions are in the order in which Azure wants them.
var services = []*service{
	{name: "blob", segment: "blobServices", children: "containers", option: optionContainer, noun: "container", plural: "containers",
		about: url.Values{"restype": {"container"}}, resource: "c", form: containers,
		access: map[patchbay.Access]string{patchbay.Reader: "rl", patchbay.Writer: "racwdl", patchbay.Owner: "racwdxltfi"}},
	{name: "queue", segment: "queueServices", children: "queues", option: optionQueue, noun: "queue", plural: "queues", form: dashed,
		access: map[patchbay.Access]string{patchbay.Reader: "r", patchbay.Writer: "raup"}},
	{name: "table", segment: "tableServices", children: "tables", option: optionTable, noun: "table", plural: "tables", form: tableNames,
		access: map[patchbay.Access]string{patchbay.Reader: "r", patchbay.Writer: "raud"}},
	{name: "file", segment: "fileServices", children: "shares", option: optionShare, noun: "file share", plural: "shares",
		about: url.Values{"restype": {"share"}}, resource: "s", form: dashed,
		access: map[patchbay.Access]string{patchbay.Reader: "rl", patchbay.Writer: "rcwdl"}},
}

func serviceNamed(name string) *service {
	if i := slices.IndexFunc(services, func(s *service) bool { return s.name == name }); i >= 0 {
		return services[i]
	}
	return nil
}

// check refuses what can't be the name of a child.
func (s *service) check(name string) error {
	if len(name) <= 63 && s.form.MatchString(name) {
		return nil
	}
	return patchbay.Errorf(patchbay.InvalidArgument, "%s can't be the name of a %s", driver.Quoted(short(name)), s.noun)
}

// permissions are those of an access.
func (s *service) permissions(access patchbay.Access) (string, error) {
	if letters := s.access[access]; letters != "" {
		return letters, nil
	}
	if access == patchbay.Owner {
		return "", patchbay.Errorf(patchbay.NotSupported, "a %s has nothing for an owner that a writer may not: a signature can't change or delete it", s.noun).
			WithFix("ask for --access writer")
	}
	return "", patchbay.Errorf(patchbay.InvalidArgument, "access %q is not one that a %s has", short(string(access)), s.noun)
}

// child is what a login is made for.
type child struct {
	*service
	id string // its name
}

// sub is the child as a target id names it.
func (c child) sub() string { return c.segment + "/default/" + c.children + "/" + c.id }

// path is the child's, below its service's.
func (c child) path() string { return "/" + url.PathEscape(c.id) }

// said is the child in a message.
func (c child) said() string { return "the " + c.noun + " " + driver.Quoted(c.id) }

// canonical is the child as a signature names it. Names of tables are of any case.
func (c child) canonical(account string) string {
	id := c.id
	if c.name == "table" {
		id = strings.ToLower(id)
	}
	return "/" + c.name + "/" + account + "/" + id
}

// serviceOf takes apart what a target id adds to the account's; name is "" where it
// names a service alone.
func serviceOf(sub string) (s *service, name string, err error) {
	parts := strings.Split(sub, "/")
	if len(parts) == 2 || len(parts) == 4 {
		if i := slices.IndexFunc(services, func(s *service) bool { return strings.EqualFold(s.segment, parts[0]) }); i >= 0 {
			s = services[i]
		}
	}
	switch {
	case s == nil, parts[1] != "default" && !strings.EqualFold(parts[1], "default"), len(parts) == 4 && !strings.EqualFold(parts[2], s.children):
		return nil, "", patchbay.Errorf(patchbay.ChildMissing, "a storage account has no %s", driver.Quoted(short(sub))).
			WithFix("name one of its services, and what is in it: …/blobServices/default/containers/NAME")
	case len(parts) == 2:
		return s, "", nil
	}
	if name, err = driver.NameIn(parts[3]); err != nil {
		return nil, "", err
	}
	return s, name, s.check(name)
}

// childOf is what a connection is for: what its target id names, or an option, or the
// registration.
func (c config) childOf(sub string, options map[string]string) (child, error) {
	s, name, err := serviceOf(sub)
	if err != nil {
		return child{}, err
	}
	for _, other := range services {
		asked := options[other.option]
		switch {
		case asked == "":
		case other != s:
			return child{}, patchbay.Errorf(patchbay.InvalidArgument, "the option %s is not for the account's %s", other.option, s.plural)
		case name != "" && asked != name:
			return child{}, patchbay.Errorf(patchbay.InvalidArgument, "the target names the %s %s, and the option %s another", s.noun, driver.Quoted(name), s.option)
		default:
			name = asked
		}
	}
	if name == "" {
		name = c.defaults[s.name]
	}
	if name == "" {
		return child{}, patchbay.Errorf(patchbay.InvalidArgument, "nobody says which %s of the account the connection is for: a login is made for one", s.noun).
			WithFix("name it, with --option %s=NAME, or register one for those that name none: --%s NAME", s.option, s.option)
	}
	if _, err := c.placeOf(s); err != nil {
		return child{}, err
	}
	return child{s, name}, s.check(name)
}

// placeOf is where a service is.
func (c config) placeOf(s *service) (place, error) {
	at, ok := c.at[s.name]
	if !ok {
		return place{}, patchbay.Errorf(patchbay.ChildMissing, "nobody says where the account's %s are: its endpoint is not one of Azure's, which have blob in their names", s.plural).
			WithFix("register it with its --%s-endpoint", s.name)
	}
	return at, nil
}

// short is what is shown of a name.
func short(name string) string {
	const most = 100
	if len(name) <= most {
		return name
	}
	return strings.ToValidUTF8(name[:most], "") + "…"
}
