package docker

import (
	"archive/tar"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/client"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// searched is what a search is told, which is in every registration that it leads to.
var searched = []string{"engine", "tls.ca", "tls.serverName", "host"}

// search finds the containers of an engine, without those that are Patchbay's own.
func search(ctx context.Context, c driver.Config, reveal func(driver.Found) driver.Reveal) ([]driver.Found, error) {
	// Opened as the source that any of them would be: what it is told is checked alike.
	c.Endpoint = "any"
	s, err := open(ctx, c)
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.Close() }()
	listed, err := s.engine.list(ctx)
	if err != nil {
		return nil, err
	}
	v := seat{machine: machineOf(s.engine.URL), beside: s.local}
	if v.machine != "" {
		v.beside = false
	}
	info, err := s.engine.Info(ctx, client.InfoOptions{})
	if err != nil {
		return nil, s.engine.Fault(err)
	}
	// Its networks are then inside of a namespace that nobody else is in.
	v.beside = v.beside && !slices.ContainsFunc(info.Info.SecurityOptions, func(o string) bool { return strings.Contains(o, "rootless") })
	var all []driver.Found
	for _, l := range listed {
		if _, helper := l.Labels[helperLabel]; helper {
			continue
		}
		one, err := s.engine.inspect(ctx, l.ID)
		if err != nil {
			return nil, err
		}
		if one == nil || ours.MatchString(one.Name) { // gone meanwhile, or kept for a change's sake
			continue
		}
		f, err := s.found(ctx, one, v, reveal)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

// seat is where an engine's containers are seen from.
type seat struct {
	machine string // the one that ports are published on, "" for the host's
	beside  bool   // the containers' own networks are reached from this process
}

// machineOf is the machine that an engine publishes ports on; "" for the host that it
// is a socket of.
func machineOf(engine string) string {
	u, err := url.Parse(engine)
	if err != nil || u.Scheme == "unix" {
		return ""
	}
	return u.Hostname()
}

// found describes one container.
func (s *source) found(ctx context.Context, c *container, v seat, reveal func(driver.Found) driver.Reveal) (driver.Found, error) {
	f := driver.Found{
		Name: c.Name, Instance: c.ID, Endpoint: c.Name, Image: text(c.Config, "Image"), Labels: c.settings.Labels,
		State: c.State.Status, Running: c.running(),
	}
	f.What = "container of the image " + f.Image
	if project := f.Labels["com.docker.compose.project"]; project != "" {
		// All containers of a service are one thing to who makes them.
		f.Instance = "compose " + f.Labels["com.docker.compose.project.working_dir"] + " " + project + " " + f.Labels["com.docker.compose.service"]
	}
	f.Ports, f.Reach = c.reach(v)
	// What else could keep it from being made anew, its registration finds.
	if err := c.bound(); err != nil {
		f.Refused, f.Fix = err.Message, err.Fix
	}
	all := map[string]string{}
	for _, line := range c.settings.Env {
		name, value, _ := strings.Cut(line, "=")
		all[name] = value
	}
	err := f.Environment(all, reveal, func(name string) (string, error) { return s.engine.readFile(ctx, c, name) })
	return f, err
}

// reach is what a container listens on, as far as that is said, and where that answers:
// to other machines where it is published for them, and otherwise to this machine and
// the containers beside it.
func (c *container) reach(v seat) (ports []uint16, all []driver.Reach) {
	var exposed map[string]struct{}
	_ = json.Unmarshal(c.Config["ExposedPorts"], &exposed)
	published := map[uint16][]binding{}
	for spec, bindings := range c.NetworkSettings.Ports {
		if port, ok := tcpPort(spec); ok {
			published[port] = append(published[port], bindings...)
			ports = append(ports, port)
		}
	}
	for spec := range exposed {
		if port, ok := tcpPort(spec); ok {
			ports = append(ports, port)
		}
	}
	slices.Sort(ports)
	ports = slices.Compact(ports)
	for _, port := range ports {
		add := func(host, number, note string) {
			address := net.JoinHostPort(host, number)
			if !slices.ContainsFunc(all, func(r driver.Reach) bool { return r.Address == address }) {
				all = append(all, driver.Reach{Port: port, Address: address, Note: note})
			}
		}
		own := strconv.Itoa(int(port))
		if text(c.HostConfig, "NetworkMode") == "host" {
			add(v.machine, own, "")
			continue
		}
		for _, b := range published[port] {
			ip, err := netip.ParseAddr(cmp.Or(b.HostIP, "0.0.0.0"))
			switch {
			case err != nil || b.HostPort == "" || ip.IsLoopback():
			case !ip.IsUnspecified():
				add(ip.String(), b.HostPort, "")
			case v.beside:
				// The machine has this address in the containers' network.
				for _, name := range c.networks() {
					if gateway := c.NetworkSettings.Networks[name].Gateway; gateway != "" {
						add(gateway, b.HostPort, "")
					}
				}
			default:
				add(v.machine, b.HostPort, "")
			}
		}
		for _, name := range c.networks() {
			e := c.NetworkSettings.Networks[name]
			ip := cmp.Or(e.IPAddress, e.GlobalIPv6Address)
			if ip == "" || !v.beside {
				continue
			}
			note := ""
			if !e.fixed() {
				note = fmt.Sprintf("%s is the container's address in the network %s, and may be another one after a restart: publish the port, or give it an address of its own (--ip)", ip, name)
			}
			add(ip, own, note)
		}
		for _, b := range published[port] {
			if ip, err := netip.ParseAddr(b.HostIP); err == nil && ip.IsLoopback() && v.machine == "" {
				add("", b.HostPort, "the port is published for the machine itself alone, where containers do not reach it")
			}
		}
	}
	return ports, all
}

// fixed reports whether the address was asked for.
func (e endpoint) fixed() bool {
	var wanted struct{ IPv4Address, IPv6Address string }
	_ = json.Unmarshal(e.IPAMConfig, &wanted)
	return wanted.IPv4Address != "" || wanted.IPv6Address != ""
}

func tcpPort(spec string) (uint16, bool) {
	number, protocol, _ := strings.Cut(spec, "/")
	n, err := strconv.ParseUint(number, 10, 16)
	return uint16(n), err == nil && n > 0 && (protocol == "" || protocol == "tcp")
}

// readFile is the content of a file as the container sees it, without the line's end
// that editors put there.
func (e *engine) readFile(ctx context.Context, c *container, name string) (string, error) {
	unreadable := func(format string, args ...any) error {
		return patchbay.Errorf(patchbay.SettingsUnreadable, "the file %s of the container %s can't be read: %s", driver.Quoted(name), c.Name, fmt.Sprintf(format, args...)).
			WithFix("give its content yourself, when you register it")
	}
	if !path.IsAbs(name) {
		return "", unreadable("it is no absolute path")
	}
	if err := e.Greet(ctx); err != nil {
		return "", err
	}
	result, err := e.CopyFromContainer(ctx, c.ID, client.CopyFromContainerOptions{SourcePath: name})
	if err != nil {
		return "", unreadable("%s", driver.Quoted(err.Error()))
	}
	defer func() { _ = result.Content.Close() }()
	content := tar.NewReader(result.Content)
	header, err := content.Next()
	switch {
	case err != nil:
		return "", unreadable("the engine gives no archive of it")
	case header.Typeflag == tar.TypeSymlink && path.IsAbs(header.Linkname) && header.Linkname != name:
		return "", unreadable("it is a link to %s", driver.Quoted(header.Linkname))
	case header.Typeflag != tar.TypeReg || header.Size > maxSecret:
		return "", unreadable("it is no file of at most %d bytes", maxSecret)
	}
	b, err := io.ReadAll(io.LimitReader(content, maxSecret))
	if err != nil && !errors.Is(err, io.EOF) {
		return "", unreadable("the engine does not give all of it")
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// maxSecret bounds a file that has a credential, in bytes.
const maxSecret = 64 << 10
