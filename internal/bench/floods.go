package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"patchbay.dev/patchbay/access"
	"patchbay.dev/patchbay/internal/testenv"
)

// flood is what one tenant, or strangers, send while another tenant works. It is
// bounded in how much is under way, and in time.
type flood struct {
	name string
	// prepare makes what the flood needs; nil: nothing.
	prepare func(ctx context.Context, f *flooder) error
	atOnce  int
	// send sends request i. Its answer is counted, and not looked at.
	send func(ctx context.Context, f *flooder, i int64) (*http.Response, error)
	most int64 // sent in all; 0: as many as fit
}

// flooder is whom a flood comes from.
type flooder struct {
	busy   *connectionBench // an owner in a tenant of its own
	reader *connectionBench // one of that tenant who may only read
	dir    string
	silent string // an address that takes connections and never answers
}

// floodBench is two tenants on one server: a bystander who works, and the one
// that the flood comes from.
type floodBench struct {
	flooder
	bystander *connectionBench
	form      string // the bystander's sign-in
}

const (
	floodTenant = "22222222-2222-4222-8222-222222222222"
	floodSub    = "22222222-2222-4222-8222-000000000000"
	floodGroup  = "/subscriptions/" + floodSub + "/resourceGroups/default"
	floodSites  = floodGroup + "/providers/Microsoft.Web/sites/"
	floodPG     = floodGroup + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/"
	connectors  = floodGroup + "/providers/Microsoft.ServiceLinker/locations/local%d/connectors/c%d"
	perLocation = 100 // as many as one may have
	// rampUp is how long a flood runs before it counts.
	rampUp = time.Second
)

var floods = []flood{
	{name: "strangers who sign in with random client ids, from random addresses", atOnce: 256, send: strangeSignIn},
	{name: "lists of 1000, of 400 resources", prepare: manyResources, atOnce: 32,
		send: func(ctx context.Context, f *flooder, _ int64) (*http.Response, error) {
			return f.busy.request(ctx, "GET", "/subscriptions/"+floodSub+"/resources?$top=1000", nil)
		}},
	{name: "writes that are refused", atOnce: 32,
		send: func(ctx context.Context, f *flooder, i int64) (*http.Response, error) {
			return f.reader.request(ctx, "PUT", fmt.Sprint(floodPG, "no", i), map[string]any{})
		}},
	{name: "previews and checks of a target that never answers", prepare: deadTarget, atOnce: 256, send: dialDead},
	{name: "400 operations of one source, to an endpoint that never answers", prepare: oneSource, atOnce: 8, most: 400,
		send: func(ctx context.Context, f *flooder, i int64) (*http.Response, error) {
			at := fmt.Sprint(floodSites, "queue/providers/Microsoft.ServiceLinker/linkers/c", i%perLocation)
			if i >= perLocation {
				return f.busy.request(ctx, "POST", at+"/providers/Patchbay.Connector/validate", map[string]any{})
			}
			return f.busy.request(ctx, "PUT", at, f.endpoint())
		}},
	{name: "400 connectors to an endpoint that never answers", atOnce: 8, most: 400,
		send: func(ctx context.Context, f *flooder, i int64) (*http.Response, error) {
			return f.busy.request(ctx, "PUT", fmt.Sprintf(connectors, i/perLocation, i), f.endpoint())
		}},
}

// benchFloods measures what a tenant waits for while another, or strangers, ask
// for as much as they can: p99 beside what it is when nobody else is there.
func benchFloods(ctx context.Context, out io.Writer, rounds int) (err error) {
	pg, err := testenv.StartPostgres(ctx, testenv.PostgresOptions{Settings: map[string]string{"fsync": "on"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pg.Stop()) }()
	for i, fl := range floods {
		if err := benchFlood(ctx, out, pg, i, rounds); err != nil {
			return fmt.Errorf("%s: %w", fl.name, err)
		}
	}
	return nil
}

func benchFlood(ctx context.Context, out io.Writer, pg *testenv.PostgresServer, which, rounds int) (err error) {
	fl := floods[which]
	dir, err := os.MkdirTemp("", "patchbay-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	operator := &connectionBench{dir: dir, pg: pg, database: fmt.Sprint("shop", which), trustForwarded: true, steps: map[string][]time.Duration{}}
	stop, err := operator.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := operator.prepare(ctx); err != nil {
		return err
	}
	defer func() { _ = operator.admin.Close(context.WithoutCancel(ctx)) }()
	quiet, err := silent()
	if err != nil {
		return err
	}
	defer func() { _ = quiet.Close() }()
	f, err := newFloodBench(ctx, operator, quiet.Addr().String())
	if err != nil {
		return err
	}
	if fl.prepare != nil {
		if err := fl.prepare(ctx, &f.flooder); err != nil {
			return err
		}
	}
	idle, _, err := f.work(ctx, rounds)
	if err != nil {
		return err
	}
	end, err := f.start(ctx, which)
	if err != nil {
		return err
	}
	wait := time.NewTimer(rampUp)
	defer wait.Stop()
	<-wait.C
	under, refused, err := f.work(ctx, rounds)
	counts, endErr := end()
	if err := errors.Join(err, endErr); err != nil {
		return err
	}
	t := newTable(out, fmt.Sprintf("%s (%s)", fl.name, counts), "idle, median", "p99", "beside it, median", "p99", "ratio of p99", "failed")
	for _, name := range bystanders {
		a, b := idle[name], under[name]
		t.row(name, ms(quantile(a, .5)), ms(quantile(a, .99)), ms(quantile(b, .5)), ms(quantile(b, .99)),
			fmt.Sprintf("%.1f", float64(quantile(b, .99))/float64(max(quantile(a, .99), 1))), fmt.Sprint(refused[name]))
	}
	return t.flush()
}

// newFloodBench makes the two tenants' callers.
func newFloodBench(ctx context.Context, operator *connectionBench, silent string) (*floodBench, error) {
	if err := operator.call(ctx, "PUT", "/providers/Patchbay.Connector/tenants/"+floodTenant, map[string]any{"displayName": "flood"}, nil); err != nil {
		return nil, err
	}
	if err := operator.call(ctx, "PUT", "/subscriptions/"+floodSub, map[string]any{"tenantId": floodTenant, "displayName": "flood"}, nil); err != nil {
		return nil, err
	}
	if err := operator.call(ctx, "PUT", floodGroup, map[string]any{"location": "local"}, nil); err != nil {
		return nil, err
	}
	var tenants struct {
		Value []struct {
			ID string `json:"tenantId"`
		} `json:"value"`
	}
	if err := operator.call(ctx, "GET", "/tenants", nil, &tenants); err != nil {
		return nil, err
	}
	f := &floodBench{flooder: flooder{dir: operator.dir, silent: silent}}
	for _, t := range tenants.Value {
		if t.ID == floodTenant {
			continue
		}
		var err error
		if f.bystander, f.form, err = operator.principal(ctx, t.ID, strings.Join(strings.Split(operator.group, "/")[:3], "/"), access.Owner); err != nil {
			return nil, err
		}
	}
	var err error
	if f.busy, _, err = operator.principal(ctx, floodTenant, "/subscriptions/"+floodSub, access.Owner); err != nil {
		return nil, err
	}
	if f.reader, _, err = operator.principal(ctx, floodTenant, "/subscriptions/"+floodSub, access.Reader); err != nil {
		return nil, err
	}
	return f, f.bystander.operate(ctx, "PUT", f.linker(), f.bystander.body())
}

// principal makes a caller of a tenant, who has the role at scope, and signs it
// in.
func (b *connectionBench) principal(ctx context.Context, tenant, scope, role string) (as *connectionBench, form string, err error) {
	var p struct {
		ID     string `json:"id"`
		AppID  string `json:"appId"`
		Secret string `json:"secret"`
	}
	if err := b.call(ctx, "POST", "/providers/Patchbay.Connector/principals?tenant="+tenant, map[string]any{"name": "bench"}, &p); err != nil {
		return nil, "", err
	}
	assignment := scope + "/providers/Microsoft.Authorization/roleAssignments/" + guid()
	if err := b.call(ctx, "PUT", assignment, map[string]any{"properties": map[string]any{
		"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/" + role, "principalId": p.ID, "principalType": "ServicePrincipal",
	}}, nil); err != nil {
		return nil, "", err
	}
	form = url.Values{"grant_type": {"client_credentials"}, "client_id": {p.AppID}, "client_secret": {p.Secret}}.Encode()
	answer, err := b.signIn(ctx, form, "198.51.100.1")
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = answer.Body.Close() }()
	var token struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&token); err != nil || token.Token == "" {
		return nil, "", fmt.Errorf("sign in: %s (%w)", answer.Status, err)
	}
	other := *b
	other.token = token.Token
	other.client = &http.Client{Transport: b.client.Transport.(*http.Transport).Clone()}
	return &other, form, nil
}

func guid() string {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails
	return fmt.Sprintf("%x-%x-4%03x-8%03x-%x", raw[:4], raw[4:6], int(raw[6])<<4, int(raw[7])<<4, raw[10:])
}

func (b *connectionBench) signIn(ctx context.Context, form, address string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url+"/adfs/oauth2/token", strings.NewReader(form))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Forwarded-For", address)
	return b.client.Do(r)
}

func (f *floodBench) linker() string {
	return f.bystander.group + "/providers/Microsoft.Web/sites/web/providers/Microsoft.ServiceLinker/linkers/orders"
}

// bystanders is what the bystander does, in turn.
var bystanders = []string{"validate", "sign in", "list", "GET", "PUT"}

// errRefused is a bystander's request that was not answered as it should be.
var errRefused = errors.New("refused")

// work lets the bystander work, and says how long each of its requests took,
// and how many of them failed.
func (f *floodBench) work(ctx context.Context, rounds int) (times map[string][]time.Duration, failed map[string]int, err error) {
	b := f.bystander
	answered := func(ask func() (*http.Response, error)) error {
		answer, err := ask()
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return err
		}
		if answer.StatusCode/100 != 2 {
			return fmt.Errorf("%w: %s", errRefused, answer.Status)
		}
		return nil
	}
	do := map[string]func() (*http.Response, error){
		"sign in": func() (*http.Response, error) { return b.signIn(ctx, f.form, "198.51.100.1") },
		"list": func() (*http.Response, error) {
			return b.request(ctx, "GET", strings.TrimSuffix(f.linker(), "/orders"), nil)
		},
		"GET": func() (*http.Response, error) { return b.request(ctx, "GET", f.linker(), nil) },
		"PUT": func() (*http.Response, error) {
			return b.request(ctx, "PUT", b.group, map[string]any{"location": "local"})
		},
	}
	one := func(name string) error {
		if name == "validate" {
			return b.operate(ctx, "POST", f.linker()+"/providers/Patchbay.Connector/validate", nil)
		}
		return answered(do[name])
	}
	times, failed = map[string][]time.Duration{}, map[string]int{}
	for range rounds {
		for _, name := range bystanders {
			start := time.Now()
			err := one(name)
			times[name] = append(times[name], time.Since(start))
			if err != nil && ctx.Err() != nil {
				return nil, nil, err
			}
			if err != nil {
				failed[name]++
			}
		}
	}
	return times, failed, nil
}

// floodOrder is what a flood's process is told.
type floodOrder struct {
	URL, Busy, Reader, Dir, Silent string
	CA                             []byte
}

// start lets a flood come from another process of the lowest priority: it takes
// as little of this machine as if it came from another. end ends it, and says
// what was sent.
func (f *floodBench) start(ctx context.Context, which int) (end func() (string, error), err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	order, err := json.Marshal(floodOrder{URL: f.busy.url, Busy: f.busy.token, Reader: f.reader.token, Dir: f.dir, Silent: f.silent, CA: f.busy.ca})
	if err != nil {
		return nil, err
	}
	var said strings.Builder
	cmd := exec.CommandContext(ctx, program, "-flood", strconv.Itoa(which))
	cmd.Stdout, cmd.Stderr = &said, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := in.Write(append(order, '\n')); err != nil {
		return nil, errors.Join(err, cmd.Process.Kill(), cmd.Wait())
	}
	return func() (string, error) {
		err := in.Close() // which tells it to end
		err = errors.Join(err, cmd.Wait())
		return said.String(), err
	}, nil
}

// runFlood is the process of a flood. It ends with its standard input.
func runFlood(which int, in io.Reader, out io.Writer) error {
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, 19); err != nil {
		return err
	}
	lines := bufio.NewReader(in)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		return err
	}
	var o floodOrder
	if err := json.Unmarshal(line, &o); err != nil {
		return err
	}
	f := &flooder{dir: o.Dir, silent: o.Silent, busy: &connectionBench{url: o.URL, token: o.Busy}, reader: &connectionBench{url: o.URL, token: o.Reader}}
	f.busy.trust(o.CA)
	f.reader.trust(o.CA)
	ctx, end := context.WithCancel(context.Background())
	go func() {
		_, _ = lines.ReadByte() // nothing more comes
		end()
	}()
	fl := floods[which]
	var all, done, refused, later atomic.Int64
	var senders sync.WaitGroup
	for range fl.atOnce {
		senders.Go(func() {
			for ctx.Err() == nil {
				i := all.Add(1) - 1
				if fl.most > 0 && i >= fl.most {
					all.Add(-1)
					return
				}
				answer, err := fl.send(ctx, f, i)
				if err != nil {
					continue
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
				switch {
				case answer.StatusCode/100 == 2:
					done.Add(1)
					continue
				case answer.StatusCode != http.StatusTooManyRequests:
					refused.Add(1)
					continue
				}
				later.Add(1)
				// It is a flood all the same, of what comes back a little later.
				pause := time.NewTimer(100 * time.Millisecond)
				select {
				case <-pause.C:
				case <-ctx.Done():
					pause.Stop()
				}
			}
		})
	}
	senders.Wait()
	_, _ = fmt.Fprintf(out, "%d sent, %d done, %d refused, %d told to come back", all.Load(), done.Load(), refused.Load(), later.Load())
	return nil
}

// silent is a listener that takes connections and says nothing.
func silent() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		var open []net.Conn
		for {
			c, err := l.Accept()
			if err != nil {
				break
			}
			open = append(open, c)
		}
		for _, c := range open {
			_ = c.Close()
		}
	}()
	return l, nil
}

// endpoint is a connection's body whose target never answers.
func (f *flooder) endpoint() any {
	return map[string]any{"properties": map[string]any{
		"targetService": map[string]any{"type": "SelfHostedServer", "endpoint": "redis://" + f.silent},
		"authInfo":      map[string]any{"authType": "secret", "name": "app", "secretInfo": map[string]any{"secretType": "rawValue", "value": "nothing"}},
		"clientType":    "go",
	}}
}

func strangeSignIn(ctx context.Context, f *flooder, _ int64) (*http.Response, error) {
	raw := make([]byte, 4)
	_, _ = rand.Read(raw) // never fails
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {guid()}, "client_secret": {guid()}}.Encode()
	return f.busy.signIn(ctx, form, net.IP(raw).String())
}

func manyResources(ctx context.Context, f *flooder) error {
	for i := range 400 {
		body := map[string]any{"properties": map[string]any{"driver": "external", "endpoint": "127.0.0.1:1"}}
		if err := f.busy.call(ctx, "PUT", fmt.Sprintf("%s/providers/Microsoft.Cache/redis/r%03d?check=false", floodGroup, i), body, nil); err != nil {
			return err
		}
	}
	return nil
}

// deadBody is a PostgreSQL server that never answers.
func (f *flooder) deadBody() any {
	return map[string]any{"properties": map[string]any{
		"driver": "postgres", "endpoint": f.silent, "sslmode": "disable",
		"admin": map[string]string{"username": "admin", "password": "nothing"},
	}}
}

func deadTarget(ctx context.Context, f *flooder) error {
	if err := oneSource(ctx, f); err != nil {
		return err
	}
	return f.busy.call(ctx, "PUT", floodPG+"dead?check=false", f.deadBody(), nil)
}

func dialDead(ctx context.Context, f *flooder, i int64) (*http.Response, error) {
	if i%2 == 0 {
		return f.busy.request(ctx, "PUT", fmt.Sprint(floodPG, "dead", i), f.deadBody())
	}
	return f.busy.request(ctx, "POST", fmt.Sprint(floodSites, "queue/providers/Microsoft.ServiceLinker/linkers/p", i, "/providers/Patchbay.Connector/preview"),
		map[string]any{"properties": map[string]any{
			"targetService": map[string]any{"type": "AzureResource", "id": floodPG + "dead/databases/shop"},
			"authInfo":      map[string]any{"authType": "secret"}, "clientType": "go",
		}})
}

// oneSource registers a source of the flood's tenant.
func oneSource(ctx context.Context, f *flooder) error {
	return f.busy.call(ctx, "PUT", floodSites+"queue", map[string]any{"properties": map[string]any{
		"driver": "envfile", "endpoint": filepath.Join(f.dir, "queue.env"),
	}}, nil)
}
