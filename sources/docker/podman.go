package docker

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// podmanFlags are what Podman tells of a container through Docker's API as it was
// given, and takes again. What a container was made with besides would be lost
// without a word. A flag that is true has no value of its own.
var podmanFlags = map[string]bool{
	"add-host": false, "cap-add": false, "cap-drop": false, "cpu-shares": false, "cpus": false, "detach": true, "device": false,
	"dns": false, "dns-option": false, "dns-search": false, "entrypoint": false, "env": false, "env-file": false, "expose": false,
	"group-add": false, "health-cmd": false, "health-interval": false, "health-retries": false, "health-start-period": false, "health-timeout": false,
	"hostname": false, "interactive": true, "label": false, "label-file": false, "memory": false, "memory-swap": false, "name": false,
	"network": false, "network-alias": false, "no-healthcheck": true, "oom-score-adj": false, "pids-limit": false, "publish": false, "pull": false,
	"quiet": true, "read-only": true, "replace": true, "restart": false, "security-opt": false, "shm-size": false, "stop-signal": false,
	"stop-timeout": false, "tmpfs": false, "tty": true, "ulimit": false, "user": false, "volume": false, "workdir": false,
}

var podmanShort = map[byte]string{
	'd': "detach", 'e': "env", 'h': "hostname", 'i': "interactive", 'l': "label", 'm': "memory", 'p': "publish", 'q': "quiet", 't': "tty", 'u': "user", 'v': "volume", 'w': "workdir",
}

// checkPodman refuses what Podman would not make again.
func (s *source) checkPodman(ctx context.Context, c *container, refuse func(string, ...any) *patchbay.Error) error {
	var told struct {
		Pod    string
		Config struct{ CreateCommand []string }
	}
	// Podman's own API knows more; its version is the first that has it in this form.
	if err := s.engine.Call(ctx, http.MethodGet, "../v4.0.0/libpod/containers/"+url.PathEscape(c.ID)+"/json", nil, nil, &told); err != nil {
		return err
	}
	if told.Pod != "" {
		return refuse("it is in a pod, whose containers share their namespaces").WithFix("start it outside of a pod")
	}
	var lost []string
	if s.engine.Rootless {
		lost = []string{"ulimit"} // its API forgets them
	}
	if flag := unknownFlag(told.Config.CreateCommand, lost...); flag != "" {
		return refuse("it was started with %s, which Podman does not tell of it through Docker's API, and which would be lost", driver.Quoted(flag)).
			WithFix("start it without that, or give the application a settings file and register it with the driver envfile")
	}
	return nil
}

// unknownFlag is the first flag of a podman command that podmanFlags has not; "" when
// there is none, as of a container that was made through an API. Those that are lost are
// unknown too.
func unknownFlag(argv []string, lost ...string) string {
	at := slices.IndexFunc(argv, func(a string) bool { return a == "run" || a == "create" })
	if at < 0 {
		return ""
	}
	for i := at + 1; i < len(argv); i++ {
		arg := argv[i]
		switch {
		case arg == "--" || !strings.HasPrefix(arg, "-") || arg == "-":
			return ""
		case strings.HasPrefix(arg, "--"):
			name, value, has := strings.Cut(arg[2:], "=")
			if name == "net" {
				name = "network"
			}
			alone, known := podmanFlags[name]
			if !known || slices.Contains(lost, name) {
				return "--" + name
			}
			if !has && !alone && i+1 < len(argv) {
				i++
				value = argv[i]
			}
			if name == "network" && strings.Contains(value, ":") && !strings.HasPrefix(value, "container:") {
				return "--network " + value
			}
		default:
			for j := 1; j < len(arg); j++ {
				name, known := podmanShort[arg[j]]
				if !known {
					return "-" + arg[j:j+1]
				}
				if !podmanFlags[name] { // its value is the rest, or the next
					if j == len(arg)-1 {
						i++
					}
					break
				}
			}
		}
	}
	return ""
}

// podmanEnv is an environment without what Podman gives every container by itself.
func podmanEnv(c *container) []string {
	added := []string{"container=podman", "TERM=xterm", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=" + text(c.Config, "Hostname")}
	return slices.DeleteFunc(c.settings.Env, func(entry string) bool { return slices.Contains(added, entry) })
}

// podmanBody makes what Podman says of a container what it takes for one.
func podmanBody(c *container, host map[string]any) {
	delete(host, "Runtime") // "oci", which is no runtime's name
	if _, ok := c.HostConfig["MemorySwappiness"]; ok {
		delete(host, "MemorySwappiness") // -1 is the default, and refused
	}
	if !empty(c.HostConfig["NanoCpus"]) { // both are told, and one taken
		delete(host, "CpuPeriod")
		delete(host, "CpuQuota")
	}
	var ulimits []map[string]any
	if json.Unmarshal(c.HostConfig["Ulimits"], &ulimits) == nil {
		for _, u := range ulimits {
			if name, ok := u["Name"].(string); ok {
				u["Name"] = strings.ToLower(strings.TrimPrefix(name, "RLIMIT_"))
			}
		}
		host["Ulimits"] = ulimits
	}
}
