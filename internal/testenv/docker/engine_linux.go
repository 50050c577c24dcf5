// Package docker starts container engines for tests, Docker's and Podman's, each
// in network and mount namespaces of its own: bridges, NAT rules and mounts go
// with the engine's processes, however those end. There is no registry: Image
// builds what runs.
package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"patchbay.dev/patchbay/internal/testenv/cgroup"
)

// The engines.
const (
	Docker = "docker"
	Podman = "podman"
)

// Engines are all of them.
var Engines = []string{Docker, Podman}

// An Engine is one that runs.
type Engine struct {
	Name   string // Docker or Podman
	Socket string // of its API, Docker's
	dir    string
	more   Options
	holder *child // of the namespaces
	daemon *child
	images map[string]bool
	mu     sync.Mutex
}

const prefix = "patchbay-engine-"

// limit is how long anything may take that is done to an engine.
const limit = time.Minute

// Options are what an engine may have otherwise.
type Options struct {
	// Args are more arguments of dockerd.
	Args []string
	// Disk is the size of a disk of the engine's own, as tmpfs has it (64m); this
	// machine's when empty.
	Disk string
	// Beside is a process whose network is the engine's too, as on its machine; the
	// engine has one of its own when it is 0. The process ends with the engine.
	Beside int
}

// Start starts the engine of that name; it ends with the test, with all that runs
// in it. Where it can't run the test is skipped, unless PATCHBAY_TESTENV is
// "required".
func Start(t testing.TB, engine string) *Engine {
	t.Helper()
	return StartWith(t, engine, Options{})
}

// StartWith is Start of one that has something otherwise.
func StartWith(t testing.TB, engine string, o Options) *Engine {
	t.Helper()
	if why := missing(engine); why != "" {
		if os.Getenv("PATCHBAY_TESTENV") == "required" {
			t.Fatalf("%s can't run: %s", engine, why)
		}
		t.Skipf("%s can't run here: %s", engine, why)
	}
	e, err := start(engine, o)
	if e != nil {
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("the last words of %s:\n%s", engine, e.LogTail())
			}
			if err := e.stop(); err != nil {
				t.Errorf("stop %s: %v", engine, err)
			}
		})
	}
	if err != nil {
		t.Fatalf("start %s: %v", engine, err)
	}
	return e
}

// missing is what keeps an engine from running, "" for nothing.
func missing(engine string) string {
	if os.Getuid() != 0 {
		return "it needs root, for namespaces and cgroups"
	}
	programs := []string{"docker", "runc", "nsenter", "unshare", "ip", "go"}
	switch engine {
	case Docker:
		programs = append(programs, "dockerd", "containerd", "iptables")
	case Podman:
		programs = append(programs, "podman", "conmon")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return "there is no " + p + ": `make deps` installs it"
		}
	}
	// In a container or a user namespace root may have no right to either.
	if out, err := exec.Command("unshare", "--net", "--mount", "true").CombinedOutput(); err != nil {
		return "no namespace can be made: " + strings.TrimSpace(string(out))
	}
	return ""
}

// own is what makes the namespaces an engine's own: Podman keeps addresses, networks
// and locks at places that can't be chosen.
const own = `set -e
for dir in /run/containers /run/netns /run/libpod /dev/shm; do
	mkdir -p $dir
	mount -t tmpfs tmpfs $dir
done
ip link set lo up
echo ready
exec sleep infinity`

func start(name string, o Options) (*Engine, error) {
	sweep()
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", prefix, os.Getpid()))
	if err != nil {
		return nil, err
	}
	e := &Engine{Name: name, Socket: filepath.Join(dir, "s.sock"), dir: dir, more: o, images: map[string]bool{}}
	// The holder keeps the namespaces when the engine is restarted.
	ready, hold, err := os.Pipe()
	if err != nil {
		return e, err
	}
	defer func() { _ = ready.Close() }()
	argv := []string{"unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", own}
	if o.Beside != 0 {
		argv = append([]string{"nsenter", "-t", strconv.Itoa(o.Beside), "-n"}, slices.Delete(argv, 1, 2)...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = hold, hold
	e.holder, err = startChild(cmd)
	_ = hold.Close()
	if err != nil {
		return e, err
	}
	said := make([]byte, 100)
	if n, _ := ready.Read(said); !strings.HasPrefix(string(said[:n]), "ready") {
		return e, fmt.Errorf("namespaces: %s", said[:n])
	}
	if o.Disk != "" {
		if err := os.Mkdir(e.Data(), 0o711); err != nil {
			return e, err
		}
		if _, err := output(e.inside("mount", "-t", "tmpfs", "-o", "size="+o.Disk, "tmpfs", e.Data())); err != nil {
			return e, err
		}
	}
	return e, e.Up()
}

// Up starts the engine's service again, after Down or Kill.
func (e *Engine) Up() error {
	var args []string
	env := []string{"PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + e.dir, "XDG_RUNTIME_DIR=" + e.dir, "TMPDIR=" + e.dir}
	switch e.Name {
	case Docker:
		args = []string{"dockerd", "--data-root", e.Data(), "--exec-root", e.path("exec"), "--pidfile", e.path("pid"), "--host", "unix://" + e.Socket,
			// Root may have no right to raise limits: then only these can be set.
			"--default-ulimit", "nofile=1024:1024", "--cgroup-parent", "/" + filepath.Base(e.dir), "--config-file", e.path("daemon.json")}
		args = append(args, e.more.Args...)
		_ = os.Remove(e.path("pid"))
		if err := os.WriteFile(e.path("daemon.json"), []byte("{}"), 0o600); err != nil {
			return err
		}
	case Podman:
		conf := "[containers]\ndefault_ulimits=[\"nofile=1024:1024\",\"nproc=1024:1024\"]\nlog_driver=\"k8s-file\"\n" +
			"[network]\nnetwork_backend=\"netavark\"\n" +
			"[engine]\ncgroup_manager=\"cgroupfs\"\nevents_logger=\"file\"\nruntime=\"runc\"\n"
		if err := os.WriteFile(e.path("containers.conf"), []byte(conf), 0o600); err != nil {
			return err
		}
		args = append(e.podman(), "system", "service", "--time=0", "unix://"+e.Socket)
		env = append(env, "CONTAINERS_CONF="+e.path("containers.conf"))
	default:
		return fmt.Errorf("there is no engine %q", e.Name)
	}
	_ = os.Remove(e.Socket)
	log, err := os.OpenFile(e.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := e.inside(args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, e.dir, log, log
	if e.daemon, err = startChild(cmd); err != nil {
		return err
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	ended := time.After(limit)
	for {
		if e.answers() {
			return nil
		}
		select {
		case <-tick.C:
		case <-e.daemon.done:
			return fmt.Errorf("%s ended:\n%s", e.Name, e.LogTail())
		case <-ended:
			return fmt.Errorf("%s does not answer:\n%s", e.Name, e.LogTail())
		}
	}
}

func (e *Engine) answers() bool {
	client := http.Client{Timeout: limit, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", e.Socket)
	}}}
	response, err := client.Get("http://engine/_ping")
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// Down stops the service in order. Docker's stops its containers with it, Podman's
// does not.
func (e *Engine) Down() error { return e.daemon.stop(syscall.SIGTERM) }

// Kill ends the service as a crash would.
func (e *Engine) Kill() {
	_ = e.daemon.stop(syscall.SIGKILL)
	// What Docker has started itself dies with it, a moment later; a new one would
	// find it alive, and wait for it.
	text, err := os.ReadFile(e.path("exec/containerd/containerd.pid"))
	if pid, _ := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && pid > 1 {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		for alive(pid) {
			runtime.Gosched()
		}
		_ = os.Remove(e.path("exec/containerd/containerd.pid"))
	}
}

// alive reports whether a process runs; one that nobody has waited for does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

// Data is the directory of its disk.
func (e *Engine) Data() string { return e.path("data") }

func (e *Engine) path(name string) string { return filepath.Join(e.dir, name) }

func (e *Engine) podman() []string {
	return []string{"podman", "--root", e.Data(), "--runroot", e.path("run"), "--network-config-dir", e.path("networks"), "--tmpdir", e.path("tmp"),
		"--storage-driver", "overlay", "--runtime", "runc"}
}

// inside is a command in the engine's namespaces.
func (e *Engine) inside(argv ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"-t", strconv.Itoa(e.Pid()), "-n", "-m"}, argv...)...)
}

// Pid is of a process in the engine's own network and mount namespaces.
func (e *Engine) Pid() int { return e.holder.cmd.Process.Pid }

// Inside runs a command in the engine's network.
func (e *Engine) Inside(argv ...string) (string, error) {
	return output(exec.Command("nsenter", append([]string{"-t", strconv.Itoa(e.Pid()), "-n"}, argv...)...))
}

// OnDisk runs a command that sees the engine's disk and mounts.
func (e *Engine) OnDisk(argv ...string) (string, error) { return output(e.inside(argv...)) }

// Docker runs Docker's command line, which both engines answer.
func (e *Engine) Docker(args ...string) (string, error) { return output(e.docker(args...)) }

func (e *Engine) docker(args ...string) *exec.Cmd {
	cmd := exec.Command("docker", args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + e.dir, "DOCKER_HOST=unix://" + e.Socket, "DOCKER_BUILDKIT=0", "DOCKER_CLI_HINTS=false"}
	return cmd
}

// Podman runs Podman's own command line.
func (e *Engine) Podman(args ...string) (string, error) {
	cmd := e.inside(append(e.podman(), args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + e.dir, "XDG_RUNTIME_DIR=" + e.dir, "CONTAINERS_CONF=" + e.path("containers.conf")}
	return output(cmd)
}

func output(cmd *exec.Cmd) (string, error) {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, out.String(), errs.String())
	}
	return strings.TrimRight(out.String(), "\n"), nil
}

// Must is Docker's command line, and the end of the test when it fails.
func (e *Engine) Must(t testing.TB, args ...string) string {
	t.Helper()
	out, err := e.Docker(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Environ is what the process of a container really has, less what engines give to
// each of them.
func (e *Engine) Environ(container string) (map[string]string, error) {
	pid, err := e.Docker("inspect", "--format", "{{.State.Pid}}", container)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile("/proc/" + pid + "/environ")
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for entry := range strings.SplitSeq(strings.TrimSuffix(string(b), "\x00"), "\x00") {
		key, value, _ := strings.Cut(entry, "=")
		all[key] = value
	}
	for _, given := range []string{"PATH", "HOSTNAME", "HOME", "TERM", "container"} {
		delete(all, given)
	}
	return all, nil
}

// App is the image of the application that Image's are made from.
const App = "app"

// Image makes an image of the application (Command app) with these lines of a
// Dockerfile, under that name. It is made once. With no lines it has no variable.
func (e *Engine) Image(t testing.TB, name string, lines ...string) string {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.images[name] {
		return name
	}
	program, err := builtApp()
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) == 0 { // a Dockerfile's image has variables of its own
		cmd := e.docker("import", "--change", `ENTRYPOINT ["/app"]`, "-", name)
		cmd.Stdin = Tar("app", 0o755, program)
		if _, err := output(cmd); err != nil {
			t.Fatal(err)
		}
		e.images[name] = true
		return name
	}
	context := e.path("image-" + name)
	dockerfile := "FROM scratch\nCOPY app /app\nENTRYPOINT [\"/app\"]\n" + strings.Join(lines, "\n") + "\n"
	err = errors.Join(os.MkdirAll(context, 0o700), os.WriteFile(filepath.Join(context, "app"), program, 0o755),
		os.WriteFile(filepath.Join(context, "Dockerfile"), []byte(dockerfile), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if out, err := e.Docker("build", "-q", "-t", name, context); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	e.images[name] = true
	return name
}

// Program is the application itself, which needs nothing else.
func Program(t testing.TB) []byte {
	t.Helper()
	program, err := builtApp()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// builtApp is the program, without a library that an empty image lacks.
var builtApp = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", prefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "app")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", path, "patchbay.dev/patchbay/internal/testenv/docker/app")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the application of the containers: %w\n%s", err, out)
	}
	return os.ReadFile(path)
})

// Tar is an archive of one file, as the engine's API takes files.
func Tar(name string, mode int64, content []byte) io.Reader {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(content)), Typeflag: tar.TypeReg})
	_, _ = w.Write(content)
	_ = w.Close()
	return &b
}

// LogTail is the end of what the service said.
func (e *Engine) LogTail() string {
	log, _ := os.ReadFile(e.path("log"))
	return string(log[max(0, len(log)-3000):])
}

// stop ends the engine and everything in it. It may be called again.
func (e *Engine) stop() error {
	if e.daemon != nil && e.Name == Podman && e.answers() {
		// Podman's containers go on without a service.
		_, _ = e.Podman("rm", "--all", "--force", "--time", "0")
	}
	if e.holder != nil {
		killNamespace(e.Pid())
		_ = e.holder.stop(syscall.SIGKILL)
	}
	return removeAll(e.dir)
}

// killNamespace ends every process that is in the network namespace of pid, and
// all that they have started: shims, monitors and containers.
func killNamespace(pid int) {
	ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	if mine, _ := os.Readlink("/proc/self/ns/net"); err != nil || ns == mine {
		return
	}
	killAll(func(pid int) bool {
		other, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
		return err == nil && other == ns
	})
}

// killAll ends the processes that belong says, and their descendants, until there
// are none.
func killAll(belongs func(pid int) bool) {
	for range 50 {
		parents := map[int]int{}
		var doomed []int
		entries, _ := filepath.Glob("/proc/[0-9]*")
		for _, entry := range entries {
			pid, _ := strconv.Atoi(filepath.Base(entry))
			stat, err := os.ReadFile(filepath.Join(entry, "stat"))
			if err != nil {
				continue
			}
			fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
			if len(fields) < 2 || fields[0] == "Z" {
				continue
			}
			parents[pid], _ = strconv.Atoi(fields[1])
			if pid != os.Getpid() && belongs(pid) {
				doomed = append(doomed, pid)
			}
		}
		for grown := true; grown; {
			grown = false
			for pid, parent := range parents {
				if slices.Contains(doomed, parent) && !slices.Contains(doomed, pid) {
					doomed, grown = append(doomed, pid), true
				}
			}
		}
		if len(doomed) == 0 {
			return
		}
		for _, pid := range doomed {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

func removeAll(dir string) error {
	// Podman's groups are not below one of the engine's.
	containers, _ := filepath.Glob(filepath.Join(dir, "data/overlay-containers/*"))
	for _, c := range containers {
		cgroup.Remove("libpod_parent/libpod-" + filepath.Base(c))
		cgroup.Remove("libpod_parent/libpod-conmon-" + filepath.Base(c))
	}
	cgroup.Remove(filepath.Base(dir))
	var err error
	for range 100 { // a mount goes when the last process of its namespace has
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
		runtime.Gosched()
	}
	return err
}

// sweep removes what tests left that were killed.
func sweep() {
	stale := func(path string) bool {
		text, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), prefix), "-")
		pid, err := strconv.Atoi(text)
		return err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	}
	cgroup.Sweep(prefix) // a group outlives its directory when a process was still ending
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	for _, dir := range dirs {
		if !stale(dir) {
			continue
		}
		killAll(func(pid int) bool {
			line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			return err == nil && bytes.Contains(line, []byte(dir))
		})
		_ = removeAll(dir)
	}
}

// child is a process that ends with this one.
type child struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// startChild starts cmd from a thread that stays: the signal that tells a child
// of its parent's death is sent when the thread ends that made it.
func startChild(cmd *exec.Cmd) (*child, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	c := &child{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
			close(c.done)
		}
	}()
	return c, <-started
}

func (c *child) stop(sig syscall.Signal) error {
	if c == nil || c.cmd.Process == nil {
		return nil
	}
	_ = c.cmd.Process.Signal(sig)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c.done:
		return nil
	case <-timer.C:
		_ = c.cmd.Process.Kill()
		<-c.done
		return errors.New("it had to be killed")
	}
}
