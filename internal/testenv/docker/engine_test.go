//go:build linux

package docker

import (
	"strings"
	"testing"
)

func TestAnEngineRunsContainers(t *testing.T) {
	for _, name := range Engines {
		t.Run(name, func(t *testing.T) {
			e := Start(t, name)
			image := e.Image(t, App)
			if out := e.Must(t, "run", "--rm", "-e", "GREETING=hello", image, "once"); !strings.Contains(out, "GREETING=hello") {
				t.Errorf("the application says %q", out)
			}
			e.Must(t, "run", "-d", "--name", "web", "-p", "127.0.0.1:18080:8080", image)
			if err := e.Down(); err != nil {
				t.Fatal(err)
			}
			if err := e.Up(); err != nil {
				t.Fatal(err)
			}
			e.Must(t, "inspect", "web")
		})
	}
}
