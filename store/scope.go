package store

import (
	"strings"

	"patchbay.dev/patchbay"
)

// Holder is the kind of record that a scope stands and falls with.
type Holder int

const (
	Tenancy Holder = iota // none: a tenant is never removed
	InSubscription
	InGroup
	OnResource
	AtConnection
)

// HeldBy says which record a scope stands and falls with: the first that there
// is of the ids. What is below a resource needs no record of its own.
func HeldBy(scope patchbay.ID) (Holder, []patchbay.ID) {
	if scope == "" || scope == patchbay.RootScope {
		return Tenancy, nil
	}
	switch _, _, connection := scope.ConnectionSource(); {
	case connection:
		return AtConnection, []patchbay.ID{scope}
	case scope.Type() == "" && scope.ResourceGroup() == "":
		return InSubscription, []patchbay.ID{scope}
	case scope.Type() == "":
		return InGroup, []patchbay.ID{scope}
	}
	var ids []patchbay.ID
	for at := scope; at.Type() != ""; at = at.Parent() {
		ids = append(ids, at)
	}
	return OnResource, ids
}

// HomeOf is what a connection or a dryrun is in, and goes with: the source that
// it is of, or the resource group of its location.
func HomeOf(id patchbay.ID) patchbay.ID {
	of, _, ok := id.ConnectionSource()
	if !ok {
		of, _, _ = id.DryrunSource()
	}
	if of.Local("x").IsLocal() {
		return GroupOf(of)
	}
	return of
}

// GroupOf is the resource group that id is in.
func GroupOf(id patchbay.ID) patchbay.ID {
	return patchbay.ID("/subscriptions/" + id.Subscription() + "/resourceGroups/" + id.ResourceGroup())
}

// Covers reports whether what holds at one of the scopes holds at id.
func Covers(scopes []patchbay.ID, id patchbay.ID) bool {
	for _, scope := range scopes {
		if scope == patchbay.RootScope || id.Equal(scope) || strings.HasPrefix(id.Key(), scope.Key()+"/") {
			return true
		}
	}
	return false
}
