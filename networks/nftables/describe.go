package nftables

import (
	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

var description = patchbay.Driver{
	Name: "nftables", Title: "nftables", Noun: "Linux machine whose ports nftables guards",
	About: `The packet filter of a Linux machine, which closes the ports of the targets that
name it. From a target's first connection on, its port is closed for everybody who has
no connection: who else needs it (a backup, a replica, an administrator's machine)
is named with --allow before. The machine's own programs are let in, and so is
Patchbay itself, which tries that and takes the change back where it is wrong. It stays
closed after the last connection.

It has a table of its own, inet patchbay, and changes no other: what somebody
else's rules drop stays dropped, and is reported. It needs the program nft, and root or
CAP_NET_ADMIN.`,
	Types:     []string{"Patchbay.Services/guards"},
	Solutions: []string{driver.ServiceEndpoint},
	Properties: []patchbay.Field{
		driver.HostField(),
		{Name: "allow", Type: patchbay.ListField, Commas: true, Form: "PREFIX", About: "who is always let in, Patchbay among them", Default: "the address that Patchbay speaks from", Example: "10.0.9.0/24"},
		{Name: "untilReboot", Type: patchbay.BoolField, About: "write no file and no unit of systemd: a reboot takes the guard away, and opens what it closed", Default: "false"},
	},
	Lacks: []patchbay.Lack{
		{What: "UDP", Why: "no target of Patchbay's is reached by it"},
		{What: "sources behind an address translation that others use too", Why: "who is behind one address is one source to the machine that it reaches"},
	},
}

// Driver is the driver for guards of nftables.
func Driver() driver.NetworkDriver { return driver.NetworkDriver{Driver: description, Open: open} }
