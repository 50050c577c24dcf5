package rabbitmq

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	optionQueues    = "queues"
	optionExchanges = "exchanges"
	optionTopics    = "topics"

	// defaultExchange is what permissions call the exchange without a name, which
	// brings messages to the queue that the routing key names.
	defaultExchange = "amq.default"
	// temporary are queues that the server names, for one client each.
	temporary  = "amq.gen-*"
	everything = ".*"

	maxNames = 64  // in one option
	maxName  = 255 // bytes, as AMQP has them
)

var nameForm = regexp.MustCompile(`^pb_[a-z0-9_]{1,37}$`)

// nameOf is the name of a connection's login.
func nameOf(m driver.Mark) string { return "pb_" + m.UID + "_g" + strconv.FormatInt(m.Generation, 10) }

// markIn is the mark that a login's name says: all but which connection's it is.
func markIn(name string) (m driver.Mark, ok bool) {
	rest, ours := strings.CutPrefix(name, "pb_")
	at := strings.LastIndex(rest, "_g")
	if !ours || at <= 0 {
		return driver.Mark{}, false
	}
	m.UID = rest[:at]
	var err error
	m.Generation, err = strconv.ParseInt(rest[at+len("_g"):], 10, 64)
	return m, err == nil && m.Generation > 0 && nameOf(m) == name
}

// checkIdentity checks what a login is found by.
func checkIdentity(r driver.LoginRequest) error {
	switch {
	case !nameForm.MatchString(r.Name):
		return patchbay.Errorf(patchbay.InvalidArgument, "%q is not the name of a login", short(r.Name))
	case r.Mark.UID == "" || r.Mark.Generation <= 0:
		return patchbay.Errorf(patchbay.InvalidArgument, "the login %s has no connection or generation", r.Name)
	}
	return nil
}

// check checks everything of a request that can be checked without the server, and
// gives the virtual host and the scope that it asks for.
func check(r driver.LoginRequest) (vhost string, s scope, err error) {
	if err := checkIdentity(r); err != nil {
		return "", scope{}, err
	}
	switch {
	case r.Auth != patchbay.AuthSecret:
		return "", scope{}, patchbay.Errorf(patchbay.NotSupported, "a RabbitMQ login signs in with a secret, not with %q", r.Auth)
	case len(r.Roles) > 0:
		return "", scope{}, patchbay.Errorf(patchbay.NotSupported, "RabbitMQ has no roles to give: use access, queues and exchanges")
	case len(r.Sources) > 0:
		return "", scope{}, patchbay.Errorf(patchbay.NotSupported, "a RabbitMQ login is not bound to addresses")
	}
	if vhost, err = vhostOf(r.Sub); err != nil {
		return "", scope{}, err
	}
	s, err = scopeOf(r.Access, r.Options)
	return vhost, s, err
}

// scope is what of a virtual host is meant.
type scope struct {
	all               bool
	queues, exchanges []string // in which * stands for any characters
	topics            []string // routing keys; none: all
}

func scopeOf(access patchbay.Access, options map[string]string) (scope, error) {
	switch access {
	case patchbay.Reader, patchbay.Writer, patchbay.Owner:
	default:
		return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "access is %q, and can be reader, writer or owner", short(string(access)))
	}
	var s scope
	for _, name := range slices.Sorted(maps.Keys(options)) {
		items, err := namesIn(name, options[name])
		if err != nil {
			return scope{}, err
		}
		switch name {
		case optionQueues:
			s.queues = items
		case optionExchanges:
			s.exchanges = items
		case optionTopics:
			s.topics = items
		default:
			return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "RabbitMQ has no option %q, only %s, %s and %s", short(name), optionQueues, optionExchanges, optionTopics)
		}
	}
	s.all = len(s.queues) == 0 && len(s.exchanges) == 0
	if !s.all && len(s.exchanges) == 0 && access != patchbay.Reader {
		s.exchanges = []string{defaultExchange} // there is no other way to send to a queue
	}
	return s, s.checkTopics()
}

// namesIn are the names in an option.
func namesIn(option, value string) ([]string, error) {
	var items []string
	for item := range strings.SplitSeq(value, ",") {
		item = strings.TrimSpace(item)
		if item == "" || len(item) > maxName || strings.ContainsFunc(item, unicode.IsControl) || strings.ToValidUTF8(item, "") != item {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "%s has a name that is empty, longer than %d bytes, or no text", short(option), maxName)
		}
		if option == optionQueues && item == defaultExchange {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "%s is an exchange, and %s names queues", item, option)
		}
		items = append(items, item)
	}
	slices.Sort(items)
	if items = slices.Compact(items); len(items) > maxNames {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "%s has more than %d names: use * for those that begin alike", short(option), maxNames)
	}
	return items, nil
}

// checkTopics: routing keys are checked exchange by exchange, each by its whole name.
func (s scope) checkTopics() error {
	if len(s.topics) == 0 {
		return nil
	}
	if s.all || slices.Equal(s.exchanges, []string{defaultExchange}) {
		return patchbay.Errorf(patchbay.InvalidArgument, "%s is for exchanges, and none is named", optionTopics).WithFix("name them, with --option %s=…", optionExchanges)
	}
	for _, name := range s.exchanges {
		if name == defaultExchange || strings.Contains(name, "*") {
			return patchbay.Errorf(patchbay.InvalidArgument, "%s is for topic exchanges that are named in full, and %s has %q", optionTopics, optionExchanges, short(name))
		}
	}
	return nil
}

// rights are what a login may do in its virtual host.
type rights struct {
	permission permission
	names      [3][]string // what configure, write and read are for; nil: everything
	topics     []topicPermission
	key        string // a routing key that they match
}

// verbs are in the order of rights.names.
var verbs = [3]string{"configure", "write", "read"}

// rightsOf is exactly what an access gives.
func rightsOf(access patchbay.Access, s scope) rights {
	own := []string{temporary}
	var there []string // exchanges that there are under their names
	for _, name := range s.exchanges {
		if name != defaultExchange {
			there = append(there, name)
		}
	}
	named := sorted(s.queues, there, own)
	r := rights{names: [3][]string{own, own, named}}
	switch {
	case s.all && access == patchbay.Owner:
		r.names = [3][]string{nil, nil, nil}
	case s.all && access == patchbay.Writer:
		r.names = [3][]string{own, nil, nil}
	case s.all:
		r.names = [3][]string{own, own, nil}
	case access == patchbay.Owner:
		r.names = [3][]string{named, sorted(s.queues, s.exchanges, own), named}
	case access == patchbay.Writer:
		r.names = [3][]string{own, sorted(s.exchanges, own), named}
	}
	r.permission = permission{Configure: pattern(r.names[0]), Write: pattern(r.names[1]), Read: pattern(r.names[2])}
	if keys := keyPattern(s.topics); keys != "" {
		r.key = strings.NewReplacer("*", "patchbay-probe", "#", "patchbay-probe").Replace(s.topics[0])
		for _, exchange := range there {
			r.topics = append(r.topics, topicPermission{Exchange: exchange, Write: keys, Read: keys})
		}
	}
	return r
}

func sorted(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return slices.Compact(all)
}

// pattern matches exactly these names; nil is everything. The server's $ matches
// before a line's end, too.
func pattern(names []string) string {
	if names == nil || slices.Contains(names, "*") {
		return everything
	}
	parts := make([]string, len(names))
	for i, name := range names {
		pieces := strings.Split(name, "*")
		for j := range pieces {
			pieces[j] = quoted(pieces[j])
		}
		parts[i] = strings.Join(pieces, ".*")
	}
	return `(?s)\A(?:` + strings.Join(parts, "|") + `)\z`
}

// quoted is a text that a pattern takes as it is.
func quoted(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if c < 0x80 && !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	return b.String()
}

// keyPattern matches the routing keys of topics, and those that bind for no more: a
// key with # is within one with #, not within one with *.
func keyPattern(topics []string) string {
	if len(topics) == 0 {
		return ""
	}
	parts := make([]string, len(topics))
	for i, topic := range topics {
		words := slices.CompactFunc(strings.Split(topic, "."), func(a, b string) bool { return a == "#" && b == "#" })
		var b strings.Builder
		for j, word := range words {
			first, last := j == 0, j == len(words)-1
			joined := first || words[j-1] == "#"
			switch {
			case word == "#" && first && last:
				b.WriteString(".*")
			case word == "#" && last:
				b.WriteString(`(?:\..*)?`)
				continue
			case !joined:
				b.WriteString(`\.`)
			}
			switch {
			case word == "#" && !last:
				b.WriteString(`(?:.*\.)?`)
			case word == "#":
			case word == "*":
				b.WriteString(`[^.#]+`)
			default:
				b.WriteString(quoted(word))
			}
		}
		parts[i] = b.String()
	}
	return `(?s)\A(?:` + strings.Join(parts, "|") + `)\z`
}

// differences says what a login lacks of a request, and what it has beyond.
func (l *login) differences(vhost string, want rights, n note) (missing, excess []string) {
	may := func(p permission) [3]string { return [3]string{p.Configure, p.Write, p.Read} }
	for _, t := range l.user.Tags {
		if t != tag {
			excess = append(excess, "tag "+t)
		}
	}
	if l.user.Hash == "" {
		missing = append(missing, "sign in: it has no password")
	}
	for limit, value := range l.user.Limits {
		missing = append(missing, fmt.Sprintf("sign in without the limit %s %s", limit, value))
	}
	if l.note() == nil {
		missing = append(missing, "the note of whose it is")
	}
	at := -1
	for i, p := range l.permissions {
		if p.VHost == vhost {
			at = i
			continue
		}
		excess = append(excess, fmt.Sprintf("permissions in the virtual host %q", p.VHost))
	}
	have := [3]string{}
	if at >= 0 {
		have = may(l.permissions[at])
	} else {
		missing = append(missing, fmt.Sprintf("permissions in the virtual host %q", vhost))
	}
	for i, wanted := range may(want.permission) {
		switch {
		case at < 0 || have[i] == wanted:
			continue
		case have[i] != everything: // nobody can tell which of two patterns matches more
			missing = append(missing, verbs[i]+" "+wanted)
		}
		if have[i] != nothing && have[i] != "" && wanted != everything {
			excess = append(excess, verbs[i]+" "+have[i])
		}
	}
	limits := slices.DeleteFunc(slices.Clone(l.topics), func(p topicPermission) bool {
		return p.VHost == vhost && noteOf(p) != nil && p.matches(n.topic())
	})
	for _, wanted := range want.topics {
		i := slices.IndexFunc(limits, func(p topicPermission) bool { return p.VHost == vhost && p.matches(wanted) })
		if i >= 0 {
			limits = slices.Delete(limits, i, i+1)
			continue
		}
		if !slices.ContainsFunc(limits, func(p topicPermission) bool { return p.VHost == vhost && p.Exchange == wanted.Exchange }) {
			excess = append(excess, fmt.Sprintf("every routing key at the exchange %q", wanted.Exchange))
		}
	}
	for _, p := range limits {
		if noteOf(p) != nil {
			continue // of a mark that somebody altered: put right, and no right
		}
		missing = append(missing, fmt.Sprintf("routing keys at the exchange %q other than %s and %s", p.Exchange, p.Write, p.Read))
		if slices.ContainsFunc(want.topics, func(wanted topicPermission) bool { return wanted.Exchange == p.Exchange }) {
			excess = append(excess, fmt.Sprintf("routing keys at the exchange %q", p.Exchange))
		}
	}
	slices.Sort(missing)
	slices.Sort(excess)
	return missing, excess
}

// matches reports whether two say the same, wherever they are.
func (p topicPermission) matches(o topicPermission) bool {
	return p.Exchange == o.Exchange && p.Write == o.Write && p.Read == o.Read
}
