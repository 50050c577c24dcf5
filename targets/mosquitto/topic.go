package mosquitto

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	optionTopics    = "topics"
	optionSubscribe = "subscribe"
	optionPublish   = "publish"
	optionShares    = "shares"

	maxFilter  = 255 // bytes
	maxFilters = 64  // in a list

	systemTopics = "$SYS"
)

// scope is what a login may use: topic filters, sorted and without duplicates.
type scope struct {
	subscribe, publish []string
	shares             []string // names of shared subscriptions
}

// shareForm is narrower than MQTT's: a name of a share is in a filter.
var shareForm = regexp.MustCompile(`^[\p{L}\p{N}_.:=@~-]{1,64}$`)

// scopeOf is what an access and its options ask for.
func (c config) scopeOf(access patchbay.Access, options map[string]string) (scope, error) {
	if access != patchbay.Reader && access != patchbay.Writer {
		return scope{}, invalid("access is %s, and can be reader or writer", driver.Quoted(string(access)))
	}
	named := map[string][]string{}
	for name, value := range options {
		items := strings.Split(value, ",")
		for i := range items {
			items[i] = strings.TrimSpace(items[i])
		}
		var err error
		switch name {
		case optionTopics, optionSubscribe, optionPublish:
			items, err = filters("the option "+name, items)
		case optionShares:
			if i := slices.IndexFunc(items, func(s string) bool { return !shareForm.MatchString(s) }); i >= 0 {
				err = invalid("%s is not the name of a shared subscription", driver.Quoted(items[i]))
			}
		default:
			err = invalid("Mosquitto has no option %s, only %s, %s, %s and %s", driver.Quoted(name), optionTopics, optionSubscribe, optionPublish, optionShares)
		}
		if err != nil {
			return scope{}, err
		}
		named[name] = items
	}
	both, subscribe, publish := named[optionTopics], named[optionSubscribe], named[optionPublish]
	if len(both)+len(subscribe)+len(publish) == 0 {
		both = c.topics
	} else if err := c.within(both, subscribe, publish); err != nil {
		return scope{}, err
	}
	s := scope{subscribe: sorted(append(slices.Clone(both), subscribe...)), shares: sorted(named[optionShares])}
	if access == patchbay.Writer {
		s.publish = sorted(append(slices.Clone(both), publish...))
	}
	return s, s.check(access, publish)
}

// check refuses a scope that is not what its access says.
func (s scope) check(access patchbay.Access, publish []string) error {
	switch {
	case access == patchbay.Reader && len(publish) > 0:
		return invalid("a reader publishes nothing: the option %s is for writers", optionPublish)
	case len(s.subscribe)+len(s.publish) == 0:
		return invalid("neither the connection nor the registration says which topics may be used").WithFix("repeat with --option topics=orders/#")
	case access == patchbay.Writer && len(s.publish) == 0:
		return invalid("a writer with nothing to publish to is a reader").WithFix("repeat with --access reader, or with --option publish=…")
	case len(s.shares) > 0 && len(s.subscribe) == 0:
		return invalid("the option %s is for who subscribes to something", optionShares)
	case len(s.shares)*len(s.subscribe) > 4*maxFilters:
		return invalid("there are more than %d topics of shared subscriptions", 4*maxFilters)
	}
	for _, f := range s.publish {
		if level(f) == systemTopics {
			return invalid("nobody but the broker publishes to %s/…: the option %s is for such topics", systemTopics, optionSubscribe)
		}
	}
	return nil
}

// within refuses what the registration's topics don't have.
func (c config) within(lists ...[]string) error {
	for _, f := range slices.Concat(lists...) {
		if len(c.topics) > 0 && !slices.ContainsFunc(c.topics, func(wide string) bool { return covers(wide, f) }) {
			return invalid("%s is not among the topics that were registered: %s", driver.Quoted(f), driver.Quoted(strings.Join(c.topics, ", ")))
		}
	}
	return nil
}

// filters checks topic filters.
func filters(what string, list []string) ([]string, error) {
	if len(list) > maxFilters {
		return nil, invalid("%s has more than %d topics", what, maxFilters)
	}
	for _, f := range list {
		if why := wrong(f); why != "" {
			return nil, invalid("%s has %s, which %s", what, driver.Quoted(f), why)
		}
	}
	return sorted(list), nil
}

// wrong says why a text is no topic filter that a login is given; "" when it is one.
// Of the topics that brokers keep to themselves only $SYS is given.
func wrong(f string) string {
	switch {
	case f == "" || len(f) > maxFilter:
		return "is empty or too long"
	case !utf8.ValidString(f) || strings.ContainsFunc(f, hidden):
		return "has characters that are none of a topic"
	case strings.HasPrefix(f, "$") && level(f) != systemTopics:
		return "is one of the broker's own, or of a shared subscription: there is the option " + optionShares
	}
	levels := strings.Split(f, "/")
	for i, l := range levels {
		switch {
		case l == "#" && i < len(levels)-1:
			return "goes on behind #"
		case len(l) > 1 && strings.ContainsAny(l, "+#"):
			return "has + or # beside something else between two slashes"
		}
	}
	return ""
}

// level is the first of a topic's.
func level(topic string) string {
	first, _, _ := strings.Cut(topic, "/")
	return first
}

// covers reports whether every topic of the narrow filter is one of the wide one.
func covers(wide, narrow string) bool {
	w, n := strings.Split(wide, "/"), strings.Split(narrow, "/")
	if strings.HasPrefix(narrow, "$") != strings.HasPrefix(wide, "$") {
		return false // no wildcard is for those
	}
	for i, l := range w {
		switch {
		case l == "#":
			return true
		case i >= len(n):
			return false
		case n[i] == "#" || l != "+" && l != n[i]:
			return false
		}
	}
	return len(w) == len(n)
}

// example is a topic of the filter, in which unknown stands for the wildcards.
func example(filter, unknown string) string {
	levels := strings.Split(filter, "/")
	for i, l := range levels {
		if l == "+" || l == "#" {
			levels[i] = unknown
		}
	}
	return strings.Join(levels, "/")
}

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}
