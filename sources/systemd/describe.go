package systemd

import (
	"slices"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

var description = patchbay.Driver{
	Name: "systemd", Title: "systemd", Noun: "systemd unit",
	About: `A service that systemd runs: of the system, or of a user.

Its settings are in a file that only its manager reads, and a drop-in of ours names that
file: the unit itself is not edited. With --deliver files it can hold settings that
are files too (naming servicebinding), which it gets as credentials.

After a change it is restarted, and waited for until it is active and ready. A unit that
is stopped, or has failed, is not started.`,
	Types: driver.ComputeTypesFrom("Microsoft.Web/sites"),
	Endpoint: patchbay.Endpoint{Field: patchbay.Field{
		Flag: "unit", Type: patchbay.TextField, Form: "UNIT", About: "the unit", Example: "web.service", Required: true,
	}},
	Search: searched,
	Properties: slices.Concat([]patchbay.Field{
		driver.HostField(),
		{Name: "manager", Type: patchbay.TextField, About: "whose unit it is", Words: []string{"system", "user"}, Default: "system"},
		{Name: "user", Type: patchbay.TextField, Form: "LOGIN", About: "the login whose manager it is, with --manager user", Default: "the one that Patchbay works as there"},
		{Name: "reload", Type: patchbay.BoolField, About: "reload it instead of restarting it: its ExecReload= alone gets the new settings"},
		{Name: "deliver", Type: patchbay.TextField, About: "how it gets settings that are files: not at all, or as credentials", Words: []string{"environment", "files"}, Default: "environment"},
		driver.EgressField(),
	}, driver.WaitFields()),
}
