package redis

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gomodule/redigo/redis"
)

// nothing is how the server says that no command may be run.
const nothing = "-@all"

// user is an ACL user, as ACL GETUSER tells it.
type user struct {
	flags     []string
	passwords []string // SHA-256, in hex
	root      selector
	selectors []selector
}

// selector is a set of rules, each in the words of ACL SETUSER.
type selector struct{ commands, keys, channels string }

func (u *user) has(flag string) bool { return slices.Contains(u.flags, flag) }

// userOf reads the answer to ACL GETUSER; nil when there is no such user.
func userOf(value any) (*user, error) {
	if value == nil {
		return nil, nil
	}
	all, err := fieldsOf(value)
	if err != nil {
		return nil, err
	}
	u := &user{}
	if u.flags, err = redis.Strings(all["flags"], nil); err != nil {
		return nil, err
	}
	if u.passwords, err = redis.Strings(all["passwords"], nil); err != nil {
		return nil, err
	}
	if u.root, err = selectorOf(all); err != nil {
		return nil, err
	}
	selectors, err := redis.Values(all["selectors"], nil)
	if err != nil {
		return nil, err
	}
	for _, one := range selectors {
		fields, err := fieldsOf(one)
		if err != nil {
			return nil, err
		}
		s, err := selectorOf(fields)
		if err != nil {
			return nil, err
		}
		u.selectors = append(u.selectors, s)
	}
	return u, nil
}

// fieldsOf are a list's items, by the name before each.
func fieldsOf(value any) (map[string]any, error) {
	list, err := redis.Values(value, nil)
	if err != nil || len(list)%2 != 0 {
		return nil, fmt.Errorf("not a list of names and values: %w", err)
	}
	all := map[string]any{}
	for pair := range slices.Chunk(list, 2) {
		name, err := redis.String(pair[0], nil)
		if err != nil {
			return nil, err
		}
		all[name] = pair[1]
	}
	return all, nil
}

func selectorOf(all map[string]any) (s selector, err error) {
	for name, into := range map[string]*string{"commands": &s.commands, "keys": &s.keys, "channels": &s.channels} {
		if *into, err = redis.String(all[name], nil); err != nil {
			return s, err
		}
	}
	return s, nil
}

// String is the selector as ACL SETUSER takes it, with its brackets.
func (s selector) String() string {
	words := append(strings.Fields(s.keys), "resetchannels")
	words = append(words, strings.Fields(s.channels)...)
	words = append(words, strings.Fields(s.commands)...)
	for i, w := range words {
		if strings.ContainsAny(w, `"'\`) {
			words[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(w) + `"`
		}
	}
	return "(" + strings.Join(words, " ") + ")"
}
