package crashtest

import "patchbay.dev/patchbay/internal/testenv/docker"

// sites are the grounds whose sources are in containers.
func sites() []ground {
	return []ground{
		{start: startPostgres, site: startEngine(docker.Docker), on: "Docker", fails: []string{"verify/before-do", "restart/after-do"}},
		{start: startPostgres, site: startEngine(docker.Podman), on: "Podman", fails: []string{"verify/before-do"}},
	}
}
