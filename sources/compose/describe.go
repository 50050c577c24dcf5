package compose

import (
	"slices"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const defaultEngine = "unix:///run/docker.sock"

// How settings come to a service.
const (
	byOverride = "override"
	byEnvFile  = "env-file"
)

var description = patchbay.Driver{
	Name: "compose", Title: "Compose service", Noun: "service of a Compose project", Part: "service",
	About: `A service of a Compose project. Its settings go into a file of Patchbay's beside the
project's own files, which are never edited, and Compose itself makes the service anew:
a later docker compose up finds nothing to do.

Compose is run on the project's machine, the server's or a registered host. Whoever may
use the engine's socket may do anything on the engine's machine.`,
	Types: driver.ComputeTypesFrom("Microsoft.App/containerApps"),
	Endpoint: patchbay.Endpoint{Field: patchbay.Field{
		Flag: "path", Type: patchbay.PathField, About: "the project's directory, or its Compose file", Form: "PATH", Example: "/srv/shop", Required: true,
	}},
	Search: searched,
	Properties: slices.Concat([]patchbay.Field{
		{Name: "service", Type: patchbay.TextField, About: "the service", Form: "NAME", Default: "the one that a connection's scope names, or the only one", Example: "web"},
		{Name: "deliver", Type: patchbay.TextField, About: "how settings come to it: override: a Compose file of ours that Compose merges into the project's; env-file: a file {name}.patchbay.env that the service's env_file lists", Words: []string{byOverride, byEnvFile}, Default: byOverride},
		{Name: "project", Type: patchbay.TextField, About: "the project's name, as docker compose --project-name", Default: "as Compose finds it", Form: "NAME"},
		{Name: "files", Type: patchbay.ListField, About: "one of the project's files, in order, as docker compose --file", Form: "FILE", Default: "as Compose finds them", Example: "prod.yaml"},
		{Name: "envFiles", Type: patchbay.ListField, About: "one file of variables for the project's files, as docker compose --env-file", Form: "FILE", Default: ".env", Example: "prod.env"},
		{Name: "profiles", Type: patchbay.ListField, Commas: true, About: "profiles that are active, as docker compose --profile"},
		{Name: "engine", Type: patchbay.TextField, Form: "URL", About: "the engine's socket", Default: defaultEngine, Example: "unix:///run/podman/podman.sock"},
		{Name: "program", Type: patchbay.PathField, Form: "FILE", About: "Compose's program", Default: "docker compose, or else docker-compose"},
		{Name: "mode", Type: patchbay.TextField, About: "mode of a file that is not there yet, in octal", Default: "0600"},
		driver.HostField(),
		driver.EgressField(),
	}, driver.WaitFields()),
	Lacks: []patchbay.Lack{
		{What: "settings that are files", Why: "mount a directory into the service, and register it with envfile"},
		{What: "an override file that is there already, and projects of several files", Why: "Compose merges one override, and it is yours: such a project takes the settings by an env file (deliver)"},
		{What: "a service whose network another one shares", Why: "the other one would have to be made anew with it"},
	},
}
