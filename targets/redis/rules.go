package redis

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/gomodule/redigo/redis"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

var accesses = []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}

const (
	optionKeys     = "keys"
	optionChannels = "channels"

	everything  = "*"
	maxPatterns = 64
	maxPattern  = 512 // bytes
)

// scope is what a login may reach.
type scope struct {
	database       string // its number
	keys, channels []string
}

// scopeOf reads the options of a request.
func scopeOf(sub string, options map[string]string) (scope, error) {
	s := scope{database: sub, keys: []string{everything}}
	for name, text := range options {
		var err error
		switch name {
		case optionKeys:
			s.keys, err = patterns(name, text)
		case optionChannels:
			s.channels, err = patterns(name, text)
		default:
			return s, invalid("Redis logins have no option %q; there are %s, %s", driver.Quoted(name), optionKeys, optionChannels)
		}
		if err != nil {
			return s, err
		}
	}
	if s.channels == nil {
		s.channels = s.keys
	}
	return s, nil
}

// patterns are those of an option. What the server takes for something else, or can't
// hold, is refused.
func patterns(option, text string) ([]string, error) {
	var all []string
	for p := range strings.SplitSeq(text, ",") {
		p = strings.TrimSpace(p)
		switch {
		case p == "":
			return nil, invalid("the option %s has an empty pattern", option)
		case len(p) > maxPattern:
			return nil, invalid("the option %s has a pattern of more than %d bytes", option, maxPattern)
		case strings.ContainsFunc(p, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == unicode.ReplacementChar }):
			return nil, invalid("the option %s has a pattern with a space or control character in it, which Redis can't hold", option).
				WithFix("put ? in its place")
		case strings.ContainsRune("~&%+-()", rune(p[0])):
			return nil, invalid("the option %s has a pattern that begins with %q, as rules of Redis do", option, p[:1]).
				WithFix("write the pattern alone, orders:*; a key that begins so is [%s]", p[:1])
		}
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	if len(all) > maxPatterns {
		return nil, invalid("the option %s has more than %d patterns", option, maxPatterns)
	}
	if slices.Contains(all, everything) {
		return []string{everything}, nil
	}
	return all, nil
}

func whole(patterns []string) bool { return slices.Equal(patterns, []string{everything}) }

// databaseOf refuses what is not the number of a database.
func databaseOf(sub string) error {
	n, err := strconv.ParseUint(sub, 10, 31)
	if err != nil || strconv.FormatUint(n, 10) != sub {
		return patchbay.Errorf(patchbay.ChildMissing, "a database of Redis is a number from 0, not %q", driver.Quoted(sub))
	}
	return nil
}

// commandRules are the commands of an access, in order: each counts more than those
// before it. What a server does not have is left out of them.
func (s scope) commandRules(access patchbay.Access, have commands) []string {
	rules := []string{nothing, "+@read", "+@connection", "+@transaction"}
	if access != patchbay.Reader {
		rules = append(rules, "+@write")
	}
	rules = append(rules, "-@dangerous", "-@admin", "-@scripting",
		// Clients ask these when they begin. INFO tells numbers of the whole server.
		"+info", "+time", "+acl|whoami",
		"+cluster|info", "+cluster|keyslot", "+cluster|myid", "+cluster|nodes", "+cluster|shards", "+cluster|slots",
		// They name another database, which rules can't tell apart.
		"-move", "-copy", "-select", "+select|"+s.database,
		"+psubscribe", "+punsubscribe", "+ssubscribe", "+subscribe", "+sunsubscribe", "+unsubscribe",
		"+pubsub|numpat", "+pubsub|numsub", "+pubsub|shardnumsub")
	if whole(s.channels) {
		rules = append(rules, "+pubsub|channels", "+pubsub|shardchannels")
	}
	if access != patchbay.Reader {
		rules = append(rules, "+publish", "+spublish",
			// A script may do what its caller may, and no more.
			"+eval", "+eval_ro", "+evalsha", "+evalsha_ro", "+fcall", "+fcall_ro", "+script|exists", "+script|load")
	}
	if access == patchbay.Owner {
		rules = append(rules, "+sort", "+sort_ro")
		if whole(s.keys) {
			rules = append(rules, "+flushdb", "+keys")
		}
	}
	if !whole(s.keys) {
		// They tell of keys whatever their names are, and so do searches of modules.
		rules = append(rules, "-scan", "-randomkey", "-client|tracking", "-client|caching")
		for _, name := range have.names {
			if strings.HasPrefix(name, "ft.") || strings.HasPrefix(name, "ts.m") || name == "ts.queryindex" {
				rules = append(rules, "-"+name)
			}
		}
	}
	return slices.DeleteFunc(rules, func(r string) bool {
		name, _, _ := strings.Cut(strings.TrimLeft(r, "+-"), "|")
		return !strings.HasPrefix(name, "@") && !have.known[name] && !have.known[strings.TrimLeft(r, "+-")]
	})
}

// keyRules and channelRules are as ACL GETUSER tells them, too.
func (s scope) keyRules(access patchbay.Access) []string {
	prefix := "~"
	if access == patchbay.Reader {
		prefix = "%R~"
	}
	return prefixed(prefix, s.keys)
}

func (s scope) channelRules() []string { return prefixed("&", s.channels) }

func prefixed(prefix string, all []string) []string {
	out := make([]string, len(all))
	for i, p := range all {
		out[i] = prefix + p
	}
	return out
}

// commands are what a server has: each command, name or name|subcommand, and its
// categories.
type commands struct {
	names      []string
	known      map[string]bool
	categories map[string][]string
	containers map[string][]string // what is below a name
}

// commandsOf reads the answers to ACL CAT of each category.
func commandsOf(categories []string, lists []any) (commands, error) {
	c := commands{known: map[string]bool{}, categories: map[string][]string{}, containers: map[string][]string{}}
	for i, category := range categories {
		names, err := redis.Strings(lists[i], nil)
		if err != nil {
			return c, err
		}
		c.categories[category] = names
		for _, name := range names {
			c.known[name] = true
		}
	}
	c.names = slices.Sorted(maps.Keys(c.known))
	for _, name := range c.names {
		if parent, _, below := strings.Cut(name, "|"); below {
			c.containers[parent] = append(c.containers[parent], name)
		}
	}
	return c, nil
}

// effective are the commands that rules come to; of one that may be run with a certain
// first argument alone, name|argument. Rules are as a server writes them; what they
// name and it does not have counts as it stands.
func (c commands) effective(rules []string) map[string]bool {
	may := map[string]bool{}
	var arguments []string // of what may be run with a certain first one
	set := func(name string, to bool) {
		arguments = slices.DeleteFunc(arguments, func(had string) bool {
			parent, _, _ := strings.Cut(had, "|")
			if parent == name {
				delete(may, had)
			}
			return parent == name
		})
		if to && !c.known[name] && strings.Contains(name, "|") {
			arguments = append(arguments, name)
		}
		for _, one := range append([]string{name}, c.containers[name]...) {
			if to {
				may[one] = true
			} else {
				delete(may, one)
			}
		}
	}
	for _, rule := range rules {
		switch rule {
		case "allcommands":
			rule = "+@all"
		case "nocommands":
			rule = nothing
		}
		to := strings.HasPrefix(rule, "+")
		name := strings.ToLower(strings.TrimLeft(rule, "+-"))
		category, ofAll := strings.CutPrefix(name, "@")
		switch {
		case category == "all" && ofAll:
			clear(may)
			arguments = nil
			if to {
				for _, one := range c.names {
					may[one] = true
				}
			}
		case ofAll:
			for _, one := range c.categories[category] {
				set(one, to)
			}
		default:
			set(name, to)
		}
	}
	// What is below them is what can be run.
	for parent := range c.containers {
		if parent != "command" {
			delete(may, parent)
		}
	}
	return may
}

// less are the names of a that b does not have, sorted. Whoever may run a command may
// run it with any argument.
func less(a, b map[string]bool) []string {
	var all []string
	for name := range a {
		parent, _, below := strings.Cut(name, "|")
		if !b[name] && (!below || !b[parent]) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}
