package docker

import (
	"slices"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const defaultEngine = "unix:///run/docker.sock"

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
	Properties: slices.Concat([]patchbay.Field{
		{Name: "engine", Type: patchbay.TextField, Form: "URL", About: "where the engine answers Docker's API: unix://SOCKET on the host, or tcp://HOST:PORT", Default: defaultEngine, Example: "unix:///run/podman/podman.sock"},
		{Name: "tls.ca", Flag: "ca-file", Type: patchbay.FileField, About: "authorities that the engine's certificate may be of, in PEM", Default: "the system's"},
		{Name: "tls.serverName", Type: patchbay.TextField, About: "the name in the engine's certificate, where it is another than in its URL"},
		driver.HostField(),
		driver.EgressField(),
	}, driver.WaitFields()),
	Search: searched,
	Admin: []patchbay.Field{
		{Name: adminCert, Type: patchbay.FileField, About: "certificate that an engine behind TCP knows us by, in PEM", Secret: true},
		{Name: adminKey, Type: patchbay.FileField, About: "its private key, in PEM", Secret: true},
	},
	Lacks: []patchbay.Lack{
		{What: "settings that are files", Why: "a file that is put into a container is lost with it; mount a directory, and register it with envfile"},
		{What: "containers of Compose, Swarm, Kubernetes and pods", Why: "who made them would make them anew without the settings"},
		{What: "an engine behind TCP without TLS", Why: "whoever is in between could do anything on its machine"},
	},
}

// The parts of the admin credential.
const (
	adminCert = "clientCert"
	adminKey  = "clientKey"
)
