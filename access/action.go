package access

import (
	"strings"

	"patchbay.dev/patchbay"
)

// Bounds of a role definition.
const (
	MaxActions      = 200 // in actions and notActions together
	MaxActionLength = 256
)

// pattern is an action with wildcards, in lower case and cut at them: a * is
// any part of an action, slashes included.
type pattern []string

func compile(action string) pattern {
	return strings.Split(strings.ToLower(action), "*")
}

// matches reports whether the pattern is about an action, in lower case.
func (p pattern) matches(action string) bool {
	last := len(p) - 1
	if last == 0 {
		return p[0] == action
	}
	if !strings.HasPrefix(action, p[0]) {
		return false
	}
	action = action[len(p[0]):]
	// The leftmost place of each part leaves the most for those behind it, so
	// nothing is tried twice.
	for _, part := range p[1:last] {
		at := strings.Index(action, part)
		if at < 0 {
			return false
		}
		action = action[at+len(part):]
	}
	return strings.HasSuffix(action, p[last])
}

// role is a definition, ready for decisions.
type role struct {
	actions, notActions []pattern
	scopes              []string // assignable ones
}

func compileRole(d patchbay.RoleDefinition) *role {
	r := &role{}
	for _, a := range d.Actions {
		r.actions = append(r.actions, compile(a))
	}
	for _, a := range d.NotActions {
		r.notActions = append(r.notActions, compile(a))
	}
	for _, s := range d.Scopes {
		if key, ok := scopeKey(s); ok {
			r.scopes = append(r.scopes, key)
		}
	}
	return r
}

func (r *role) grants(action string) bool {
	return anyMatches(r.actions, action) && !anyMatches(r.notActions, action)
}

func (r *role) assignableAt(key string) bool {
	for _, s := range r.scopes {
		if covers(s, key) {
			return true
		}
	}
	return false
}

func anyMatches(list []pattern, action string) bool {
	for _, p := range list {
		if p.matches(action) {
			return true
		}
	}
	return false
}

// checkActions refuses what no action is. What Azure's own roles have is
// taken, whether or not there is such an action here.
func checkActions(d patchbay.RoleDefinition) error {
	if len(d.Actions) == 0 {
		return patchbay.Errorf(patchbay.InvalidArgument, "a role needs an action; one that gives nothing is no role")
	}
	if len(d.Actions)+len(d.NotActions) > MaxActions {
		return patchbay.Errorf(patchbay.InvalidArgument, "a role has at most %d actions", MaxActions)
	}
	for _, list := range [][]string{d.Actions, d.NotActions} {
		for _, a := range list {
			if why := badAction(a); why != "" {
				return patchbay.Errorf(patchbay.InvalidArgument, "the action %q %s", plain(a), why).
					WithFix("write it as Namespace/type/verb, with * for any part: Microsoft.ServiceLinker/linkers/*")
			}
		}
	}
	return nil
}

func badAction(a string) string {
	switch {
	case a == "*":
		return ""
	case a == "":
		return "is empty"
	case len(a) > MaxActionLength:
		return "is too long"
	case strings.Contains(a, "**"):
		return "has two wildcards beside each other"
	case strings.ContainsFunc(a, notOfAction):
		return "has a character that actions do not have"
	case !strings.Contains(a, "/"):
		return "has no /"
	}
	for part := range strings.SplitSeq(a, "/") {
		if part == "" {
			return "has an empty part"
		}
	}
	return ""
}

func notOfAction(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune("*/._-", r)
}
