package connector

import (
	"fmt"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/settings"
)

// probing is what a driver has to know of a reading; nil is as it was registered.
func probing(r *settings.Reading) driver.Reading {
	if r == nil || r.Assumed {
		return driver.Reading{}
	}
	return driver.Reading{Mode: driver.TLSMode(r.Mode), Named: r.Named}
}

// unsaid is what the application's library is not told of the target's security,
// each with the step that is left to the user.
func unsaid(r settings.Reading, source string, place driver.SourceInfo) []settings.Unsaid {
	list := slices.Clone(r.Unsaid)
	for i, u := range list {
		if u.Place && place.NoFiles != "" {
			list[i].Step = fmt.Sprintf("%s has no place for its file: %s; or %s", source, place.NoFiles, u.Step)
		}
	}
	return list
}

// refused adds to a certificate that was not trusted why the application's library
// would not trust it either, and the ways out.
func refused(err error, r settings.Reading, sourceID patchbay.ID, target string) error {
	source := sourceID.Name()
	if sourceID.IsLocal() {
		source = "the server"
	}
	e := *patchbay.AsError(err)
	hop := driver.HopOf(err)
	if hop == driver.HopAnother { // whatever the library makes of it
		return &e
	}
	how := "checks the server's certificate"
	if r.Says != "" {
		how = fmt.Sprintf("reads %s as %s", r.Says, r.Mode)
	}
	by := "by the authorities of the system that it runs on"
	if r.Told || r.Registered {
		by = "by the authority that was registered"
	}
	if hop == driver.HopTLSName || hop == driver.HopExpired {
		// No authority would help.
		e.Message += fmt.Sprintf("; %s %s, and would refuse it too", r.By, how)
		if hop == driver.HopTLSName && !r.Named { // nor a name that it is not told
			e.Fix = fmt.Sprintf("register %s with an address that its certificate is for, or give it a certificate for the name that was asked for: the settings have no word for another one", target)
		}
		return &e
	}
	e.Message += fmt.Sprintf("; %s %s, and would refuse it too, %s", r.By, how, by)
	if r.Told || r.Registered {
		return &e
	}
	ways := []string{fmt.Sprintf("register %s with its authority: --ca-file FILE", target)}
	if !r.OwnAuthorities {
		ways = append(ways, fmt.Sprintf("have the system that %s runs on trust that authority", source))
	}
	if r.Otherwise != "" {
		ways = append(ways, fmt.Sprintf("connect with --naming %s, whose settings say to encrypt and to check nothing", r.Otherwise))
	}
	e.Fix = strings.Join(ways, "; or ")
	return &e
}
