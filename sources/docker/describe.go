package docker

import (
	"slices"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/dockerapi"
)

var description = patchbay.Driver{
	Name: "docker", Title: "Docker container", Noun: "container",
	About: `An application in a container of Docker or Podman. Its settings are in the
container's environment: the container is made anew from its own configuration,
and the old one is kept, stopped, until the operation can't be taken back any more.

The engine is reached through Docker's API: at its socket on the server's machine or
on a registered host, or by TCP with TLS. Whoever may use that socket may do
anything on the engine's machine, and can read the settings of every container.`,
	Types: driver.ComputeTypesFrom("Microsoft.App/containerApps"),
	Endpoint: patchbay.Endpoint{Field: patchbay.Field{
		Flag: "container", Type: patchbay.TextField, About: "the container's name", Form: "NAME", Example: "web", Required: true,
	}},
	Properties: slices.Concat(dockerapi.Fields(), []patchbay.Field{
		driver.EgressField(),
	}, driver.WaitFields()),
	Search: searched,
	Admin:  dockerapi.Admin(),
	Lacks: []patchbay.Lack{
		{What: "settings that are files", Why: "a file that is put into a container is lost with it; mount a directory, and register it with envfile"},
		{What: "containers of Compose, Swarm, Kubernetes and pods", Why: "who made them would make them anew without the settings"},
		{What: "an engine behind TCP without TLS", Why: "whoever is in between could do anything on its machine"},
	},
}
