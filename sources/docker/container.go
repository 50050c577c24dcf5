package docker

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"patchbay.dev/patchbay"
)

// container is what the engine says of one. Config and HostConfig are kept as they
// came: they go into the next one.
type container struct {
	ID              string `json:"Id"`
	Name            string
	Image           string // its id
	RestartCount    int
	State           state
	Config          map[string]json.RawMessage
	HostConfig      map[string]json.RawMessage
	Mounts          []mountPoint
	NetworkSettings struct {
		Networks map[string]endpoint
		Ports    map[string][]binding // those that are published
	}
	HostsPath, ResolvConfPath string

	settings settings
	tmpfs    map[string]string
	tty      bool
}

type state struct {
	Status     string
	Running    bool
	Paused     bool
	Restarting bool
	Dead       bool
	OOMKilled  bool
	Pid        int
	ExitCode   int
	Error      string
	StartedAt  time.Time
	Health     *struct {
		Status string
		Log    []struct {
			ExitCode int
			Output   string
		}
	}
}

type mountPoint struct {
	Type, Name, Source, Destination, Driver, Mode, Propagation string
	RW                                                         bool
}

// endpoint is a container's place in a network.
type endpoint struct {
	IPAMConfig json.RawMessage
	Links      []string
	Aliases    []string
	DriverOpts json.RawMessage
	GwPriority json.RawMessage
	// What follows is what came of it.
	NetworkID         string
	IPAddress         string
	GlobalIPv6Address string
	Gateway           string
	MacAddress        string
}

// binding is a port of the machine that one of a container's is published on.
type binding struct{ HostIP, HostPort string } // HostIp on the wire

type policy struct {
	Name              string
	MaximumRetryCount int
}

func (p policy) off() bool { return p.Name == "" || p.Name == "no" }

// image is what the engine says of one.
type image struct {
	ID       string `json:"Id"`
	RepoTags []string
	Config   struct {
		Entrypoint json.RawMessage
		Env        []string
		Volumes    map[string]struct{}
	}
}

// read takes what is needed out of what came.
func (c *container) read() error {
	c.Name = strings.TrimPrefix(c.Name, "/")
	if c.ID == "" || c.Config == nil || c.HostConfig == nil {
		return patchbay.Errorf(patchbay.SettingsUnreadable, "the engine describes the container %s in a way that Docker's API does not", c.Name)
	}
	for into, raw := range map[any]json.RawMessage{
		&c.settings.Env: c.Config["Env"], &c.settings.Labels: c.Config["Labels"], &c.tty: c.Config["Tty"], &c.tmpfs: c.HostConfig["Tmpfs"],
	} {
		if raw == nil {
			continue
		}
		if err := json.Unmarshal(raw, into); err != nil {
			return patchbay.Errorf(patchbay.SettingsUnreadable, "the engine describes the container %s in a way that Docker's API does not", c.Name)
		}
	}
	return nil
}

// running: it runs, or would run if it did not crash.
func (c *container) running() bool { return c.State.Running || c.State.Restarting }

// text is a member that is one; "" when it is not there.
func text(of map[string]json.RawMessage, name string) string {
	var s string
	_ = json.Unmarshal(of[name], &s)
	return s
}

func (c *container) restartPolicy() policy {
	var p policy
	_ = json.Unmarshal(c.HostConfig["RestartPolicy"], &p)
	return p
}

// graceOf is how long it may take to stop.
func (c *container) graceOf() time.Duration {
	var seconds *int
	if json.Unmarshal(c.Config["StopTimeout"], &seconds) != nil || seconds == nil || *seconds < 0 {
		return defaultGrace
	}
	return time.Duration(*seconds) * time.Second
}

// defaultGrace is Docker's.
const defaultGrace = 10 * time.Second

// chosenPorts are the published ports whose number on the host the engine chose.
func (c *container) chosenPorts() []string {
	var bindings map[string][]struct{ HostPort string }
	_ = json.Unmarshal(c.HostConfig["PortBindings"], &bindings)
	var list []string
	for _, port := range slices.Sorted(maps.Keys(bindings)) {
		for _, b := range bindings[port] {
			if b.HostPort == "" || b.HostPort == "0" {
				list = append(list, port)
			}
		}
	}
	var all bool
	if _ = json.Unmarshal(c.HostConfig["PublishAllPorts"], &all); all {
		list = append(list, "all")
	}
	return list
}

// networks are the names of the networks that it is in.
func (c *container) networks() []string {
	return slices.Sorted(maps.Keys(c.NetworkSettings.Networks))
}

// empty reports whether a member says nothing.
func empty(raw json.RawMessage) bool {
	switch string(raw) {
	case "", "null", `""`, "[]", "{}", "0", "false":
		return true
	}
	return false
}
