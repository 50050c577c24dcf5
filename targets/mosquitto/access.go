package mosquitto

import (
	"cmp"
	"regexp"
	"slices"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// The kinds of access control that are used, in the plugin's words.
const (
	aclSend        = "publishClientSend"
	aclReceive     = "publishClientReceive"
	aclSubscribe   = "subscribePattern"
	aclUnsubscribe = "unsubscribePattern"
)

// The first entry that matches decides, the highest priority in front. What no entry of ours
// matches, a broker's default decides, and that of receiving is mostly to allow: so what is not
// given is denied by name.
const (
	systemGiven  = 30
	systemDenied = 20
	given        = 10
	denied       = 0
)

// acl is an entry of a role.
type acl struct {
	Type     string `json:"acltype"`
	Topic    string `json:"topic"`
	Priority int    `json:"priority"`
	Allow    bool   `json:"allow"`
}

// verb is what it is about, for people.
func (a acl) verb() string {
	switch a.Type {
	case aclSend:
		return "publish to " + a.topic()
	case aclReceive:
		return "receive " + a.topic()
	case aclSubscribe:
		return "subscribe to " + a.topic()
	case aclUnsubscribe:
		return "unsubscribe from " + a.topic()
	}
	return "use (" + driver.Quoted(a.Type) + ") " + a.topic()
}

func (a acl) topic() string {
	if a.Topic == "#" && !a.Allow {
		return "everything else"
	}
	return driver.Quoted(a.Topic)
}

// acls are exactly what a scope gives.
func (s scope) acls() []acl {
	var list []acl
	give := func(typ, topic string) {
		priority := given
		if level(topic) == systemTopics {
			priority = systemGiven
		}
		list = append(list, acl{typ, topic, priority, true})
	}
	for _, f := range s.subscribe {
		give(aclReceive, f)
		give(aclSubscribe, f)
		give(aclUnsubscribe, f)
		for _, share := range s.shares {
			give(aclSubscribe, "$share/"+share+"/"+f)
			give(aclUnsubscribe, "$share/"+share+"/"+f)
		}
	}
	for _, f := range s.publish {
		give(aclSend, f)
	}
	deny := func(typ, topic string, priority int) {
		if !slices.ContainsFunc(list, func(a acl) bool { return a.Type == typ && a.Topic == topic }) {
			list = append(list, acl{typ, topic, priority, false})
		}
	}
	for _, typ := range []string{aclReceive, aclSubscribe, aclSend} {
		deny(typ, "#", denied)
	}
	// To subscribe, and only then, a wildcard in front is for the broker's own topics
	// too.
	for _, own := range []string{systemTopics + "/#", controlTopics} {
		deny(aclReceive, own, systemDenied)
		deny(aclSubscribe, own, systemDenied)
	}
	slices.SortFunc(list, compareACL)
	return list
}

func compareACL(a, b acl) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Priority, b.Priority))
}

// compare says what the entries that a role has lack of those that it should have, and
// what they have beyond.
func compare(want, have []acl) (missing, excess []string) {
	for _, w := range want {
		switch {
		case slices.Contains(have, w):
		case w.Allow:
			missing = append(missing, w.verb())
		default:
			excess = append(excess, w.verb()+", which nothing denies it")
		}
	}
	for _, h := range have {
		switch {
		case slices.Contains(want, h):
		case h.Allow:
			excess = append(excess, h.verb())
		default:
			missing = append(missing, h.verb()+", which is denied to it")
		}
	}
	return missing, excess
}

var nameForm = regexp.MustCompile(`^pb_[a-z0-9_]{1,37}$`)

// checkRequest checks everything of a request that can be checked without the broker, and
// gives the scope that it asks for.
func (c config) checkRequest(r driver.LoginRequest) (scope, error) {
	if err := checkIdentity(r); err != nil {
		return scope{}, err
	}
	switch {
	case r.Auth != patchbay.AuthSecret:
		return scope{}, patchbay.Errorf(patchbay.NotSupported, "a Mosquitto login signs in with a secret, not with %s", driver.Quoted(string(r.Auth)))
	case len(r.Roles) > 0:
		return scope{}, patchbay.Errorf(patchbay.NotSupported, "a login has a role of its own and no other: use access and topics")
	case len(r.Sources) > 0:
		return scope{}, patchbay.Errorf(patchbay.NotSupported, "Mosquitto binds no login to addresses")
	}
	return c.scopeOf(r.Access, r.Options)
}

// checkIdentity checks what a login is found by.
func checkIdentity(r driver.LoginRequest) error {
	switch {
	case !nameForm.MatchString(r.Name):
		return invalid("%s is not the name of a login", driver.Quoted(r.Name))
	case r.Mark.UID == "" || r.Mark.Generation <= 0:
		return invalid("the login %s has no connection or generation", r.Name)
	case r.Sub != "":
		return invalid("a Mosquitto broker has no %s to connect to: name the broker itself", driver.Quoted(r.Sub))
	}
	return nil
}
