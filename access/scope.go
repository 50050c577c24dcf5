package access

import (
	"strings"

	"patchbay.dev/patchbay"
)

const (
	rootKey      = "/"
	subscription = "/subscriptions/"
)

// scopeKey is a scope as it is indexed: in lower case, "/" for the root. ok is
// false for what is no scope; nothing may be done there.
func scopeKey(scope patchbay.ID) (key string, ok bool) {
	if scope == "" || scope == patchbay.RootScope {
		return rootKey, true
	}
	key = scope.Key()
	if !strings.HasPrefix(key, subscription) || strings.HasSuffix(key, "/") || len(key) > patchbay.MaxIDLength {
		return "", false
	}
	// Relative and empty segments are refused where ids are parsed; whoever
	// forgets that must not find a way around a scope here.
	for part := range strings.SplitSeq(key[1:], "/") {
		if part == "" || part == "." || part == ".." {
			return "", false
		}
	}
	return key, true
}

// subscriptionOf is the subscription of a key.
func subscriptionOf(key string) (string, bool) {
	rest, ok := strings.CutPrefix(key, subscription)
	if !ok {
		return "", false
	}
	sub, _, _ := strings.Cut(rest, "/")
	return sub, sub != ""
}

// covers reports whether what is assigned at scope above holds at below.
func covers(above, below string) bool {
	return above == rootKey || above == below ||
		len(below) > len(above) && below[len(above)] == '/' && below[:len(above)] == above
}
