package arm

import (
	"cmp"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"patchbay.dev/patchbay"
)

// Route is what a path leads to, by the name that the server's table of routes
// gives it. There is a fixed set of them: a route is a label of metrics and
// spans, a path is not.
type Route string

// RouteUnknown is where a path leads that leads nowhere.
const RouteUnknown Route = "unknown"

// Path is a request path, understood.
type Path struct {
	Route Route
	// Scope is the id that the route hangs on: a linker's source, a connector's
	// location, a resource, a subscription; "" at the root.
	Scope patchbay.ID
	// Linker is the connection's id, a connector's too, with the casing of the
	// request.
	Linker patchbay.ID
	// Dryrun is the dryrun's id.
	Dryrun patchbay.ID
	// Name is the connection's or dryrun's name, the operation's or leftover's id,
	// the principal's, tenant's or role's, a provider's namespace, or a site's
	// configuration's.
	Name string
	// Location is the location that a connector, its dryrun or an operation's
	// status is in.
	Location string
	// Action is the last word of an action, in lower case.
	Action string
}

// linkerName is what a connection may be called. az takes letters, digits, dot
// and underscore; a dash is allowed besides, because people ask for it
// (contract section 9, 7). Sixty leaves room for what is made from it.
var linkerName = regexp.MustCompile(`^[A-Za-z0-9._-]{1,60}$`)

// CheckLinkerName says whether a connection may have that name.
func CheckLinkerName(name string) error {
	if !linkerName.MatchString(name) || name == "." || name == ".." {
		return patchbay.Errorf(patchbay.InvalidArgument,
			"the connection name %s is not 1 to 60 letters, digits, dots, underscores and dashes", quote(name))
	}
	return nil
}

// Router finds the route of a path. The zero value knows none.
type Router struct {
	patterns []pattern // in the order that they are tried
}

// pattern is where a route hangs, and what is behind that.
type pattern struct {
	route Route
	heads []string // keys of heads; none: the root of the path
	tail  []string // words, and segments in braces: keys of segments
	words []string // what {action} may be, in lower case
}

// Add adds a route. Its pattern begins with what the route hangs on:
//
//	/                nothing: what follows is the whole path
//	{subscription}   an id of that kind, or of one of several: {subscription|group};
//	                 the kinds are subscription, group, linker, connector, source,
//	                 site, resource, id, and root, which is no id at all
//
// and goes on with words, which are taken in any case, and names in braces:
// {name} of a connection or dryrun, {operation}, {status} and {leftover} by
// their ids, {principal}, {tenant} and {role} by theirs, {namespace},
// {config}, {location}, and {action}, which is one of actions. The error says
// what of the pattern is none of that.
func (r *Router) Add(route Route, path string, actions ...string) error {
	p := pattern{route: route, tail: strings.Split(strings.Trim(path, "/"), "/")}
	if !strings.HasPrefix(path, "/") {
		p.heads = strings.Split(strings.Trim(p.tail[0], "{}"), "|")
		p.tail = p.tail[1:]
	}
	for _, kind := range p.heads {
		if heads[kind] == nil {
			return patchbay.Errorf(patchbay.Internal, "the route %s: nothing is known of an id {%s}", route, kind)
		}
	}
	for i, word := range p.tail {
		name, variable := inBraces(word)
		switch {
		case variable && segments[name] == nil:
			return patchbay.Errorf(patchbay.Internal, "the route %s: nothing is known of a segment %s", route, word)
		case name == "name" && (i == 0 || !slices.Contains(collections, p.tail[i-1])):
			return patchbay.Errorf(patchbay.Internal, "the route %s: a {name} has to follow one of %s", route, strings.Join(collections, ", "))
		}
	}
	if slices.Contains(p.tail, "{action}") != (len(actions) > 0) {
		return patchbay.Errorf(patchbay.Internal, "the route %s: {action} has to be in its pattern, and actions be given, or neither", route)
	}
	for _, a := range actions {
		p.words = append(p.words, strings.ToLower(a))
	}
	r.patterns = append(r.patterns, p)
	// What says more is tried first: {site}/config/{config} before {resource}.
	slices.SortStableFunc(r.patterns, func(a, b pattern) int {
		return cmp.Or(cmp.Compare(len(b.tail), len(a.tail)), cmp.Compare(b.literals(), a.literals()))
	})
	return nil
}

func (p pattern) literals() (n int) {
	for _, word := range p.tail {
		if _, ok := inBraces(word); !ok {
			n++
		}
	}
	return n
}

func inBraces(word string) (string, bool) {
	name, ok := strings.CutPrefix(word, "{")
	return strings.TrimSuffix(name, "}"), ok
}

// Parse understands the path of a request, still percent-encoded. Words of ARM
// are taken in any case and doubled slashes are folded; a source's id may
// itself hold /providers/, so a route is compared from its end. A path that
// leads nowhere is RouteUnknown with an error of 404 or 400.
func (r *Router) Parse(escaped string) (Path, error) {
	unknown := Path{Route: RouteUnknown}
	if len(escaped) > 3*patchbay.MaxIDLength {
		return unknown, patchbay.Errorf(patchbay.InvalidResourceID, "the path is longer than %d bytes", 3*patchbay.MaxIDLength)
	}
	var parts []string
	for raw := range strings.SplitSeq(escaped, "/") {
		if raw == "" {
			continue
		}
		part, err := url.PathUnescape(raw)
		if err != nil || strings.Contains(part, "/") {
			return unknown, patchbay.Errorf(patchbay.InvalidResourceID, "the path has a segment that is not well encoded: %s", quote(raw))
		}
		parts = append(parts, part)
	}
	for _, p := range r.patterns {
		head, ok := p.behind(parts)
		if !ok {
			continue
		}
		if path, ok := p.hangsOn(parts[:head]); ok {
			return p.read(path, parts[head:])
		}
	}
	return unknown, nowhere(parts)
}

// behind reports whether the path ends as the pattern does, and how many parts
// are before that.
func (p pattern) behind(parts []string) (head int, ok bool) {
	head = len(parts) - len(p.tail)
	if head < 0 || len(p.heads) == 0 && head > 0 {
		return 0, false
	}
	for i, word := range p.tail {
		name, variable := inBraces(word)
		part := parts[head+i]
		switch {
		case name == "action" && !slices.Contains(p.words, strings.ToLower(part)),
			!variable && !is(part, word):
			return 0, false
		}
	}
	return head, true
}

// hangsOn is what the parts name, when that is of a kind that the pattern hangs
// on.
func (p pattern) hangsOn(parts []string) (Path, bool) {
	switch {
	case len(p.heads) == 0:
		return Path{}, true
	case len(parts) == 0:
		return Path{Scope: patchbay.RootScope}, slices.Contains(p.heads, "root")
	}
	id, err := parseScope(parts)
	if err != nil {
		return Path{}, false
	}
	for _, kind := range p.heads {
		if heads[kind](id) {
			return headed(id, kind), true
		}
	}
	return Path{}, false
}

// read completes the path with what its last parts say.
func (p pattern) read(path Path, parts []string) (Path, error) {
	path.Route = p.route
	if path.Linker != "" {
		if err := CheckLinkerName(path.Name); err != nil {
			return path, err
		}
	}
	for i, word := range p.tail {
		name, variable := inBraces(word)
		if !variable {
			continue
		}
		if err := segments[name](&path, parts[i]); err != nil {
			if patchbay.CodeOf(err) == InvalidResourceType {
				path = Path{Route: RouteUnknown}
			}
			return path, err
		}
		if name == "name" {
			path.in(p.tail[:i])
		}
	}
	return path, nil
}

// collections are what a {name} is in.
var collections = []string{"linkers", "connectors", "dryruns"}

// in completes the path of one of a collection, with its id.
func (p *Path) in(collection []string) {
	last := collection[len(collection)-1]
	id := p.Scope.Child(strings.Join(collection, "/"), p.Name)
	if p.Location != "" {
		id = p.Scope.Child(last, p.Name) // the location is in the scope already
	}
	if last == "dryruns" {
		p.Dryrun = id
	} else {
		p.Linker = id
	}
}

// heads are the kinds of ids that routes hang on.
var heads = map[string]func(patchbay.ID) bool{
	"root":         func(patchbay.ID) bool { return false },
	"id":           func(patchbay.ID) bool { return true },
	"subscription": func(id patchbay.ID) bool { return strings.Count(string(id), "/") == 2 },
	"group":        isGroup,
	"linker":       func(id patchbay.ID) bool { return isConnection(id) && !id.IsLocal() },
	"connector":    patchbay.ID.IsLocal,
	"source":       func(id patchbay.ID) bool { return !isConnection(id) },
	"site":         IsSite,
	"resource":     func(id patchbay.ID) bool { return strings.Contains(id.Type(), "/") && !isOurs(id) },
}

func isGroup(id patchbay.ID) bool {
	return id.ResourceGroup() != "" && strings.Count(string(id), "/") == 4
}

func isConnection(id patchbay.ID) bool {
	_, _, ok := id.ConnectionSource()
	return ok
}

// isOurs reports whether the id is below one of the providers that have routes
// of their own.
func isOurs(id patchbay.ID) bool {
	_, _, _, ok := lastOurs(strings.Split(string(id), "/"))
	return ok
}

// headed is the path of what hangs on an id of that kind.
func headed(id patchbay.ID, kind string) Path {
	source, name, _ := id.ConnectionSource()
	switch kind {
	case "linker":
		return Path{Scope: source, Linker: source.Linker(name), Name: name}
	case "connector":
		return Path{Scope: source, Linker: source.Local(name), Name: name}
	}
	return Path{Scope: id}
}

// operationID is what an operation may be called, and what it left.
var operationID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,100}$`)

// segments are what the names in braces say, and what each may be.
var segments = map[string]func(*Path, string) error{
	"action":    func(p *Path, s string) error { p.Action = strings.ToLower(s); return nil },
	"config":    func(p *Path, s string) error { p.Name = strings.ToLower(s); return nil },
	"principal": named,
	"role":      named,
	"tenant":    named,
	"location": func(p *Path, s string) (err error) {
		p.Location = s
		if isGroup(p.Scope) {
			p.Scope, err = patchbay.ParseID(string(p.Scope.Location(s)))
		}
		return err
	},
	"name": func(p *Path, s string) error {
		p.Name = s
		return CheckLinkerName(s)
	},
	"namespace": func(p *Path, s string) error {
		if !namespace.MatchString(s) {
			return nothingAt("/providers/" + shown([]string{s}))
		}
		return named(p, s)
	},
	"operation": func(p *Path, s string) error {
		if !operationID.MatchString(s) {
			return patchbay.Errorf(patchbay.ResourceNotFound, "there is no operation %s", quote(s))
		}
		return named(p, s)
	},
	"leftover": func(p *Path, s string) error { // they are named after operations
		if !operationID.MatchString(s) {
			return nothingAt("/providers/" + OwnProvider + "/leftovers/" + shown([]string{s}))
		}
		return named(p, s)
	},
	"status": func(p *Path, s string) error {
		id, ok := splitStatusName(p.Scope.Subscription(), s)
		if !ok {
			return patchbay.Errorf(patchbay.ResourceNotFound, "there is no operation %s", quote(s))
		}
		return named(p, id)
	},
}

func named(p *Path, s string) error { p.Name = s; return nil }

// lastOurs finds the last of the providers that have routes of their own: what
// is before it, and behind it.
func lastOurs(parts []string) (provider string, scope, rest []string, ok bool) {
	for i := len(parts) - 2; i >= 0; i-- {
		if !is(parts[i], "providers") {
			continue
		}
		for _, ours := range []string{Provider, OwnProvider, AuthorizationProvider} {
			if is(parts[i+1], ours) {
				return ours, parts[:i], parts[i+2:], true
			}
		}
	}
	return "", nil, nil, false
}

// nowhere is the answer to a path that leads nowhere.
func nowhere(parts []string) error {
	provider, scope, rest, ours := lastOurs(parts)
	switch {
	case ours && len(scope) == 0:
		return nothingAt("/providers/" + provider + "/" + shown(rest))
	case ours:
		id, err := parseScope(scope)
		if err != nil {
			return err
		}
		at := "{scope}"
		if isConnection(id) {
			at = "{connection}"
		}
		return nothingAt(at + "/providers/" + provider + "/" + shown(rest))
	case len(parts) == 0 || !is(parts[0], "subscriptions"):
		return nothingAt("/" + shown(parts))
	}
	id, err := parseScope(parts)
	if err != nil {
		return err
	}
	return nothingAt(quote(string(id)))
}

func nothingAt(what string) error {
	return patchbay.Errorf(InvalidResourceType, "there is nothing at %s", what)
}

func parseScope(parts []string) (patchbay.ID, error) {
	return patchbay.ParseID("/" + strings.Join(parts, "/"))
}

func is(s, word string) bool { return strings.EqualFold(s, word) }

// shown is what was asked for, shortened, for a message.
func shown(parts []string) string {
	const limit = 120
	s := strings.ToValidUTF8(strings.Join(parts, "/"), "")
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
