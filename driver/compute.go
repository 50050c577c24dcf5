package driver

import (
	"net/netip"
	"slices"
	"time"

	"patchbay.dev/patchbay"
)

// ComputeTypes are the ARM types of what applications run on, as Azure's clients
// name them (contract 7.5). Every source driver serves them all: which one a
// source is, is its registration's to say.
func ComputeTypes() []string {
	return []string{
		"Microsoft.Web/sites", "Microsoft.Web/sites/slots", "Microsoft.App/containerApps",
		"Microsoft.AppPlatform/Spring/apps/deployments", "Microsoft.ContainerService/managedClusters",
	}
}

// ComputeTypesFrom are the [ComputeTypes] with the one in front that a new source
// of a driver gets.
func ComputeTypesFrom(first string) []string {
	others := slices.DeleteFunc(ComputeTypes(), func(t string) bool { return t == first })
	return slices.Insert(others, 0, first)
}

// HostField is how a source says which machine it is on.
func HostField() patchbay.Field {
	return patchbay.Field{Name: "host", Type: patchbay.HostField, Form: "NAME", About: "the registered host that it is on", Default: "the server's own machine"}
}

// EgressField is how a source says what can't be found out.
func EgressField() patchbay.Field {
	return patchbay.Field{Name: "egress", Type: patchbay.ListField, Commas: true, About: "addresses that the application speaks from", Example: "10.0.3.0/24"}
}

// ParseEgress reads what the [EgressField] says.
func ParseEgress(list []string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, text := range list {
		prefix, err := netip.ParsePrefix(text)
		if err != nil || prefix != prefix.Masked() {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "the egress %q is no network prefix such as 10.0.3.7/32 or fd00::/64", clip(text))
		}
		all = append(all, prefix)
	}
	return all, nil
}

// MaxWait is the longest that an application may be waited for.
const MaxWait = 10 * time.Minute

// Wait is what a registration says of the waiting after a restart, as the fields
// of [WaitFields].
type Wait struct {
	Limit  string `json:"limit"`
	Steady string `json:"steady"`
}

// WaitFields are how a source says how long its application takes.
func WaitFields() []patchbay.Field {
	return []patchbay.Field{
		{Name: "wait.limit", Type: patchbay.TextField, Form: "TIME", About: "how long it may take to come up with new settings, at most 10m", Default: "60s", Example: "3m"},
		{Name: "wait.steady", Type: patchbay.TextField, Form: "TIME", About: "how long it must then go on without a restart", Default: "3s"},
	}
}

// Durations are what w says, or the defaults: 60 and 3 seconds.
func (w Wait) Durations() (limit, steady time.Duration, err error) {
	parse := func(name, text string, otherwise, most time.Duration) (time.Duration, error) {
		if text == "" {
			return otherwise, nil
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 || d > most {
			return 0, patchbay.Errorf(patchbay.InvalidArgument, "%s %q is no time of at most %s, such as 90s or 3m", name, clip(text), most)
		}
		return d, nil
	}
	if limit, err = parse("wait.limit", w.Limit, time.Minute, MaxWait); err != nil {
		return 0, 0, err
	}
	if steady, err = parse("wait.steady", w.Steady, 3*time.Second, time.Minute); err != nil {
		return 0, 0, err
	}
	return limit, steady, nil
}
