// Package ssh is a machine that is reached by SSH: a [hosts.Host] whose files go
// through SFTP, whose programs are run by exec requests, and whose connections are
// forwarded. The machine needs sshd and what Debian or Alpine have anyway; nothing
// of ours runs or stays there.
//
// # Connections
//
// A host has one connection, which all that is done there shares; sshd's default
// of ten sessions a connection is kept below, and where a machine allows fewer,
// further connections are made. A connection that ends is made anew when it is next
// needed. What was going on is done again where that is right ([hosts.Files]): reads,
// and changes that compare before they replace; a lock that is held is taken again
// before. A program may have run or not: that is a transient error.
//
// # As whom
//
// With the property become, files are those of another user: a file server is started
// through sudo, and so is every program.
package ssh

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// properties are what a registration says of a host besides its endpoint.
type properties struct {
	// User signs in.
	User string `json:"user"`
	// HostKeys are public keys of the host, and lines of known_hosts of it and of the
	// jump hosts.
	HostKeys []string `json:"hostKeys"`
	// Become is whose files and programs they are; the same user when empty.
	Become string `json:"become"`
	// Jump are user@host:port, in the order in which they are passed.
	Jump []string `json:"jump"`
	// Agent says that the agent of the server's own process signs.
	Agent bool `json:"agent"`
	// SFTPServer is the path of the file server, for become.
	SFTPServer string `json:"sftpServer"`
	// Deny and Allow are of connections that are made from the host.
	Deny  []string `json:"deny"`
	Allow []string `json:"allow"`
}

// stop is a machine on the way, the host itself the last one.
type stop struct {
	user, address string
	keys          []ssh.PublicKey
}

// settings are a registration that was checked.
type settings struct {
	name     string // of the resource, for people
	stops    []stop
	become   string // "" for nobody else
	server   string // path of the file server, "" to look for it
	rules    rules
	signers  func() ([]ssh.Signer, func(), error) // and what ends them
	password string
	public   string // the key's, as authorized_keys has it; "" when there is none
	dialer   driver.Dialer
}

// rules are the operator's, and the registration's: what either closes is closed.
type rules []hosts.DialRules

func (r rules) control(network, address string, c syscall.RawConn) error {
	for _, one := range r {
		if err := one.Control(network, address, c); err != nil {
			return err
		}
	}
	return nil
}

// Host is a machine by SSH.
type Host struct {
	hosts.Files
	files *files
}

var _ hosts.Remote = (*Host)(nil)

// Open checks a registration; it reaches nothing.
func Open(_ context.Context, c driver.Config) (hosts.Remote, error) {
	s, err := parse(c)
	if err != nil {
		return nil, err
	}
	return newHost(s), nil
}

func newHost(s settings) *Host {
	p := newPool(s)
	f := &files{pool: p, opening: make(chan struct{}, 1), relocking: make(chan struct{}, 1), held: map[string]*heldLock{}, turns: map[string]chan struct{}{}}
	return &Host{Files: hosts.Files{System: f}, files: f}
}

// Run implements [hosts.Host]. When ctx ends, the program is killed with what it
// started; what runs as another user, by sudo, nobody here may kill: it goes on until
// it finds that nobody reads what it says.
func (h *Host) Run(ctx context.Context, c hosts.Command) (hosts.Result, error) {
	return h.files.run(ctx, c)
}

// Signal implements [hosts.Host].
func (h *Host) Signal(ctx context.Context, pid int, name string) error {
	return h.files.signal(ctx, pid, name)
}

// DialContext implements [hosts.Host].
func (h *Host) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return h.files.dial(ctx, network, address)
}

// Control says whether there may be a connection to an address from this host, for
// whoever dials there by another way than [Host.DialContext]: from inside of a
// container's network, say.
func (h *Host) Control(network, address string, c syscall.RawConn) error {
	return h.files.pool.rules.control(network, address, c)
}

// Check implements [hosts.Remote].
func (h *Host) Check(ctx context.Context) ([]hosts.Finding, error) { return h.files.check(ctx) }

// Close implements [hosts.Remote].
func (h *Host) Close() error {
	h.files.pool.close()
	return nil
}

func parse(c driver.Config) (settings, error) {
	s := settings{name: c.ID.Name(), dialer: c.Dialer}
	if err := driver.CheckAdmin(description, c.Admin); err != nil {
		return s, err
	}
	var p properties
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return s, err
	}
	endpoint, err := driver.EndpointForm{Schemes: map[string]uint16{"": 22, "ssh": 22}}.Parse("the endpoint", c.Endpoint)
	if err != nil {
		return s, err
	}
	for what, user := range map[string]string{"user": p.User, "become": p.Become} {
		if err := checkUser(what, user, what == "become"); err != nil {
			return s, err
		}
	}
	if p.Become != p.User {
		s.become = p.Become
	}
	s.server = p.SFTPServer
	if s.server != "" && !plainPath.MatchString(s.server) {
		return s, invalid("sftpServer is the path of a program, of letters, digits and ._+-")
	}
	for _, text := range p.Jump {
		user, address, ok := strings.Cut(text, "@")
		at, err := driver.EndpointForm{Schemes: map[string]uint16{"": 22}}.Parse("a jump host", address)
		if err != nil || !ok {
			return s, invalid("the jump host %.80q is not user@host or user@host:port", text)
		}
		if err := checkUser("jump host's user", user, false); err != nil {
			return s, err
		}
		s.stops = append(s.stops, stop{user: user, address: at.Servers[0].Address()})
	}
	s.stops = append(s.stops, stop{user: p.User, address: endpoint.Servers[0].Address()})
	if err := assignKeys(s.stops, p.HostKeys); err != nil {
		return s, err
	}
	own, err := hosts.NewDialRules(p.Deny, p.Allow)
	if err != nil {
		return s, err
	}
	s.rules = rules{c.Dials, own}
	return s, s.credentials(p, c.Admin)
}

// plainPath is a path that a rule of sudo can name.
var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9._+-]+)+$`)

// checkUser refuses what is no name of a user, and could be an option of a program.
func checkUser(what, user string, optional bool) error {
	if user == "" && optional {
		return nil
	}
	if user == "" || len(user) > 256 || strings.HasPrefix(user, "-") || strings.ContainsFunc(user, func(r rune) bool { return r <= ' ' || r == 0x7f || r == ':' || r == '/' || r == '#' }) {
		return invalid("the %s %.80q is no name of a user", what, user)
	}
	return nil
}

func (s *settings) credentials(p properties, admin driver.Secrets) error {
	key, passphrase, password := admin["key"], admin["passphrase"], admin["password"]
	s.password = password.Reveal()
	switch {
	case !key.IsZero():
		signer, err := parseKey([]byte(key.Reveal()), passphrase.Reveal())
		if err != nil {
			return err
		}
		s.public = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
		s.signers = func() ([]ssh.Signer, func(), error) { return []ssh.Signer{signer}, func() {}, nil }
	case p.Agent:
		s.signers = agentSigners
	case password.IsZero():
		return invalid("there is nothing to sign in with: a key, a password, or the agent").
			WithFix("give it a key of its own: ssh-keygen -t ed25519 -N '' -f KEY, and --key-file KEY")
	}
	return nil
}

// parseKey reads a private key. What it says of one that it can't read shows
// nothing of it.
func parseKey(text []byte, passphrase string) (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey(text)
	if _, locked := err.(*ssh.PassphraseMissingError); locked { //nolint:errorlint // the package returns it as it is
		if passphrase == "" {
			return nil, invalid("the key is locked with a passphrase").WithFix("give it with --passphrase-file")
		}
		if signer, err = ssh.ParsePrivateKeyWithPassphrase(text, []byte(passphrase)); err != nil {
			return nil, invalid("the passphrase does not unlock the key")
		}
		return signer, nil
	}
	if err != nil {
		what := "the key is no private key in a form of OpenSSH or PEM"
		if _, _, _, _, err := ssh.ParseAuthorizedKey(bytes.TrimSpace(text)); err == nil {
			what = "the key is the public one"
		}
		return nil, invalid("%s", what).WithFix("give the file that ssh-keygen made, the one without .pub")
	}
	return signer, nil
}

// agentSigners are the keys of the agent that this process was started with.
func agentSigners() ([]ssh.Signer, func(), error) {
	path := os.Getenv("SSH_AUTH_SOCK")
	unavailable := func(what string) error {
		return patchbay.Errorf(patchbay.AdminRefused, "there is no agent to sign in with: %s", what).
			WithFix("start the server with SSH_AUTH_SOCK set to the agent's socket, or register the host with a key")
	}
	if path == "" {
		return nil, nil, unavailable("SSH_AUTH_SOCK is not set where the server runs")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, nil, unavailable("nobody answers at the server's SSH_AUTH_SOCK")
	}
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		_ = conn.Close()
		return nil, nil, unavailable("it does not say which keys it has")
	}
	return signers, func() { _ = conn.Close() }, nil
}

func invalid(format string, args ...any) *patchbay.Error {
	return patchbay.Errorf(patchbay.InvalidArgument, "%s", fmt.Sprintf(format, args...))
}

// portOf is the port of an address, for a command.
func portOf(address string) string {
	_, port, err := net.SplitHostPort(address)
	if n, convErr := strconv.Atoi(port); err != nil || convErr != nil || n == 0 {
		return "22"
	}
	return port
}
