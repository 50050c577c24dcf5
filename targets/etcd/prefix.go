package etcd

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"go.etcd.io/etcd/api/v3/authpb"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	optionPrefixes = "prefixes"

	maxPrefixes = 32
	maxPrefix   = 256 // bytes
)

// checkPrefixes gives the prefixes in order, each once, and without those that are
// below another.
func checkPrefixes(prefixes []string) ([]string, error) {
	if len(prefixes) > maxPrefixes {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "there are %d prefixes, and can be %d", len(prefixes), maxPrefixes)
	}
	var all []string
	for _, p := range prefixes {
		switch {
		case p == "":
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "a prefix is empty, which would be every key").WithFix("name what the application's keys begin with, as /orders/")
		case len(p) > maxPrefix, !utf8.ValidString(p), strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f || r == ',' }):
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "the prefix %s can't be used: it has a comma or control characters, is no UTF-8 or longer than %d bytes", driver.Quoted(fmt.Sprintf("%q", p)), maxPrefix)
		case strings.TrimSpace(p) != p:
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "the prefix %q begins or ends with a space", p)
		}
		all = append(all, p)
	}
	slices.Sort(all)
	var outer []string
	for _, p := range all {
		if len(outer) == 0 || !strings.HasPrefix(p, outer[len(outer)-1]) {
			outer = append(outer, p)
		}
	}
	return outer, nil
}

// scopeOf are the prefixes that a request gives, and what its access lets the login do
// below each.
func (c *config) scopeOf(access patchbay.Access, options map[string]string) ([]permission, error) {
	kind := authpb.Permission_READ
	switch access {
	case patchbay.Reader:
	case patchbay.Writer:
		kind = authpb.Permission_READWRITE
	default:
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "access is %.40q, and can be reader or writer: etcd has nothing above writing", access)
	}
	prefixes := c.prefixes
	for name, value := range options {
		if name != optionPrefixes {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "etcd has no option %.40q, only %s", name, optionPrefixes)
		}
		items := strings.Split(value, ",")
		for i := range items {
			items[i] = strings.TrimSpace(items[i])
		}
		var err error
		if prefixes, err = checkPrefixes(items); err != nil {
			return nil, err
		}
		for _, p := range prefixes {
			if len(c.prefixes) > 0 && !slices.ContainsFunc(c.prefixes, func(outer string) bool { return strings.HasPrefix(p, outer) }) {
				return nil, patchbay.Errorf(patchbay.InvalidArgument, "the prefix %q is below none of those that are registered: %s", p, strings.Join(c.prefixes, ", "))
			}
		}
	}
	if len(prefixes) == 0 {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "neither the connection nor the registration says which keys may be used").
			WithFix("repeat with --option %s=/orders/", optionPrefixes)
	}
	var all []permission
	for _, p := range prefixes {
		all = append(all, permission{key: p, end: endOf(p), kind: kind})
	}
	return all, nil
}

// prefixesOf are those of a scope, as settings have them.
func prefixesOf(scope []permission) string {
	var all []string
	for _, p := range scope {
		all = append(all, p.key)
	}
	return strings.Join(all, ",")
}

// endOf is the first key behind all that begin with the prefix. Text has no byte 0xff.
func endOf(prefix string) string {
	return prefix[:len(prefix)-1] + string([]byte{prefix[len(prefix)-1] + 1})
}

// permission is a role's for a range of keys: one key, where end is "".
type permission struct {
	key, end string
	kind     authpb.Permission_Type
}

func (p permission) wire() *authpb.Permission {
	return &authpb.Permission{PermType: p.kind, Key: []byte(p.key), RangeEnd: []byte(p.end)}
}

func permissionOf(p *authpb.Permission) permission {
	return permission{key: string(p.GetKey()), end: string(p.GetRangeEnd()), kind: p.GetPermType()}
}

func (p permission) reads() bool  { return p.kind != authpb.Permission_WRITE }
func (p permission) writes() bool { return p.kind != authpb.Permission_READ }

// keys names the range for people.
func (p permission) keys() string {
	switch {
	case p.end == "":
		return "the key " + p.key
	case p.end == "\x00":
		return "every key from " + p.key + " on"
	case p.key != "" && p.end == endOf(p.key):
		return "keys below " + p.key
	}
	return "keys from " + p.key + " to " + p.end
}

// compare says what a role lacks of want, and what it has beyond.
func compare(want, have []permission) (missing, excess []string) {
	lacks := func(a, b []permission) (list []string) {
		for _, p := range a {
			at := slices.IndexFunc(b, func(other permission) bool { return p.key == other.key && p.end == other.end })
			if p.reads() && (at < 0 || !b[at].reads()) {
				list = append(list, "read "+p.keys())
			}
			if p.writes() && (at < 0 || !b[at].writes()) {
				list = append(list, "write "+p.keys())
			}
		}
		return list
	}
	return lacks(want, have), lacks(have, want)
}
