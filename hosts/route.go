package hosts

import (
	"context"
	"net/netip"
	"slices"
	"strings"
)

// SpeaksFrom is the address that programs of a host speak to that one from; ok is
// false where it can't be known: the host has no such route, or not the program ip.
func SpeaksFrom(ctx context.Context, h Host, to netip.Addr) (from netip.Addr, ok bool) {
	result, err := h.Run(ctx, Command{Argv: []string{"ip", "-o", "route", "get", to.WithZone("").String()}})
	if err != nil || result.Exit != 0 {
		return from, false
	}
	fields := strings.Fields(string(result.Output))
	at := slices.Index(fields, "src")
	if at < 0 || at+1 == len(fields) {
		return from, false
	}
	from, err = netip.ParseAddr(fields[at+1])
	return from, err == nil
}
