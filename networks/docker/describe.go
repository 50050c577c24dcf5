package docker

import (
	"slices"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/dockerapi"
)

var description = patchbay.Driver{
	Name: "docker-network", Title: "Docker network", Noun: "container engine whose networks lead to targets in containers",
	About: `Networks of Docker. Each connection has one of its own, which leads nowhere else: its application's container and the target's are on it, and nobody else is. The
application finds the target there by the name of its container, wherever the target is
registered; its settings say so.

It opens, and closes nothing: keep the target's container off networks that others are
on, and publish its port for the machine alone (127.0.0.1), if at all. On the network,
each of the two reaches every port of the other.`,
	Types:     []string{"Patchbay.Services/guards"},
	Solutions: []string{driver.PrivateLink},
	Properties: slices.Concat(dockerapi.Fields(), []patchbay.Field{
		{Name: "container", Type: patchbay.TextField, Form: "NAME", About: "the container that targets behind this guard are in", Default: "the one that publishes the target's port on the engine's machine, or has its address or name", Example: "orders-db"},
		{Name: "alias", Type: patchbay.TextField, Form: "NAME", About: "the name that applications find a target by: one that its certificate is for, say", Default: "the name of its container", Example: "orders.example"},
		{Name: "pool", Type: patchbay.TextField, Form: "PREFIX", About: "where the networks take their addresses from, sixteen each", Default: "the engine's own choice, which is enough for some thirty", Example: "10.213.0.0/16"},
	}),
	Admin: dockerapi.Admin(),
	Lacks: []patchbay.Lack{
		{What: "applications outside of the engine", Why: "they are on none of its networks; guard the port that the engine publishes, with nftables"},
		{What: "Podman", Why: "its networks let containers of other networks in"},
		{What: "one port of the target among several", Why: "on a network, containers reach each other's ports"},
		{What: "applications that Compose manages", Why: "each change of their settings has Compose make them anew, on the networks of its files alone"},
		{What: "containers with the network of their machine, of another container, or none", Why: "an engine gives them no other"},
	},
}
