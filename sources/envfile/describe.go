package envfile

import (
	"maps"
	"slices"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

var description = patchbay.Driver{
	Name: "envfile", Title: "Settings file", Noun: "application that reads a settings file",
	About: `An application that reads its settings from a file: a .env file, one for docker
--env-file, or a systemd EnvironmentFile; on the server's machine, or on a registered
host.

With a reload, the application is told when its settings change: a command, as a
list of its arguments without a shell, or a signal to the process in a pid file.`,
	Types: driver.ComputeTypes(),
	Endpoint: patchbay.Endpoint{Field: patchbay.Field{
		Flag: "path", Type: patchbay.PathField, About: "the file", Form: "FILE", Example: "./web.env", Required: true,
	}},
	Properties: append([]patchbay.Field{
		driver.HostField(),
		{Name: "dialect", Type: patchbay.TextField, About: "how the file is written", Words: slices.Sorted(maps.Keys(dialects)), Default: "dotenv"},
		{Name: "reload.command", Type: patchbay.ListField, About: "one argument of the command that reloads the application, in order"},
		{Name: "reload.pidFile", Type: patchbay.PathField, About: "file of the process that is signaled to reload", Example: "/run/web.pid"},
		{Name: "reload.signal", Type: patchbay.TextField, About: "the signal", Words: hosts.SignalNames(), Default: "HUP"},
		{Name: "bindingRoot", Type: patchbay.PathField, Form: "DIR", About: "directory of settings that are files ($SERVICE_BINDING_ROOT)"},
		{Name: "bindingMount", Type: patchbay.PathField, Form: "DIR", About: "where the application sees that directory, when it runs in a container", Default: "the same; unknown with the dialect docker"},
		driver.EgressField(),
		{Name: "mode", Type: patchbay.TextField, About: "mode of a file that is not there yet, in octal", Default: "0600"},
	}, driver.WaitFields()...),
}
