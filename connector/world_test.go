package connector

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/keyring"
	"patchbay.dev/patchbay/saga"
	"patchbay.dev/patchbay/store/sqlite"
)

// broker is a target in memory: what happens to it is what is tested, not
// whether a product does it.
type broker struct {
	listener net.Listener
	asked    string // what its messages call it; "": by its address
	gate     *gate

	mu         sync.Mutex
	logins     map[string]driver.LoginRequest
	passwords  map[string]string
	sessions   map[string]int
	down       error // every call fails with it
	failProbe  error
	notTried   []string // what a probe says that it could not try
	failRemove error
	ensured    int
	inspected  int
	loseAnswer bool // of the next EnsureLogin, which has its effect
	beyond     []string
	closing
}

func (b *broker) lock() func() {
	b.mu.Lock()
	return b.mu.Unlock
}

func (b *broker) fail(err error) {
	defer b.lock()()
	b.down = err
}

func (b *broker) names() []string {
	defer b.lock()()
	return slices.Sorted(maps.Keys(b.logins))
}

func (b *broker) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	if err := b.gate.pass(ctx); err != nil {
		return driver.TargetInfo{}, err
	}
	defer b.lock()()
	b.inspected++
	if sub == "missing" {
		return driver.TargetInfo{}, patchbay.Errorf(patchbay.ChildMissing, "there is no database missing")
	}
	host, port, _ := net.SplitHostPort(b.listener.Addr().String())
	return driver.TargetInfo{Version: "1", Values: map[string]string{"host": host, "port": port, "database": sub, "sslmode": "disable"}}, b.down
}

func (b *broker) NewCredential(_ context.Context, r driver.LoginRequest) (driver.Credential, error) {
	return driver.Credential{
		Public: map[string]string{"username": r.Name},
		Secret: driver.Secrets{"password": patchbay.NewSecret("secret of " + r.Name)},
	}, nil
}

func (b *broker) Beyond(context.Context, driver.LoginRequest) ([]string, error) {
	defer b.lock()()
	return b.beyond, b.down
}

func (b *broker) EnsureLogin(ctx context.Context, r driver.LoginRequest) error {
	if err := b.gate.pass(ctx); err != nil {
		return err
	}
	if err := b.ensure(r); err != nil {
		return err
	}
	return b.gate.pass(ctx)
}

func (b *broker) ensure(r driver.LoginRequest) error {
	defer b.lock()()
	if b.down != nil {
		return b.down
	}
	b.ensured++
	b.passwords[r.Name] = r.Credential.Secret["password"].Reveal()
	r.Credential = driver.Credential{}
	b.logins[r.Name] = r
	if b.loseAnswer {
		b.loseAnswer = false
		return patchbay.Errorf(patchbay.Timeout, "no answer in time").AsTransient()
	}
	return nil
}

func (b *broker) InspectLogin(_ context.Context, r driver.LoginRequest) (driver.LoginState, error) {
	if r.Auth == "" || r.Access == "" && len(r.Roles) == 0 { // as drivers refuse it
		return driver.LoginState{}, patchbay.Errorf(patchbay.InvalidArgument, "nobody says what the login %s should be", r.Name)
	}
	defer b.lock()()
	have, ok := b.logins[r.Name]
	state := driver.LoginState{Exists: ok, Ours: ok, Sessions: b.sessions[r.Name]}
	if ok && have.Access != r.Access {
		state.Excess = []string{string(have.Access)}
	}
	return state, b.down
}

func (b *broker) RemoveLogin(ctx context.Context, r driver.LoginRequest) error {
	if err := b.gate.pass(ctx); err != nil {
		return err
	}
	if err := b.remove(r); err != nil {
		return err
	}
	return b.gate.pass(ctx)
}

func (b *broker) remove(r driver.LoginRequest) error {
	defer b.lock()()
	if b.down != nil || b.failRemove != nil {
		return cmp.Or(b.down, b.failRemove)
	}
	delete(b.logins, r.Name)
	return nil
}

func (b *broker) PrepareProbe(_ context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	r.Servers, r.Asked = []string{b.listener.Addr().String()}, b.asked
	return r, nil
}

func (b *broker) probe(ctx context.Context, _ driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
	if err := b.gate.pass(ctx); err != nil {
		return driver.ProbeResult{}, err
	}
	defer b.lock()()
	user, password := r.Credential.Public["username"], r.Credential.Secret["password"].Reveal()
	switch {
	case b.down != nil:
		return driver.ProbeResult{}, b.down
	case b.failProbe != nil:
		return driver.ProbeResult{}, b.failProbe
	case b.passwords[user] != password:
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.LoginRefused, "%s with %s is refused", user, password)
	}
	if _, ok := b.logins[user]; !ok && r.Access != "" {
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.LoginRefused, "%s is refused", user)
	}
	return driver.ProbeResult{Allowed: []string{"signed in"}, NotChecked: b.notTried}, nil
}

func (b *broker) Owned(context.Context) ([]driver.Owned, error) {
	defer b.lock()()
	var owned []driver.Owned
	for name, r := range b.logins {
		owned = append(owned, driver.Owned{Mark: r.Mark, Name: name})
	}
	return owned, b.down
}

// closing is a driver's Close.
type closing struct {
	mu   sync.Mutex
	told chan struct{}
}

// next is closed by the next Close.
func (c *closing) next() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = make(chan struct{})
	return c.told
}

func (c *closing) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told != nil {
		close(c.told)
		c.told = nil
	}
	return nil
}

// app is a source in memory.
type app struct {
	mu       sync.Mutex
	settings map[string]patchbay.Secret
	version  int
	// beforeWrite is somebody else who is faster, once.
	beforeWrite func()
	down        error
	failWrite   error
	restartErr  error
	untold      bool          // it has no way to be restarted
	mute        bool          // nobody can speak from where it runs
	way         driver.Dialer // from where it runs; nil: as anybody's here
	restarts    int
	// afterRestart is what goes wrong right behind the next one, once; afterWrite
	// likewise.
	afterRestart, afterWrite func()
	// restart decides what comes of a restart, nil: restartErr does. touched is
	// told of every change of the settings, and answer says what comes of a write
	// that has its effect.
	restart func() error
	touched func()
	answer  func() error
	id      patchbay.ID
	egress  []netip.Prefix
	closing
}

func (a *app) lock() func() {
	a.mu.Lock()
	return a.mu.Unlock
}

func (a *app) read() map[string]string {
	defer a.lock()()
	return revealAll(a.settings)
}

func (a *app) Inspect(context.Context) (driver.SourceInfo, error) {
	defer a.lock()()
	return driver.SourceInfo{}, a.down
}

func (a *app) ReadSettings(context.Context) (driver.Snapshot, error) {
	defer a.lock()()
	return driver.Snapshot{Version: fmt.Sprint(a.version), Settings: maps.Clone(a.settings)}, a.down
}

func (a *app) CheckChange(context.Context, driver.Change) error { return nil }

func (a *app) WriteSettings(_ context.Context, c driver.Change, ifVersion string) (string, error) {
	defer a.lock()()
	if a.failWrite != nil {
		return "", a.failWrite
	}
	if a.beforeWrite != nil {
		a.beforeWrite()
		a.beforeWrite = nil
	}
	done := true
	for _, s := range c.Set {
		done = done && a.settings[c.Key(s)] == s.Value
	}
	for _, had := range c.Dropped() {
		done = done && a.settings[c.Key(had)] != had.Value
	}
	if done {
		return fmt.Sprint(a.version), nil
	}
	if ifVersion != fmt.Sprint(a.version) {
		return "", patchbay.Errorf(patchbay.SettingsChanged, "version %d", a.version)
	}
	a.dropFiles(c)
	for _, s := range c.Set {
		a.settings[c.Key(s)] = s.Value
	}
	for _, had := range c.Dropped() {
		if a.settings[c.Key(had)] == had.Value {
			delete(a.settings, c.Key(had))
			for _, back := range c.Back {
				if back.Name == had.Name {
					a.settings[back.Name] = back.Value
				}
			}
		}
	}
	a.touch()
	if after := a.afterWrite; after != nil {
		a.afterWrite = nil
		after()
	}
	if a.answer != nil {
		if err := a.answer(); err != nil {
			return "", err
		}
	}
	return fmt.Sprint(a.version), nil
}

// dropFiles empties the connection's binding directory, which a change replaces
// as a whole.
func (a *app) dropFiles(c driver.Change) {
	maps.DeleteFunc(a.settings, func(name string, _ patchbay.Secret) bool {
		return strings.HasPrefix(name, driver.FileSetting(c.Name, ""))
	})
}

func (a *app) RestoreSettings(_ context.Context, c driver.Change, before driver.Snapshot) error {
	defer a.lock()()
	if a.down != nil {
		return a.down
	}
	for _, s := range c.Set {
		if name := c.Key(s); a.settings[name] == s.Value {
			delete(a.settings, name)
			if old, ok := before.Settings[name]; ok {
				a.settings[name] = old
			}
		}
	}
	for _, had := range c.Dropped() {
		if old, ok := before.Settings[c.Key(had)]; ok {
			a.settings[c.Key(had)] = old
		}
	}
	a.touch()
	return nil
}

func (a *app) touch() {
	a.version++
	if a.touched != nil {
		a.touched()
	}
}

func (a *app) Restart(context.Context) error {
	defer a.lock()()
	a.restarts++
	err := a.restartErr
	if a.restart != nil {
		err = a.restart()
	}
	if a.afterRestart != nil {
		a.afterRestart()
		a.afterRestart = nil
	}
	return err
}

func (a *app) RestartLimit() time.Duration { return driver.DefaultTimeout }

func (a *app) Egress(context.Context, netip.Addr) ([]netip.Prefix, error) { return a.egress, nil }
func (a *app) Dialer(context.Context) (driver.ClosingDialer, error) {
	if a.way != nil {
		return driver.KeptOpen(a.way), nil
	}
	return driver.KeptOpen(&net.Dialer{}), nil
}
func (a *app) Owned(context.Context) ([]driver.Owned, error) { return nil, nil }
func (a *app) set(name, value string) {
	defer a.lock()()
	a.settings[name] = patchbay.NewSecret(value)
	a.version++
}

// world is a service over a real store and engine, with both ends in memory.
type world struct {
	*Service
	// restart ends the engine and the service in the middle of whatever they do,
	// and begins new ones over the same records.
	restart func()

	t      *testing.T
	gate   *gate
	broker *broker
	lock   *lock
	away   *away
	wall   *wall
	app    *app // nil in a world over other sources
	open   func(context.Context, driver.Config) (driver.Source, error)
	keeps  bool // sources keep what they replace
	look   driver.Search
	part   string // what they have parts of
	// listens says that a target listens where it is registered, and nobody is there.
	listens bool
	// machines are the hosts that can be opened.
	machines map[string]driver.HostDriver
	fault    error // of what asks them what they let us do
	group    patchbay.ID
	linker   patchbay.ID
	caller   Caller
	limits   Limits
	rights   Rights
	// planned is told of every plan, and gives what is journalled of it.
	planned func(*saga.Op, []byte) []byte
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newLimitedWorld(t, Limits{})
}

func newLimitedWorld(t *testing.T, limits Limits) *world {
	t.Helper()
	records, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = records.Close() })
	return newAppWorld(t, limits, records)
}

// newAppWorld is a world with a source in memory.
func newAppWorld(t *testing.T, limits Limits, records recorder) *world {
	t.Helper()
	a := &app{settings: map[string]patchbay.Secret{"THEIRS": patchbay.NewSecret("kept")}}
	w := newWorldOver(t, limits, records, func(context.Context, driver.Config) (driver.Source, error) {
		if a.mute {
			return struct { // it has no Dialer
				driver.Source
				driver.Restarter
			}{a, a}, nil
		}
		if a.untold {
			return struct { // it has no Restart
				driver.Source
				driver.Vantage
			}{a, a}, nil
		}
		return a, nil
	})
	w.app = a
	a.id = w.group + "/providers/Microsoft.Web/sites/web"
	w.register(patchbay.Resource{ID: a.id}, nil)
	w.linker = a.id.Linker("orders")
	return w
}

// recorder is what a world keeps its records in.
type recorder interface {
	Records
	saga.Store
}

// newWorldOver is a world without a source; open opens them.
func newWorldOver(t *testing.T, limits Limits, records recorder, open func(context.Context, driver.Config) (driver.Source, error)) *world {
	t.Helper()
	keys, err := keyring.Load(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	doors := &gate{held: make(chan struct{}, 1)}
	w := &world{
		t:      t,
		gate:   doors,
		broker: &broker{gate: doors, listener: listener, logins: map[string]driver.LoginRequest{}, passwords: map[string]string{}, sessions: map[string]int{}},
		lock:   &lock{gate: doors, opens: "first"},
		wall:   &wall{gate: doors, rules: map[string]driver.Rule{}},
		away:   &away{gate: doors, listener: listener, accepts: map[string]bool{}},
		open:   open,
		caller: Trusted("tester"), limits: limits,
	}
	stop := func() {}
	w.restart = func() {
		stop()
		stop = w.start(records, keys)
	}
	w.restart()
	t.Cleanup(func() { stop() })
	if err := w.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	subs, err := w.Subscriptions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.group = patchbay.ID("/subscriptions/" + subs[0].ID + "/resourceGroups/default")
	w.register(patchbay.Resource{ID: w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db"}, driver.Secrets{"password": patchbay.NewSecret("admin's")})
	return w
}

// start begins a service and its engine over the records.
func (w *world) start(records recorder, keys *keyring.Keyring) (stop func()) {
	w.Service = New(Options{
		Records: records, Keys: keys, Overlap: time.Millisecond, Log: slog.New(slog.DiscardHandler), Limits: w.limits, Rights: w.rights,
		Catalog: driver.Catalog{
			Targets: map[string]driver.TargetDriver{
				"memory": {
					Driver: patchbay.Driver{
						Name: "memory", Types: []string{"Microsoft.DBforPostgreSQL/flexibleServers"},
						Logins: &patchbay.Logins{
							Auths:    []patchbay.AuthType{patchbay.AuthSecret},
							Accesses: []patchbay.Access{patchbay.Reader, patchbay.Writer}, Sessions: true,
						},
					},
					Kind: "postgresql", Children: []string{"databases"},
					Open: func(_ context.Context, c driver.Config) (driver.Target, error) {
						if w.listens {
							return elsewhere{w.broker, strings.Split(c.Endpoint, ",")}, nil
						}
						return w.broker, nil
					},
					Probe: w.broker.probe,
				},
				"away":    w.away.driver(),
				"rekeyed": w.keyed(),
			},
			Sources: map[string]driver.SourceDriver{"memoryApp": {
				Driver: patchbay.Driver{
					Name: "memoryApp", Types: driver.ComputeTypes(), Part: w.part, Search: []string{"host", "engine"},
					Properties: []patchbay.Field{driver.HostField(), {Name: "engine", Type: patchbay.TextField, Default: "usual"}, {Name: "service", Type: patchbay.TextField}},
				},
				Open:     w.open,
				Keeps:    w.keeps,
				Discover: w.look,
			}},
			Hosts:    w.machines,
			Networks: map[string]driver.NetworkDriver{"wall": w.wall.driver("wall", false), "hba": w.wall.driver("hba", true), "fence": w.wall.driver("fence", false, driver.ServiceEndpoint)},
		},
	})
	service := w.Service
	engine, err := saga.New(records, w.workflows(), saga.Options{
		ParkAfter: 2, Backoff: func(int) time.Duration { return time.Millisecond }, DrainTimeout: 20 * time.Millisecond,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.Bind(engine)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
		service.Close()
	}
}

// workflows are the service's, with what a test does to their plans.
func (w *world) workflows() []saga.Workflow {
	list := w.Workflows()
	for f, flow := range list {
		list[f].Steps = slices.Clone(flow.Steps) // kinds share them
		for i, step := range flow.Steps {
			if do := step.Do; step.Name == stepPlan {
				list[f].Steps[i].Do = func(ctx context.Context, op *saga.Op) ([]byte, error) {
					output, err := do(ctx, op)
					if err == nil && w.planned != nil {
						output = w.planned(op, output)
					}
					return output, err
				}
			}
		}
	}
	return list
}

// gate is passed by every call of a target; one of them is held there until
// its process ends.
type gate struct {
	held chan struct{} // has a value once a call is held

	mu   sync.Mutex
	left int // until the one that is held; 0: none is
}

// holdAt holds the n-th call from now, 0 for none.
func (g *gate) holdAt(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left = n
}

func (g *gate) pass(ctx context.Context) error {
	g.mu.Lock()
	hold := g.left == 1
	g.left = max(g.left-1, 0)
	g.mu.Unlock()
	if !hold {
		return nil
	}
	g.held <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

func (w *world) spec() patchbay.Spec {
	return patchbay.Spec{
		Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db/databases/shop"},
		Auth:   &patchbay.Auth{Type: patchbay.AuthSecret},
		Client: "go",
	}
}

// end waits for what was begun to end.
func (w *world) end(b Begun, err error) patchbay.Operation {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	op := b.Operation
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	for !op.State.Ended() {
		if op, err = w.Wait(ctx, op.ID, op.Version); err != nil {
			w.t.Fatal(err)
		}
		if ctx.Err() != nil {
			w.t.Fatalf("the operation does not end: %+v", op)
		}
	}
	return op
}

func (w *world) put(spec patchbay.Spec) patchbay.Operation {
	w.t.Helper()
	return w.end(w.Put(w.t.Context(), PutRequest{ID: w.linker, Spec: spec, Caller: w.caller}))
}

func (w *world) want(op patchbay.Operation, state patchbay.OperationState, code patchbay.Code) {
	w.t.Helper()
	if op.State != state || patchbay.CodeOf(errOf(op)) != code {
		w.t.Fatalf("the %s is %s (%v), and should be %s (%s)", op.Kind, op.State, op.Error, state, code)
	}
}

func errOf(op patchbay.Operation) error {
	if op.Error == nil {
		return nil
	}
	return op.Error
}
