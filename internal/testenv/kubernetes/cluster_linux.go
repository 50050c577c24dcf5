package kubernetes

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/internal/testenv/cgroup"
)

// Image is the application's, on the node. It listens on port 8080.
const Image = "local.test/app:1"

// NodeAddress is the node's own, and nodeAddress6 the one that it has besides with
// [Options].DualStack.
const (
	NodeAddress  = "10.243.0.1"
	nodeAddress6 = "fd00:243::1"
)

// Gateway is the node's address in the network of its pods.
const Gateway = "10.244.0.1"

const stalePrefix = "patchbay-kubernetes-"

// Cluster is a running one.
type Cluster struct {
	Dir   string
	CA    []byte // PEM: of the API server and of clients
	Token string // of an administrator

	authority *testenv.Authority
	programs  string
	dualStack bool
	init      *exec.Cmd
	hold      io.Closer // ends init
	netns     *os.File
	cgroup    string
	mu        sync.Mutex
	running   map[string]*exec.Cmd
	done      map[string]chan struct{}
}

// Options say what of a cluster is started.
type Options struct {
	// Node is a node on which pods run. Without one they are only made.
	Node bool
	// Policies has the node enforce NetworkPolicies ([Cluster.Enforce]).
	Policies bool
	// DualStack has pods with an IPv6 address besides, where policies are enforced as well.
	DualStack bool
}

// HasIPv6 reports whether this machine's networks may have IPv6.
func HasIPv6() bool {
	_, err := os.Stat("/proc/net/if_inet6")
	return err == nil
}

// Server is the URL of the API server, which [Cluster.Dialer] reaches.
func (c *Cluster) Server() string { return "https://127.0.0.1:6443" }

// Programs is the directory that the programs are in; testenv.ErrNotInstalled when
// they have not been built.
func Programs() (string, error) {
	_, file, _, _ := runtime.Caller(0)
	out, err := exec.Command(filepath.Join(filepath.Dir(file), "../../../tools/kubernetes.sh"), "cached").Output()
	if err != nil {
		return "", fmt.Errorf("the programs of a Kubernetes cluster are %w: `make test-kubernetes` builds them", testenv.ErrNotInstalled)
	}
	return strings.TrimSpace(string(out)), nil
}

// Start starts a cluster that ends with the test, which is skipped when that is
// not possible here.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	c, err := New(o)
	if c != nil {
		t.Cleanup(func() {
			if t.Failed() {
				t.Log(c.Logs())
			}
			if err := c.Stop(); err != nil {
				t.Errorf("stop the cluster: %v", err)
			}
		})
	}
	if err != nil {
		Missing(t, err)
	}
	return c
}

// New starts a cluster. What it gives along with an error is to be stopped, too.
func New(o Options) (*Cluster, error) {
	programs, err := Programs()
	if err != nil {
		return nil, err
	}
	if os.Getuid() != 0 {
		return nil, fmt.Errorf("a cluster needs root for its networks and mounts: %w", testenv.ErrNotInstalled)
	}
	for _, program := range []string{"runc", "nsenter", "ip", "/usr/lib/cni/bridge", "/usr/lib/cni/host-local"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("%s is %w: `make deps` installs it", program, testenv.ErrNotInstalled)
		}
	}
	sweep()
	c := &Cluster{programs: programs, dualStack: o.DualStack, running: map[string]*exec.Cmd{}, done: map[string]chan struct{}{}}
	if c.Dir, err = os.MkdirTemp("", fmt.Sprintf("%s%d-", stalePrefix, os.Getpid())); err != nil {
		return c, err
	}
	c.cgroup = filepath.Base(c.Dir)
	for _, step := range []func() error{c.enter, c.credentials, c.controlPlane} {
		if err := step(); err != nil {
			return c, err
		}
	}
	if o.Node {
		err = c.node()
	}
	if o.Policies && err == nil {
		err = c.Enforce()
	}
	return c, err
}

// sweep removes what earlier processes left that were killed: their kernel
// namespaces went with them, directories did not.
func sweep() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), stalePrefix+"*"))
	for _, dir := range dirs {
		text, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), stalePrefix), "-")
		if pid, err := strconv.Atoi(text); err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			cgroup.Remove(filepath.Base(dir))
			_ = os.RemoveAll(dir)
		}
	}
}

// enter makes the namespaces. Their first process ends when this one does, for it
// reads from it; all others end with it, and so do mounts and networks.
func (c *Cluster) enter() error {
	c.init = exec.Command("/bin/bash", "-c", `
mount --make-rprivate / && mount --make-rshared / && mount -t proc proc /proc && mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && ip link set lo up &&
ip link add node0 type bridge && ip address add ${NODE}/24 dev node0 && ip link set node0 up || exit 1
[ -z "$NODE6" ] || ip address add ${NODE6}/64 dev node0 nodad || exit 1
echo ready
while read -r _; do :; done`)
	c.init.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "NODE=" + NodeAddress}
	if c.dualStack {
		c.init.Env = append(c.init.Env, "NODE6="+nodeAddress6)
	}
	c.init.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET, Setpgid: true}
	stdin, err := c.init.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := c.init.StdoutPipe()
	if err != nil {
		return err
	}
	var said bytes.Buffer
	c.init.Stderr = &said
	if err := c.init.Start(); err != nil {
		return fmt.Errorf("this process may not make namespaces (%w): %w", err, testenv.ErrNotInstalled)
	}
	c.hold = stdin
	if _, err := io.ReadFull(stdout, make([]byte, len("ready\n"))); err != nil {
		return fmt.Errorf("no mounts and networks of its own: %s", said.String())
	}
	c.netns, err = os.Open(fmt.Sprintf("/proc/%d/ns/net", c.init.Process.Pid))
	return err
}

// Pid is of a process in the cluster's own network, which is the node's.
func (c *Cluster) Pid() int { return c.init.Process.Pid }

// Command is a program inside the namespaces, with the cluster's programs first in
// its PATH.
func (c *Cluster) Command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(c.init.Process.Pid), "-m", "-n", "-p", "--", program}, args...)...)
	cmd.Dir = c.Dir
	cmd.Env = []string{"PATH=" + c.programs + ":/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + c.Dir, "LC_ALL=C", "KUBECONFIG=" + filepath.Join(c.Dir, "kubeconfig")}
	return cmd
}

// start runs a program until Stop, or until it is stopped by its name.
func (c *Cluster) start(name string, args ...string) error {
	log, err := os.OpenFile(filepath.Join(c.Dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := c.Command(filepath.Join(c.programs, name), args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running[name], c.done[name] = cmd, done
	return nil
}

// await asks until there is no error, or the program has ended.
func (c *Cluster) await(name string, ask func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-c.done[name]:
			return fmt.Errorf("%s ended\n%s", name, c.tail(name))
		case <-ctx.Done():
			return fmt.Errorf("%s is not up: %w\n%s", name, err, c.tail(name))
		}
	}
}

func (c *Cluster) tail(name string) string {
	log, _ := os.ReadFile(filepath.Join(c.Dir, name+".log"))
	return string(log[max(0, len(log)-3000):])
}

// Logs are the last words of all programs.
func (c *Cluster) Logs() string {
	var b strings.Builder
	for name := range c.running {
		fmt.Fprintf(&b, "--- %s\n%s\n", name, c.tail(name))
	}
	return b.String()
}

func (c *Cluster) file(name string, content []byte) string {
	path := filepath.Join(c.Dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		panic(err) // a temporary directory of our own
	}
	return path
}

// credentials makes the certificates and the tokens. User is a user of each token
// that [Cluster.User] makes.
func (c *Cluster) credentials() (err error) {
	if c.authority, err = testenv.NewAuthority(); err != nil {
		return err
	}
	c.CA = c.authority.PEM()
	cert, key, err := c.authority.Issue("kube-apiserver", []string{"localhost", "kubernetes.default.svc"}, []net.IP{net.ParseIP("127.0.0.1")})
	if err != nil {
		return err
	}
	account, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&account.PublicKey)
	if err != nil {
		return err
	}
	raw := make([]byte, 16)
	_, _ = rand.Read(raw)
	c.Token = hex.EncodeToString(raw)
	c.file("ca.crt", c.CA)
	c.file("server.crt", cert)
	c.file("server.key", key)
	c.file("account.key", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(account)}))
	c.file("account.pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
	tokens := fmt.Sprintf("%s,admin,admin,\"system:masters\"\n", c.Token)
	for i := range users {
		tokens += fmt.Sprintf("%s,user%d,user%d\n", c.UserToken(i), i, i)
	}
	c.file("tokens.csv", []byte(tokens))
	c.file("kubeconfig", []byte(c.Kubeconfig(c.Token)))
	return nil
}

// users is how many there are who may do nothing: user0, user1…
const users = 40

// UserToken is the token of the user of that number.
func (c *Cluster) UserToken(n int) string { return fmt.Sprintf("%s-%d", c.Token, n) }

// ClientCertificate is one that signs in as the user of that name.
func (c *Cluster) ClientCertificate(user string) (cert, key []byte, err error) {
	return c.authority.Issue(user, nil, nil)
}

// Kubeconfig is one with a context test.
func (c *Cluster) Kubeconfig(token string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority-data: %q}}]
users: [{name: u, user: {token: %q}}]
contexts: [{name: test, context: {cluster: c, user: u}}]
current-context: test
`, c.Server(), base64Of(c.CA), token)
}

// Apiserver starts the API server, or starts it again.
func (c *Cluster) Apiserver() error {
	at := func(name string) string { return filepath.Join(c.Dir, name) }
	err := c.start("kube-apiserver", serviceRange(c.dualStack), "--etcd-servers=http://127.0.0.1:2379", "--secure-port=6443", "--bind-address=127.0.0.1", "--cert-dir="+at("certs"),
		"--tls-cert-file="+at("server.crt"), "--tls-private-key-file="+at("server.key"), "--client-ca-file="+at("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+at("account.pub"), "--service-account-signing-key-file="+at("account.key"),
		"--token-auth-file="+at("tokens.csv"), "--authorization-mode=RBAC", "--allow-privileged",
		"--kubelet-preferred-address-types=InternalIP", "--disable-admission-plugins=ServiceAccount", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none")
	if err != nil {
		return err
	}
	client := c.Client()
	return c.await("kube-apiserver", func() error { return get(client, c.Server()+"/readyz", c.Token) })
}

// serviceRange is where Services have their addresses: of both families, or of IPv4.
func serviceRange(both bool) string {
	if both {
		return "--service-cluster-ip-range=10.0.0.0/24,fd00:10::/112"
	}
	return "--service-cluster-ip-range=10.0.0.0/24"
}

// StopProgram ends one of the cluster's programs with a signal, and waits for it.
func (c *Cluster) StopProgram(name string, signal syscall.Signal) {
	c.mu.Lock()
	cmd, done := c.running[name], c.done[name]
	c.mu.Unlock()
	if cmd == nil {
		return
	}
	// nsenter's child is the program itself: a signal for nsenter would end that alone.
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", cmd.Process.Pid, cmd.Process.Pid))
	for child := range strings.FieldsSeq(string(children)) {
		if pid, err := strconv.Atoi(child); err == nil {
			_ = syscall.Kill(pid, signal)
		}
	}
	<-done
}

func (c *Cluster) controlPlane() error {
	err := c.start("etcd", "--data-dir", filepath.Join(c.Dir, "etcd"), "--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
		"--listen-peer-urls", "http://127.0.0.1:2380", "--initial-advertise-peer-urls", "http://127.0.0.1:2380", "--initial-cluster", "default=http://127.0.0.1:2380", "--unsafe-no-fsync")
	if err != nil {
		return err
	}
	client := c.Client()
	if err := c.await("etcd", func() error { return get(client, "http://127.0.0.1:2379/health", "") }); err != nil {
		return err
	}
	if err := c.Apiserver(); err != nil {
		return err
	}
	config := "--kubeconfig=" + filepath.Join(c.Dir, "kubeconfig")
	if err := c.start("kube-controller-manager", config, "--bind-address=127.0.0.1", "--secure-port=10257", "--cert-dir="+filepath.Join(c.Dir, "controllers"),
		"--leader-elect=false", "--service-account-private-key-file="+filepath.Join(c.Dir, "account.key"),
		"--controllers=deployment-controller,replicaset-controller,statefulset-controller,daemonset-controller,job-controller,cronjob-controller,"+
			"namespace-controller,garbage-collector-controller,resourcequota-controller,endpointslice-controller,disruption-controller,"+
			"node-lifecycle-controller,taint-eviction-controller"); err != nil {
		return err
	}
	return c.start("kube-scheduler", config, "--bind-address=127.0.0.1", "--secure-port=10259", "--cert-dir="+filepath.Join(c.Dir, "scheduler"), "--leader-elect=false")
}

//go:embed containerd.toml
var containerdConfig string

//go:embed kubelet.yaml
var kubeletConfig string

const cniConfig = `{"cniVersion":"0.4.0","name":"pods","plugins":[{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,
"ipam":{"type":"host-local","dataDir":"DIR/ipam","ranges":[[{"subnet":"10.244.0.0/24"}]MORE-RANGES],"routes":[{"dst":"0.0.0.0/0"}MORE-ROUTES]}}]}`

func (c *Cluster) node() error {
	ranges, routes, addresses := "", "", NodeAddress
	if c.dualStack {
		ranges, routes, addresses = `,[{"subnet":"fd00:244::/64"}]`, `,{"dst":"::/0"}`, NodeAddress+","+nodeAddress6
	}
	here := strings.NewReplacer("DIR", c.Dir, "IMAGE", Image, "CGROUP", "/"+c.cgroup, "NODE", NodeAddress, "MORE-RANGES", ranges, "MORE-ROUTES", routes)
	if err := os.Mkdir(filepath.Join(c.Dir, "cni"), 0o700); err != nil {
		return err
	}
	c.file("cni/10-pods.conflist", []byte(here.Replace(cniConfig)))
	c.file("containerd.toml", []byte(here.Replace(containerdConfig)))
	c.file("kubelet.yaml", []byte(here.Replace(kubeletConfig)))
	if err := c.start("containerd", "-c", filepath.Join(c.Dir, "containerd.toml")); err != nil {
		return err
	}
	socket := filepath.Join(c.Dir, "ctr.sock")
	if err := c.await("containerd", func() error { return c.Command("ctr", "-a", socket, "version").Run() }); err != nil {
		return err
	}
	// The application's, and the one that holds a pod's network.
	if err := c.load("internal/testenv/kubernetes/app", map[string][]string{Image: {"/program"}, "local.test/pause:1": {"/program", "pause"}}); err != nil {
		return err
	}
	if err := c.start("kubelet", "--config="+filepath.Join(c.Dir, "kubelet.yaml"), "--kubeconfig="+filepath.Join(c.Dir, "kubeconfig"), "--root-dir="+filepath.Join(c.Dir, "kubelet"),
		"--cert-dir="+filepath.Join(c.Dir, "kubelet-pki"), "--hostname-override=node1", "--node-ip="+addresses); err != nil {
		return err
	}
	return c.await("kubelet", func() error {
		out, err := c.Kubectl("get", "node", "node1", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status} {.spec.taints}`)
		if err == nil && strings.TrimSpace(out) != "True" {
			err = errors.New(out)
		}
		return err
	})
}

// Enforce has the node enforce NetworkPolicies, which it does a moment after each change,
// until [Cluster.Tolerate].
func (c *Cluster) Enforce() error {
	for _, program := range []string{"iptables", "ipset"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is %w: `make deps` installs it", program, testenv.ErrNotInstalled)
		}
	}
	// What goes from pod to pod passes a bridge, and no filter otherwise.
	for _, family := range c.filters() {
		if out, err := c.Command("sysctl", "-q", "-w", "net.bridge.bridge-nf-call-"+family+"=1").CombinedOutput(); err != nil {
			return fmt.Errorf("the node's bridge can't be filtered: %w: %s", err, out)
		}
	}
	return c.enforce(c.dualStack)
}

// filters are the programs that filter, by family.
func (c *Cluster) filters() []string {
	if c.dualStack {
		return []string{"iptables", "ip6tables"}
	}
	return []string{"iptables"}
}

// EnforceIPv4 has the node let everything through that is IPv6, as networks do that were
// not told of it.
func (c *Cluster) EnforceIPv4() error {
	if err := c.Tolerate(); err != nil {
		return err
	}
	return c.enforce(false)
}

func (c *Cluster) enforce(both bool) error {
	if err := c.start("kube-router", "--kubeconfig="+filepath.Join(c.Dir, "kubeconfig"), "--hostname-override=node1", serviceRange(both), "--enable-ipv6="+strconv.FormatBool(both),
		"--run-firewall", "--run-router=false", "--run-service-proxy=false", "--health-port=20244"); err != nil {
		return err
	}
	client := c.Client()
	return c.await("kube-router", func() error { return get(client, "http://127.0.0.1:20244/healthz", "") })
}

// Tolerate has the node let everything through, as most simple networks do.
func (c *Cluster) Tolerate() error {
	c.StopProgram("kube-router", syscall.SIGKILL)
	var all []string
	for _, filter := range c.filters() {
		all = append(all, filter+" -F", filter+" -X")
	}
	out, err := c.Command("sh", "-c", strings.Join(append(all, "ipset destroy"), " && ")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("the node's filter: %w: %s", err, out)
	}
	return nil
}

// Kubectl runs kubectl as the administrator.
func (c *Cluster) Kubectl(args ...string) (string, error) { return c.KubectlIn("", args...) }

// KubectlIn does so with a standard input.
func (c *Cluster) KubectlIn(stdin string, args ...string) (string, error) {
	cmd := c.Command("kubectl", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, said.String())
	}
	return out.String(), nil
}

// Stop ends everything and removes it. It may come again.
func (c *Cluster) Stop() error {
	if c.hold != nil {
		_ = c.hold.Close()
		_ = c.init.Process.Kill()
		_ = c.init.Wait()
		for _, done := range c.done {
			<-done
		}
		_ = c.netns.Close()
		c.hold = nil
	}
	cgroup.Remove(c.cgroup)
	return os.RemoveAll(c.Dir)
}

// DialContext opens a connection from the node: to the API server, or to a pod.
func (c *Cluster) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	var conn net.Conn
	err := c.inside(func() (err error) {
		// A literal address on a thread of this network; nothing is looked up.
		conn, err = (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens on the node's side of its pods' network, for what pods connect to.
func (c *Cluster) Listen(port int) (l net.Listener, err error) {
	err = c.inside(func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort("0.0.0.0", strconv.Itoa(port)))
		return err
	})
	return l, err
}

// Expose makes what listens on an address of this machine be reached by pods, at
// [Gateway] and the port that it gives. It ends with the test.
func (c *Cluster) Expose(t testing.TB, address string) int {
	t.Helper()
	l, err := c.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go forward(l, func() (net.Conn, error) { return net.Dial("tcp", address) })
	return l.Addr().(*net.TCPAddr).Port
}

// Publish makes what listens in a pod be reached at the node's own address, as a node's port
// of a Service does, and gives the port. It ends with the test.
func (c *Cluster) Publish(t testing.TB, address string) int {
	t.Helper()
	l, err := c.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go forward(l, func() (net.Conn, error) { return c.DialContext(context.Background(), "tcp", address) })
	return l.Addr().(*net.TCPAddr).Port
}

// inside runs f on a thread that is in the cluster's network meanwhile. The thread
// goes back where it was, and on: a process that is told to end with its parent ends
// with the thread that started it, which may be this one.
func (c *Cluster) inside(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer func() { _ = home.Close() }()
	if err := unix.Setns(int(c.netns.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	defer func() {
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			panic(err) // nothing else may run on this thread
		}
	}()
	return f()
}

// Client speaks HTTP from the node, and trusts the cluster's authority.
func (c *Cluster) Client() *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.CA)
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: c.DialContext, TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true,
	}}
}

func get(client *http.Client, url, token string) error {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if body, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", answer.Status, body)
	}
	return nil
}

// Missing skips a test whose cluster is not there, and fails it for any other
// reason.
func Missing(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, testenv.ErrNotInstalled) && os.Getenv("PATCHBAY_TESTENV") != "required" {
		t.Skip(err)
	}
	t.Fatal(err)
}

// Service is a client whose every request goes to a ready pod of a Service, as
// kube-proxy would send it. The host of its URLs does not matter.
func (c *Cluster) Service(namespace, name string) *http.Client {
	api, next := c.Client(), 0
	api.Transport.(*http.Transport).DisableKeepAlives = false
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			ready, err := c.endpoints(ctx, api, namespace, name)
			if err != nil || len(ready) == 0 {
				return nil, fmt.Errorf("nobody serves %s: %w", name, err)
			}
			next++
			return c.DialContext(ctx, network, ready[next%len(ready)])
		},
	}}
}

// endpoints are the addresses of a Service's ready pods, host:port.
func (c *Cluster) endpoints(ctx context.Context, api *http.Client, namespace, name string) ([]string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet,
		c.Server()+"/apis/discovery.k8s.io/v1/namespaces/"+namespace+"/endpointslices?labelSelector=kubernetes.io/service-name%3D"+name, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+c.Token)
	answer, err := api.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	var slices struct {
		Items []struct {
			Endpoints []struct {
				Addresses  []string
				Conditions struct{ Ready bool }
			}
			Ports []struct{ Port int }
		}
	}
	if err := json.NewDecoder(answer.Body).Decode(&slices); err != nil {
		return nil, err
	}
	var ready []string
	for _, slice := range slices.Items {
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready && len(slice.Ports) > 0 {
				ready = append(ready, net.JoinHostPort(endpoint.Addresses[0], strconv.Itoa(slice.Ports[0].Port)))
			}
		}
	}
	return ready, nil
}

// Forward makes the API server be reached from this machine, for a process that
// knows of no other network, and gives its URL there. It ends with the test.
func (c *Cluster) Forward(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go forward(l, func() (net.Conn, error) { return c.DialContext(context.Background(), "tcp", "127.0.0.1:6443") })
	return "https://" + l.Addr().String()
}

// forward connects whoever comes to what dial connects to, until l is closed.
func forward(l net.Listener, dial func() (net.Conn, error)) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = in.Close() }()
			out, err := dial()
			if err != nil {
				return
			}
			defer func() { _ = out.Close() }()
			go func() {
				_, _ = io.Copy(out, in)
				if half, ok := out.(*net.TCPConn); ok {
					_ = half.CloseWrite()
				}
			}()
			_, _ = io.Copy(in, out)
		}()
	}
}
