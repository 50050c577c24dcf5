package compose

import (
	"os"
	"os/exec"
	"testing"

	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
)

func TestScratch(t *testing.T) {
	e := testdocker.Start(t, testdocker.Docker)
	e.Image(t, testdocker.App)
	cmd := exec.Command("bash", "/tmp/scratch.sh")
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+e.Socket, "C=/root/.cache/patchbay/compose/v2.40.3/docker-compose", "D="+t.TempDir())
	out, err := cmd.CombinedOutput()
	t.Logf("%v\n%s", err, out)
}
