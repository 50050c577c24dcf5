// Package arm is Azure Resource Manager on the wire: paths, api-versions,
// strict bodies, the error envelope and long-running operations, as the clients
// of Microsoft.ServiceLinker send and read them. It knows the domain and
// nothing of HTTP servers or stores.
package arm

import (
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

// The provider namespaces that this server answers for.
const (
	Provider              = "Microsoft.ServiceLinker"
	OwnProvider           = "Patchbay.Connector"
	AuthorizationProvider = "Microsoft.Authorization"
)

// LinkerType is a linker's type in answers, in the live service's casing
// (contract section 3.3).
const LinkerType = "microsoft.servicelinker/linkers"

// The types of the other resources of Microsoft.ServiceLinker in answers.
const (
	ConnectorType   = "microsoft.servicelinker/locations/connectors"
	DryrunType      = "microsoft.servicelinker/dryruns"
	LocalDryrunType = "microsoft.servicelinker/locations/dryruns"
)

// Version is an api-version of Microsoft.ServiceLinker. Versions order as
// strings.
type Version string

// The served versions. Each is a superset of the one above it.
const (
	V20220501        Version = "2022-05-01"
	V20221101Preview Version = "2022-11-01-preview"
	V20230401Preview Version = "2023-04-01-preview"
	V20240401        Version = "2024-04-01"
	V20240701Preview Version = "2024-07-01-preview"
	V20261101        Version = "2026-11-01" // Patchbay's own
)

// Versions are the served versions, oldest first.
func Versions() []Version {
	return []Version{V20220501, V20221101Preview, V20230401Preview, V20240401, V20240701Preview, V20261101}
}

// ParseVersion checks the api-version of a request to Microsoft.ServiceLinker.
// A missing or unknown one is an error that lists what is served.
func ParseVersion(s string) (Version, error) {
	for _, v := range Versions() {
		if strings.EqualFold(s, string(v)) {
			return v, nil
		}
	}
	return "", badVersion(s, Versions())
}

// CheckOwnVersion checks the api-version of a request to Patchbay.Connector.
func CheckOwnVersion(s string) error {
	if s == string(V20261101) {
		return nil
	}
	return badVersion(s, []Version{V20261101})
}

func badVersion(s string, served []Version) error {
	list := make([]string, len(served))
	for i, v := range served {
		list[i] = string(v)
	}
	known := strings.Join(list, ", ")
	if s == "" {
		return patchbay.Errorf(MissingAPIVersion,
			"the query parameter api-version is required; the supported versions are %s", known)
	}
	return patchbay.Errorf(InvalidAPIVersion,
		"the api-version %s is not known; the supported versions are %s", quote(s), known)
}

// next is the first served version that is v or later, for messages.
func (v Version) next() Version {
	all := Versions()
	i := slices.IndexFunc(all, func(w Version) bool { return w >= v })
	if i < 0 {
		return v
	}
	return all[i]
}
