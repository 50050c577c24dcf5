package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/moby/moby/client"
	"github.com/moby/moby/client/pkg/versions"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// check refuses what can't be made anew as it is, and gives the container's image.
func (s *source) check(ctx context.Context, c *container) (*image, error) {
	refuse := func(format string, args ...any) *patchbay.Error {
		return patchbay.Errorf(patchbay.NotSupported, "the container %s can't be made anew: %s", s.name, fmt.Sprintf(format, args...))
	}
	if err := c.bound(); err != nil {
		return nil, err
	}
	switch {
	case c.State.Paused:
		return nil, patchbay.Errorf(patchbay.SettingsUnwritable, "the container %s is paused, and can't be stopped", s.name).WithFix("docker unpause %s", s.name)
	case c.State.Status == "removing" || c.State.Dead:
		return nil, patchbay.Errorf(patchbay.SettingsUnwritable, "the container %s is being removed", s.name).AsTransient()
	}
	if s.engine.Podman {
		if err := s.checkPodman(ctx, c, refuse); err != nil {
			return nil, err
		}
	}
	if err := s.checkShared(ctx, c, refuse); err != nil {
		return nil, err
	}
	i, err := s.engine.image(ctx, c.Image)
	if err == nil && i == nil {
		return nil, patchbay.Errorf(patchbay.SettingsUnwritable, "the container %s can't be made anew: its image %s (%s) is not on the engine any more", s.name, driver.Quoted(text(c.Config, "Image")), short(strings.TrimPrefix(c.Image, "sha256:"))).
			WithFix("docker pull IMAGE, and start the container from it")
	}
	return i, err
}

// bound says what keeps a container, as it was made, from being made anew: somebody
// else makes it, or others are made with it.
func (c *container) bound() *patchbay.Error {
	refuse := func(format string, args ...any) *patchbay.Error {
		return patchbay.Errorf(patchbay.NotSupported, "the container %s can't be made anew: %s", c.Name, fmt.Sprintf(format, args...))
	}
	for name, what := range map[string]string{
		"com.docker.compose.project": "Compose's, which would make it anew without the settings",
		"io.podman.compose.project":  "podman-compose's, which would make it anew without the settings",
	} {
		if project, ok := c.settings.Labels[name]; ok {
			return refuse("it is %s (project %s)", what, driver.Quoted(project)).WithFix("register it with the driver compose")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.settings.Labels)) {
		switch {
		case strings.HasPrefix(name, "com.docker.swarm."):
			return refuse("it is a task of a Swarm service, which would replace it").WithFix("docker service inspect %s   (settings of services are not supported)", driver.Quoted(c.settings.Labels["com.docker.swarm.service.name"]))
		case strings.HasPrefix(name, "io.kubernetes."):
			return refuse("it is of a Kubernetes pod, which would replace it").WithFix("register its workload with the driver kubernetes")
		case name == "PODMAN_SYSTEMD_UNIT":
			return refuse("the systemd unit %s makes it anew with every start", driver.Quoted(c.settings.Labels[name])).WithFix("register that unit with the driver systemd")
		}
	}
	var autoRemove bool
	_ = json.Unmarshal(c.HostConfig["AutoRemove"], &autoRemove)
	if autoRemove {
		return refuse("it was started with --rm, and would be gone as soon as it is stopped").WithFix("start it without --rm")
	}
	for _, mode := range []string{"NetworkMode", "IpcMode", "PidMode", "Cgroup"} {
		if other, ok := strings.CutPrefix(text(c.HostConfig, mode), "container:"); ok {
			return refuse("it shares another container's namespace (%s of %s)", mode, driver.Quoted(short(other))).WithFix("start it with a namespace of its own")
		}
	}
	return nil
}

// checkShared refuses a container without which others could not go on or start.
func (s *source) checkShared(ctx context.Context, c *container, refuse func(string, ...any) *patchbay.Error) error {
	all, err := s.engine.list(ctx)
	if err != nil {
		return err
	}
	for _, listed := range all {
		_, helper := listed.Labels[helperLabel] // it ends by itself
		if listed.ID == c.ID || helper || slices.ContainsFunc(listed.Names, func(name string) bool {
			_, is := parseLabel(strings.TrimPrefix(name, "/"), s.name)
			return is
		}) {
			continue
		}
		other, err := s.engine.inspect(ctx, listed.ID)
		if err != nil {
			return err
		}
		if other == nil {
			continue
		}
		for _, mode := range []string{"NetworkMode", "IpcMode", "PidMode", "Cgroup"} {
			if shared, ok := strings.CutPrefix(text(other.HostConfig, mode), "container:"); ok && shared != "" && (shared == s.name || strings.HasPrefix(c.ID, shared)) {
				return refuse("the container %s shares its namespace (%s)", driver.Quoted(other.Name), mode).WithFix("start %s with a namespace of its own", driver.Quoted(other.Name))
			}
		}
	}
	return nil
}

// checkLinks refuses a container that others know by a link: theirs would lead to
// one that is gone.
func (s *source) checkLinks(p *place) error {
	if len(p.linked) == 0 {
		return nil
	}
	return patchbay.Errorf(patchbay.NotSupported, "the container %s can't be made anew: %s knows it by a link (--link), which would lead nowhere", s.name, driver.Quoted(p.linked[0])).
		WithFix("put both into a network of their own (docker network create), where names do what links did")
}

// recreate makes a container that differs from c in its name and settings, and
// nothing else; a container that was made although it came out different is given
// along with the error.
func (s *source) recreate(ctx context.Context, c *container, i *image, name string, st settings) (*container, error) {
	body, err := s.body(ctx, c, i, st)
	if err != nil {
		return nil, err
	}
	id, err := s.engine.create(ctx, name, body)
	if err != nil {
		if patchbay.CodeOf(err) == patchbay.SourceNotFound { // an image, a network, a volume's container
			err = patchbay.Errorf(patchbay.SettingsUnwritable, "the container %s can't be made anew: %w", s.name, err)
		}
		return nil, err
	}
	made := &container{ID: id}
	primary := s.primary(c)
	if !s.engine.Podman { // there all networks are named at once
		for _, network := range c.networks() {
			if network == primary {
				continue
			}
			if err := s.engine.connect(ctx, network, id, s.endpoint(c, network)); err != nil {
				return made, err
			}
		}
		if _, in := c.NetworkSettings.Networks[primary]; primary != "" && !in {
			if _, err := s.engine.NetworkDisconnect(ctx, primary, client.NetworkDisconnectOptions{Container: id}); err != nil {
				return made, s.engine.Fault(err)
			}
		}
	}
	got, err := s.engine.inspect(ctx, id)
	if err != nil || got == nil {
		return made, err
	}
	if different := s.differences(c, got, st); len(different) > 0 {
		return got, patchbay.Errorf(patchbay.NotSupported, "the engine does not make the container %s anew as it is: it would differ in %s", s.name, driver.Quoted(strings.Join(different, ", "))).
			WithFix("start it without that, or give the application a settings file and register it with the driver envfile")
	}
	return got, nil
}

// primary is the network that a container is created in, by the name that it has
// among its networks; "" when it has none of its own.
func (s *source) primary(c *container) string {
	mode := text(c.HostConfig, "NetworkMode")
	switch mode {
	case "", "default":
		return "bridge"
	case "host", "none":
		return ""
	}
	for name, e := range c.NetworkSettings.Networks {
		if e.NetworkID == mode || name == mode {
			return name
		}
	}
	return mode
}

// body is what makes such a container: what the engine says of it, less what it adds
// by itself.
func (s *source) body(ctx context.Context, c *container, i *image, st settings) (map[string]any, error) {
	config, host := map[string]any{}, map[string]any{}
	for name, value := range c.Config {
		config[name] = value
	}
	for name, value := range c.HostConfig {
		host[name] = value
	}
	config["Env"], config["Labels"] = st.Env, st.Labels
	config["Image"] = c.Image
	// The name is the image's own as long as it leads there.
	if named, err := s.engine.image(ctx, text(c.Config, "Image")); err != nil {
		return nil, err
	} else if named != nil && named.ID == i.ID {
		config["Image"] = text(c.Config, "Image")
	}
	if s.ownHostname(c) {
		delete(config, "Hostname")
	}
	if empty(c.Config["Entrypoint"]) && !empty(i.Config.Entrypoint) {
		config["Entrypoint"] = []string{""} // it was taken away
	}
	endpoints := map[string]any{}
	if s.engine.Podman {
		podmanBody(c, host)
		for _, network := range c.networks() {
			endpoints[network] = s.endpoint(c, network)
		}
	} else {
		host["Links"] = links(c)
		mounts, err := mountsOf(c)
		if err != nil {
			return nil, err
		}
		if len(mounts) > 0 {
			host["Mounts"] = mounts
		}
		if primary := s.primary(c); primary != "" {
			if _, in := c.NetworkSettings.Networks[primary]; in {
				endpoints[primary] = s.endpoint(c, primary)
			}
		}
	}
	config["HostConfig"], config["NetworkingConfig"] = host, map[string]any{"EndpointsConfig": endpoints}
	return config, nil
}

// ownHostname reports whether a container's host name is not one that somebody gave
// it.
func (s *source) ownHostname(c *container) bool {
	return text(c.Config, "Hostname") == short(c.ID) || text(c.HostConfig, "UTSMode") == "host"
}

// links are the links as they were asked for: what comes back names both ends.
func links(c *container) []string {
	var list, asked []string
	_ = json.Unmarshal(c.HostConfig["Links"], &list)
	for _, link := range list {
		to, as, _ := strings.Cut(link, ":")
		asked = append(asked, strings.TrimPrefix(to, "/")+":"+as[strings.LastIndexByte(as, '/')+1:])
	}
	slices.Sort(asked)
	return asked
}

// mountsOf are the mounts of a container with those volumes by their names that it
// got without one: a new container would get new ones.
func mountsOf(c *container) ([]map[string]any, error) {
	var mounts []map[string]any
	if raw := c.HostConfig["Mounts"]; raw != nil {
		if err := json.Unmarshal(raw, &mounts); err != nil {
			return nil, patchbay.Errorf(patchbay.SettingsUnreadable, "the engine describes the mounts of %s in a way that Docker's API does not", c.Name)
		}
	}
	declared := map[string]bool{}
	var binds []string
	_ = json.Unmarshal(c.HostConfig["Binds"], &binds)
	for _, bind := range binds {
		if parts := strings.Split(bind, ":"); len(parts) > 1 {
			declared[parts[1]] = true
		}
	}
	var declaredVolumes map[string]struct{}
	_ = json.Unmarshal(c.Config["Volumes"], &declaredVolumes)
	byTarget := map[string]mountPoint{}
	for _, m := range c.Mounts {
		byTarget[m.Destination] = m
	}
	for _, m := range mounts {
		target, _ := m["Target"].(string)
		declared[target] = true
		if source, _ := m["Source"].(string); source == "" && m["Type"] == "volume" {
			m["Source"] = byTarget[target].Name
		}
	}
	for _, m := range c.Mounts {
		if _, anonymous := declaredVolumes[m.Destination]; anonymous && m.Type == "volume" && !declared[m.Destination] {
			mounts = append(mounts, map[string]any{
				"Type": "volume", "Source": m.Name, "Target": m.Destination, "ReadOnly": !m.RW,
				"VolumeOptions": map[string]any{"NoCopy": true}, // what the application removed there stays so
			})
		}
	}
	return mounts, nil
}

// endpoint is a container's configuration in a network.
func (s *source) endpoint(c *container, network string) map[string]any {
	e := c.NetworkSettings.Networks[network]
	config := map[string]any{}
	for name, value := range map[string]json.RawMessage{"IPAMConfig": e.IPAMConfig, "DriverOpts": e.DriverOpts, "GwPriority": e.GwPriority} {
		if !empty(value) {
			config[name] = value
		}
	}
	if list := aliases(c, e); len(list) > 0 {
		config["Aliases"] = list
	}
	if len(e.Links) > 0 {
		config["Links"] = e.Links
	}
	// Where the address of a card is the network's to say, the engine does not tell
	// one that it was given from its own choice. One that it makes of the IP address
	// is made anew; another is kept.
	if !s.engine.Podman && versions.GreaterThanOrEqualTo(s.engine.ClientVersion(), "1.44") && e.MacAddress != "" && e.MacAddress != madeOf(e.IPAddress) {
		config["MacAddress"] = e.MacAddress
	}
	return config
}

// madeOf is the hardware address that an engine makes of an IP address.
func madeOf(ip string) string {
	a, err := netip.ParseAddr(ip)
	if err != nil || !a.Is4() {
		return ""
	}
	b := a.As4()
	return fmt.Sprintf("02:42:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3])
}

// aliases are the names that somebody gave a container in a network: engines add its
// id and host name.
func aliases(c *container, e endpoint) []string {
	var list []string
	for _, alias := range e.Aliases {
		if alias != short(c.ID) && alias != text(c.Config, "Hostname") && !slices.Contains(list, alias) {
			list = append(list, alias)
		}
	}
	slices.Sort(list)
	return list
}

// differences are the names of what got has otherwise than c, its settings apart.
// Values may be secrets, and are not told.
func (s *source) differences(c, got *container, st settings) []string {
	var list []string
	differ := func(name string, same bool) {
		if !same {
			list = append(list, name)
		}
	}
	was, is := maps.Clone(c.Config), maps.Clone(got.Config)
	differ("Env", sameEnv(st, got.settings))
	differ("Labels", maps.Equal(st.Labels, got.settings.Labels) || len(st.Labels)+len(got.settings.Labels) == 0)
	for _, config := range []map[string]json.RawMessage{was, is} {
		for _, name := range []string{"Env", "Labels", "Image"} {
			delete(config, name)
		}
	}
	if s.ownHostname(c) {
		delete(was, "Hostname")
		delete(is, "Hostname")
	}
	if c.State.Pid == 0 && s.engine.Podman || text(was, "Domainname") == "" {
		delete(was, "Domainname")
		delete(is, "Domainname")
	}
	differ("Image", c.Image == got.Image)
	list = append(list, differentMembers("Config.", was, is)...)

	was, is = maps.Clone(c.HostConfig), maps.Clone(got.HostConfig)
	differ("Links", slices.Equal(links(c), links(got)))
	for _, host := range []map[string]json.RawMessage{was, is} {
		for _, name := range []string{"Links", "Mounts"} { // compared as what came of them
			delete(host, name)
		}
		if s.engine.Rootless {
			delete(host, "Ulimits") // told of what its command line made alone
		}
	}
	list = append(list, differentMembers("HostConfig.", was, is)...)

	differ("Mounts", slices.Equal(mountWords(c), mountWords(got)))
	differ("Networks", slices.Equal(c.networks(), got.networks()))
	for name, e := range c.NetworkSettings.Networks {
		other := got.NetworkSettings.Networks[name]
		differ(name+".Aliases", slices.Equal(aliases(c, e), aliases(got, other)))
		differ(name+".Links", slices.Equal(e.Links, other.Links))
		differ(name+".IPAMConfig", same(e.IPAMConfig, other.IPAMConfig))
		differ(name+".DriverOpts", same(e.DriverOpts, other.DriverOpts))
	}
	return list
}

// sameEnv reports whether an environment is what was asked for; an engine may add to
// it what its image has.
func sameEnv(want, got settings) bool {
	wanted, have := want.values(), got.values()
	for name, value := range wanted {
		if other, ok := have[name]; !ok || other.Reveal() != value.Reveal() {
			return false
		}
	}
	return true
}

func mountWords(c *container) []string {
	var list []string
	for _, m := range c.Mounts {
		list = append(list, fmt.Sprintf("%q %q %q %q %t %q", m.Destination, m.Type, m.Name, m.Source, m.RW, m.Propagation))
	}
	slices.Sort(list)
	return list
}

// differentMembers are the names of members that differ, nothing being the same in
// whatever form it is said.
func differentMembers(prefix string, was, is map[string]json.RawMessage) []string {
	var list []string
	names := maps.Clone(was)
	maps.Copy(names, is)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if !same(was[name], is[name]) {
			list = append(list, prefix+name)
		}
	}
	return list
}

func same(a, b json.RawMessage) bool {
	if empty(a) || empty(b) {
		return empty(a) == empty(b)
	}
	return canonical(a) == canonical(b)
}

// canonical is JSON in one form. The order of a list of texts means nothing in what
// is compared here, except for commands.
func canonical(raw json.RawMessage) string {
	var value any
	if json.Unmarshal(raw, &value) != nil {
		return string(raw)
	}
	b, _ := json.Marshal(value)
	return string(b)
}
