package connector

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// away is a target that Patchbay does not administer, in memory: every
// resource and endpoint of its driver is this one service.
type away struct {
	listener net.Listener
	gate     *gate

	mu      sync.Mutex
	accepts map[string]bool // "name password"
	dumb    bool            // there is no way to sign in
	unseen  error           // the server has no way to it
	signIns int
	opened  []string // endpoints
}

func (a *away) lock() func() {
	a.mu.Lock()
	return a.mu.Unlock
}

func (a *away) driver() driver.TargetDriver {
	return driver.TargetDriver{
		Driver: patchbay.Driver{Name: "away", Types: []string{
			"Microsoft.Cache/redis", "Microsoft.Storage/storageAccounts", "Microsoft.CognitiveServices/accounts",
			"Microsoft.DBforPostgreSQL/flexibleServers", "Microsoft.DBforPostgreSQL/servers",
		}},
		Unregistered: map[string]string{"redis": "redis", "postgres": "postgresql"},
		Open: func(_ context.Context, c driver.Config) (driver.Target, error) {
			defer a.lock()()
			a.opened = append(a.opened, c.Endpoint)
			return &awayTarget{away: a, config: c}, nil
		},
		Probe: a.probe,
	}
}

type awayTarget struct {
	*away
	config driver.Config
}

func (t *awayTarget) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	if err := t.gate.pass(ctx); err != nil {
		return driver.TargetInfo{}, err
	}
	host, port, _ := net.SplitHostPort(t.listener.Addr().String())
	_, name, _ := strings.Cut(sub, "/")
	values := map[string]string{"host": host, "port": port, "database": name, "ssl": "false"}
	if strings.Contains(t.config.ID.Type(), "storageAccounts") {
		values = map[string]string{"account": t.config.ID.Name(), "endpoint": "http://" + t.listener.Addr().String()}
	}
	switch {
	case strings.Contains(t.config.ID.Type(), "confluent-cloud"):
		values = map[string]string{"servers": t.config.Endpoint}
	case strings.Contains(t.config.ID.Type(), "confluent-schema"):
		values = map[string]string{"url": t.config.Endpoint}
	case strings.Contains(t.config.ID.Type(), "fabric"):
		values["database"] = "warehouse"
	}
	defer t.lock()()
	return driver.TargetInfo{Values: values}, t.unseen
}

func (t *awayTarget) Close() error { return nil }

func (t *awayTarget) Registered(string) (driver.Credential, error) {
	if t.config.Admin["password"].IsZero() {
		return driver.Credential{}, patchbay.Errorf(patchbay.InvalidArgument, "no login was registered")
	}
	return t.Given("", t.config.Admin["username"].Reveal(), t.config.Admin["password"])
}

func (t *awayTarget) Given(_, name string, secret patchbay.Secret) (driver.Credential, error) {
	key := "password"
	if strings.Contains(t.config.ID.Type(), "storageAccounts") {
		key = "key"
	}
	return driver.Credential{Public: map[string]string{"username": name}, Secret: driver.Secrets{key: secret}}, nil
}

func (t *awayTarget) PrepareProbe(_ context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	r.Servers = []string{t.listener.Addr().String()}
	return r, nil
}

func (a *away) probe(ctx context.Context, _ driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
	if err := a.gate.pass(ctx); err != nil {
		return driver.ProbeResult{}, err
	}
	defer a.lock()()
	if conn, err := r.Dialer.DialContext(ctx, "tcp", r.Servers[0]); err != nil {
		return driver.ProbeResult{}, driver.DialError(err, r.Servers[0])
	} else {
		_ = conn.Close()
	}
	secret := r.Credential.Secret["password"].Reveal() + r.Credential.Secret["key"].Reveal()
	if a.dumb || secret == "" {
		return driver.ProbeResult{}, nil
	}
	a.signIns++
	if !a.accepts[r.Credential.Public["username"]+" "+secret] {
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.LoginRefused, "%s is refused", secret)
	}
	return driver.ProbeResult{Allowed: []string{"signed in"}}, nil
}

// accept lets a login in, or no longer.
func (a *away) accept(name, password string, may bool) {
	defer a.lock()()
	a.accepts[name+" "+password] = may
}

// tried is how often somebody signed in, or tried to.
func (a *away) tried() int {
	defer a.lock()()
	return a.signIns
}

func (a *away) wasOpened(endpoint string) bool {
	defer a.lock()()
	return slices.Contains(a.opened, endpoint)
}
