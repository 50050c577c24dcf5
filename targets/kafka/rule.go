package kafka

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// everywhere is the host of a rule that counts from every address.
const everywhere = "*"

// rule is one ACL of a principal.
type rule struct {
	of     kmsg.ACLResourceType
	name   string
	form   kmsg.ACLResourcePatternType
	host   string
	may    kmsg.ACLOperation
	effect kmsg.ACLPermissionType
}

// String is a rule in the product's words.
func (r rule) String() string {
	name := strconv.Quote(driver.Quoted(r.name))
	if r.form == kmsg.ACLResourcePatternTypePrefixed {
		name = "all that begin with " + name
	}
	text := fmt.Sprintf("%s %s on %s %s", r.effect, r.may, r.of, name)
	if r.host != everywhere {
		text += " from " + driver.Quoted(r.host)
	}
	return text
}

// principalOf is what Kafka calls a login.
func principalOf(name string) string { return "User:" + name }

// rulesOf are the rights of an access, without the mark.
func rulesOf(access patchbay.Access, s scope) []rule {
	var all []rule
	give := func(of kmsg.ACLResourceType, patterns []pattern, may ...kmsg.ACLOperation) {
		hosts := s.hosts
		if len(hosts) == 0 {
			hosts = []string{everywhere}
		}
		for _, p := range patterns {
			form := kmsg.ACLResourcePatternTypeLiteral
			if p.prefixed {
				form = kmsg.ACLResourcePatternTypePrefixed
			}
			for _, m := range may {
				for _, h := range hosts {
					all = append(all, rule{of, p.name, form, h, m, kmsg.ACLPermissionTypeAllow})
				}
			}
		}
	}
	give(kmsg.ACLResourceTypeTopic, s.topics, kmsg.ACLOperationDescribe, kmsg.ACLOperationRead)
	give(kmsg.ACLResourceTypeGroup, s.groups, kmsg.ACLOperationRead)
	if access == patchbay.Reader {
		return all
	}
	give(kmsg.ACLResourceTypeTopic, s.topics, kmsg.ACLOperationWrite)
	give(kmsg.ACLResourceTypeTransactionalId, s.transactional, kmsg.ACLOperationDescribe, kmsg.ACLOperationWrite)
	if access == patchbay.Writer {
		return all
	}
	give(kmsg.ACLResourceTypeTopic, s.topics, kmsg.ACLOperationCreate, kmsg.ACLOperationAlter, kmsg.ACLOperationDelete,
		kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationAlterConfigs)
	give(kmsg.ACLResourceTypeGroup, s.groups, kmsg.ACLOperationDelete)
	return all
}

// markPrefix begins the names of the groups that are marks.
const markPrefix = "patchbay-principal?"

// markOf is the rule that says whose a login is. The name has no character that a
// store of rules could take for a path.
func markOf(m driver.Mark) rule {
	v := url.Values{"uid": {m.UID}, "generation": {strconv.FormatInt(m.Generation, 10)}, "connection": {string(m.Connection)}}
	return rule{
		kmsg.ACLResourceTypeGroup, markPrefix + v.Encode(), kmsg.ACLResourcePatternTypeLiteral,
		everywhere, kmsg.ACLOperationAll, kmsg.ACLPermissionTypeDeny,
	}
}

// markIn reads a mark; ok is false of every other rule, and of what is only like one.
func markIn(r rule) (m driver.Mark, ok bool) {
	text, ok := strings.CutPrefix(r.name, markPrefix)
	if !ok {
		return m, false
	}
	v, err := url.ParseQuery(text)
	if err != nil {
		return m, false
	}
	n, err := strconv.ParseInt(v.Get("generation"), 10, 64)
	if err != nil {
		return m, false
	}
	m = driver.Mark{UID: v.Get("uid"), Generation: n, Connection: patchbay.ID(v.Get("connection"))}
	return m, m.UID != "" && markOf(m) == r
}

// minus are the rules of a that b has not.
func minus(a, b []rule) []rule {
	return slices.DeleteFunc(slices.Clone(a), func(r rule) bool { return slices.Contains(b, r) })
}

func words(rules []rule) []string {
	var all []string
	for _, r := range rules {
		all = append(all, r.String())
	}
	slices.Sort(all)
	return all
}
