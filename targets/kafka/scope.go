package kafka

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	optionTopics        = "topics"
	optionGroups        = "groups"
	optionTransactional = "transactional"
	optionHosts         = "hosts"
)

const (
	maxTopic  = 249 // Kafka's own bound, in bytes
	maxPrefix = 200 // a probe appends a name of its own
	maxScope  = 64  // of each kind
	maxHosts  = 16  // each right is there once for each
)

var (
	topicForm = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)
	// Kafka takes any text for a group or a transactional id; of what is left out here
	// a comma divides our own lists, and * would be a rule for all.
	otherForm = regexp.MustCompile(`^[a-zA-Z0-9._:/@+=#~!$%&()\[\]{}-]+$`)
)

// internal are the topics in which Kafka keeps what is its own: offsets of every group,
// the states of transactions.
var internal = []string{"__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata"}

// pattern is a name, or all names that begin with one.
type pattern struct {
	name     string
	prefixed bool
}

func (p pattern) String() string {
	if p.prefixed {
		return p.name + "*"
	}
	return p.name
}

// has reports whether a name is of it.
func (p pattern) has(name string) bool {
	if p.prefixed {
		return strings.HasPrefix(name, p.name)
	}
	return p.name == name
}

// covers reports whether all that q has is p's.
func (p pattern) covers(q pattern) bool { return p.has(q.name) && (p.prefixed || !q.prefixed) }

func anyHas(all []pattern, name string) bool {
	return slices.ContainsFunc(all, func(p pattern) bool { return p.has(name) })
}

// scope is what a login may use, each list sorted and without duplicates.
type scope struct {
	topics, groups, transactional []pattern
	hosts                         []string // as Kafka writes addresses; none: from everywhere
}

func newScope(topics, groups, transactional []string) (s scope, err error) {
	if s.topics, err = parsePatterns("topic", topics, topicForm); err != nil {
		return scope{}, err
	}
	if s.groups, err = parsePatterns("consumer group", groups, otherForm); err != nil {
		return scope{}, err
	}
	s.transactional, err = parsePatterns("transactional id", transactional, otherForm)
	return s, err
}

func parsePatterns(what string, list []string, form *regexp.Regexp) ([]pattern, error) {
	var all []pattern
	for _, text := range list {
		p, err := parsePattern(what, strings.TrimSpace(text), form)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b pattern) int { return strings.Compare(a.String(), b.String()) })
	if all = slices.Compact(all); len(all) > maxScope {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "there are more than %d %ss", maxScope, what)
	}
	return all, nil
}

func parsePattern(what, text string, form *regexp.Regexp) (pattern, error) {
	var p pattern
	p.name, p.prefixed = strings.CutSuffix(text, "*")
	bad := func(why string) error {
		return patchbay.Errorf(patchbay.InvalidArgument, "the %s %s %s", what, strconv.Quote(driver.Quoted(text)), why)
	}
	switch {
	case p.prefixed && p.name == "":
		return p, bad("would be all of the cluster's, Kafka's own too: name what they begin with, as in orders.*")
	case p.prefixed && len(p.name) > maxPrefix:
		return p, bad("is too long: at most " + strconv.Itoa(maxPrefix) + " characters before the *")
	case len(p.name) > maxTopic:
		return p, bad("is too long: at most " + strconv.Itoa(maxTopic) + " characters")
	case !form.MatchString(p.name) || p.name == "." && !p.prefixed || p.name == "..":
		return p, bad("can't be one; a * is for all that begin so, and stands at the end")
	}
	if what != "topic" {
		return p, nil
	}
	for _, own := range internal {
		if p.has(own) {
			return p, bad("has " + own + " in it, which is Kafka's own")
		}
	}
	return p, nil
}

// scopeOf is what a login of that name gets: the registration's, or those that are asked
// for, which stay within it.
func (c *config) scopeOf(name string, options map[string]string) (scope, error) {
	for option := range options {
		if !slices.Contains([]string{optionTopics, optionGroups, optionTransactional, optionHosts}, option) {
			return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "a login of Kafka has no option %s; there are topics, groups, transactional, hosts", strconv.Quote(driver.Quoted(option)))
		}
	}
	asked, err := newScope(listOf(options[optionTopics]), listOf(options[optionGroups]), listOf(options[optionTransactional]))
	if err != nil {
		return scope{}, err
	}
	s := scope{}
	for _, l := range []struct {
		what         string
		into         *[]pattern
		asked, limit []pattern
	}{
		{"topic", &s.topics, asked.topics, c.scope.topics},
		{"consumer group", &s.groups, asked.groups, c.scope.groups},
		{"transactional id", &s.transactional, asked.transactional, c.scope.transactional},
	} {
		*l.into = l.asked
		if len(l.asked) == 0 {
			*l.into = l.limit
		}
		for _, p := range l.asked {
			if len(l.limit) > 0 && !slices.ContainsFunc(l.limit, func(of pattern) bool { return of.covers(p) }) {
				return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "the %s %s is not within those of the registration: %s", l.what, p, listing(l.limit))
			}
		}
	}
	if len(s.topics) == 0 {
		return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "neither the registration nor the request names a topic").
			WithFix("--option topics='orders.*'")
	}
	if len(s.groups) == 0 {
		s.groups = []pattern{{ownGroup(name), true}}
	}
	if s.hosts, err = parseHosts(options[optionHosts]); err != nil {
		return scope{}, err
	}
	return s, nil
}

// ownGroup is what the consumer groups of a connection begin with: the same in all
// generations of its login, for the group's offsets are what it has read so far.
func ownGroup(name string) string {
	if at := strings.LastIndex(name, "_g"); at > 0 {
		return name[:at]
	}
	return name
}

// group is the consumer group that an application is told to use.
func (s scope) group(name string) string {
	first := s.groups[0]
	switch {
	case !first.prefixed:
		return first.name
	case first.name == ownGroup(name):
		return first.name
	}
	return first.name + ownGroup(name)
}

func listOf(text string) []string {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func listing(all []pattern) string {
	var words []string
	for _, p := range all {
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}

func parseHosts(text string) ([]string, error) {
	var all []string
	for _, one := range listOf(text) {
		a, err := netip.ParseAddr(strings.TrimSpace(one))
		if err != nil || a.Zone() != "" || a.IsUnspecified() {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "hosts has %s, which is not one address", strconv.Quote(driver.Quoted(one))).
				WithFix("name each address; Kafka's rules know no networks and no names")
		}
		all = append(all, javaAddress(a))
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) > maxHosts {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "there are more than %d hosts", maxHosts)
	}
	return all, nil
}

// javaAddress is an address as a broker compares it, as text: of IPv6 every group, without
// zeros in front.
func javaAddress(a netip.Addr) string {
	a = a.Unmap()
	if a.Is4() {
		return a.String()
	}
	var groups []string
	b := a.As16()
	for i := 0; i < len(b); i += 2 {
		groups = append(groups, strconv.FormatUint(uint64(b[i])<<8|uint64(b[i+1]), 16)) //nolint:gosec // an address has an even number of bytes
	}
	return strings.Join(groups, ":")
}
