package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/controlplane"
	"patchbay.dev/patchbay/internal/natsserver"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/server"
	"patchbay.dev/patchbay/store"
	"patchbay.dev/patchbay/store/sqlite"
)

const (
	watchedConnections = 1000 // each of a source of its own
	// byRequest is how many validations are asked for, beside the round.
	byRequest = 200
	// roundEvery is short enough that looks are begun as fast as they ever are: the
	// round takes two minutes or so.
	roundEvery = 4 * time.Minute
	// hourly is what a round takes where nobody says otherwise.
	hourly = time.Hour
	// watchTurns is how often the server runs at each pace, for latencies, and
	// getsPerCreate how many GETs come with each create.
	watchTurns    = 3
	getsPerCreate = 10
)

// pace is how often a server looks at each connection.
type pace struct {
	name  string
	every time.Duration
	times map[string][]time.Duration // of requests meanwhile
	looks int
	span  time.Duration
}

// watchBench is a server in a process of its own, whose connections are looked at by
// themselves.
type watchBench struct {
	connectionBench
	targets []string
	pid     int
}

// benchWatch is what it costs that connections are looked at without being asked for:
// processor time of the server and its children for a full round of all, beside the same
// by request; and what somebody else's requests wait for meanwhile.
func benchWatch(ctx context.Context, out io.Writer, dir string, rounds int) (err error) {
	b := &watchBench{connectionBench: connectionBench{dir: dir, database: "shop", steps: map[string][]time.Duration{}}}
	b.pg, err = testenv.StartPostgres(ctx, testenv.PostgresOptions{Settings: map[string]string{"fsync": "on"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.pg.Stop()) }()
	var brokers []*testenv.NATSServer
	for range 2 {
		s, err := testenv.StartNATS(ctx, natsserver.Config{})
		if err != nil {
			return err
		}
		defer s.Stop()
		brokers = append(brokers, s)
	}

	var asked float64
	err = b.while(ctx, 0, func() error {
		if err := b.connect(ctx, brokers); err != nil {
			return err
		}
		asked, err = b.validateAll(ctx)
		return err
	})
	if err != nil {
		return err
	}

	var spent float64
	var looks int
	var took time.Duration
	err = b.while(ctx, roundEvery, func() error {
		spent, looks, took, err = b.round(ctx)
		return err
	})
	if err != nil {
		return err
	}

	paces := []*pace{
		{name: "without"},
		// All are looked at in the first five minutes: what changed meanwhile is not known.
		{name: "an hour's, just started", every: hourly},
		{name: "the quickest", every: roundEvery},
	}
	for _, p := range paces {
		p.times = map[string][]time.Duration{}
	}
	for range watchTurns {
		for _, p := range paces {
			if err := b.while(ctx, p.every, func() error { return b.meanwhile(ctx, p, max(rounds/watchTurns/3, 1)) }); err != nil {
				return err
			}
		}
	}
	ticks, err := fixedWork(ctx, filepath.Join(dir, "data", controlplane.DatabaseFile))
	if err != nil {
		return err
	}
	return b.report(out, asked, spent, looks, took, ticks, paces)
}

func (b *watchBench) report(out io.Writer, asked, spent float64, looks int, took time.Duration, ticks float64, paces []*pace) error {
	perLook, perRequest := spent/float64(looks), asked/byRequest
	seconds := func(s float64) string { return fmt.Sprintf("%.1f s", s) }
	ofCore := func(s float64) string { return fmt.Sprintf("%.2f %%", 100*s/hourly.Seconds()) }
	each := func(s float64) string { return fmt.Sprintf("%.1f ms", 1000*s) }
	t := newTable(out, fmt.Sprintf("%d connections, processor time of the server and its children", watchedConnections), "for all", "each", "of one core, once an hour", "ratio")
	t.row(fmt.Sprintf("by request (%d of them)", byRequest), seconds(perRequest*watchedConnections), each(perRequest), ofCore(perRequest*watchedConnections), "1.0")
	t.row(fmt.Sprintf("looked at by itself (%d in %.0f s)", looks, took.Seconds()), seconds(perLook*watchedConnections), each(perLook), ofCore(perLook*watchedConnections), fmt.Sprintf("%.2f", perLook/perRequest))
	t.row("what a watch reads besides, in an hour", seconds(ticks), "", ofCore(ticks), "")
	t.row("both", seconds(perLook*watchedConnections+ticks), "", ofCore(perLook*watchedConnections+ticks), "")
	if err := t.flush(); err != nil {
		return err
	}
	for _, name := range []string{"GET", "create"} {
		t = newTable(out, fmt.Sprintf("%s, %d times at each pace", name, len(paces[0].times[name])), "looks a second", "median", "p99", "ratio of medians", "of p99")
		for _, p := range paces {
			without, here := paces[0].times[name], p.times[name]
			ratio := func(q float64) string {
				return fmt.Sprintf("%.2f", float64(quantile(here, q))/float64(max(quantile(without, q), 1)))
			}
			t.row(p.name, fmt.Sprintf("%.1f", float64(p.looks)/p.span.Seconds()), ms(quantile(here, .5)), ms(quantile(here, .99)), ratio(.5), ratio(.99))
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	return nil
}

// connect registers the targets and the sources, and connects them: as many of each
// target.
func (b *watchBench) connect(ctx context.Context, brokers []*testenv.NATSServer) error {
	if err := b.prepare(ctx); err != nil {
		return err
	}
	if err := b.admin.Close(ctx); err != nil {
		return err
	}
	if err := b.pg.Exec(ctx, "postgres", "CREATE DATABASE stock"); err != nil {
		return err
	}
	for _, name := range []string{b.database, "stock"} {
		b.targets = append(b.targets, b.group+"/providers/Microsoft.DBforPostgreSQL/flexibleServers/db/databases/"+name)
	}
	for i, s := range brokers {
		p, admin := s.Properties(), map[string]string{}
		for name, value := range s.Admin() {
			admin[name] = value.Reveal()
		}
		p["driver"], p["endpoint"], p["admin"], p["subjects"] = "nats", s.Endpoint(), admin, []string{"orders.>"}
		id := fmt.Sprintf("%s/providers/Patchbay.Services/natsServers/broker%d", b.group, i)
		if err := b.call(ctx, "PUT", id, map[string]any{"properties": p}, nil); err != nil {
			return err
		}
		b.targets = append(b.targets, id)
	}
	var g errgroup.Group
	g.SetLimit(16)
	for i := range watchedConnections {
		g.Go(func() error {
			one := b.connectionBench
			one.steps = map[string][]time.Duration{}
			if err := one.source(ctx, b.name(i)); err != nil {
				return err
			}
			return one.operate(ctx, "PUT", b.linker(b.name(i)), b.to(i))
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return b.source(ctx, "other")
}

func (b *watchBench) name(i int) string { return fmt.Sprintf("app%04d", i) }

func (b *watchBench) linker(source string) string {
	return b.group + "/providers/Microsoft.Web/sites/" + source + "/providers/Microsoft.ServiceLinker/linkers/orders"
}

func (b *watchBench) to(i int) any {
	return map[string]any{"properties": map[string]any{
		"targetService": map[string]any{"type": "AzureResource", "id": b.targets[i%len(b.targets)]},
		"authInfo":      map[string]any{"authType": "secret"}, "clientType": "go",
	}}
}

// source registers a settings file in a directory of its own.
func (b *connectionBench) source(ctx context.Context, name string) error {
	dir := filepath.Join(b.dir, "apps", name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return b.call(ctx, "PUT", b.group+"/providers/Microsoft.Web/sites/"+name, map[string]any{"properties": map[string]any{
		"driver": "envfile", "endpoint": filepath.Join(dir, "settings.env"),
	}}, nil)
}

// validateAll validates some connections by request, one after the other, and gives the
// processor time in seconds.
func (b *watchBench) validateAll(ctx context.Context) (float64, error) {
	before, err := processorTime(b.pid)
	if err != nil {
		return 0, err
	}
	for i := range byRequest {
		if err := b.operate(ctx, "POST", b.linker(b.name(i))+"/providers/Patchbay.Connector/validate", nil); err != nil {
			return 0, err
		}
	}
	after, err := processorTime(b.pid)
	return after - before, err
}

// round waits until every connection was looked at, and gives the processor time in
// seconds, the start of the watch included.
func (b *watchBench) round(ctx context.Context) (spent float64, looks int, took time.Duration, err error) {
	start := time.Now()
	before, err := processorTime(b.pid)
	if err != nil {
		return 0, 0, 0, err
	}
	if err := b.until(ctx, watchedConnections); err != nil {
		return 0, 0, 0, err
	}
	after, err := processorTime(b.pid)
	if err != nil {
		return 0, 0, 0, err
	}
	took = time.Since(start)
	all, err := b.looks(ctx)
	if err == nil && all.bad > 0 {
		err = fmt.Errorf("%d of %d looks found a connection that does not work", all.bad, all.all)
	}
	return after - before, all.all, took, err
}

// meanwhile asks for what clients ask for, once the looks go on.
func (b *watchBench) meanwhile(ctx context.Context, p *pace, rounds int) error {
	if p.every > 0 {
		if err := b.until(ctx, len(b.targets)); err != nil {
			return err
		}
	}
	for range warmUp {
		if err := b.call(ctx, "GET", b.linker(b.name(0)), nil, nil); err != nil {
			return err
		}
	}
	before, err := b.looks(ctx)
	if err != nil {
		return err
	}
	begun := time.Now()
	measure := func(name string, f func() error) error {
		start := time.Now()
		err := f()
		p.times[name] = append(p.times[name], time.Since(start))
		return err
	}
	for i := range rounds {
		for j := range getsPerCreate {
			path := b.linker(b.name((i*getsPerCreate + j) * 97 % watchedConnections))
			if err := measure("GET", func() error { return b.call(ctx, "GET", path, nil, nil) }); err != nil {
				return err
			}
		}
		if err := measure("create", func() error { return b.operate(ctx, "PUT", b.linker("other"), b.to(i)) }); err != nil {
			return err
		}
		if err := b.operate(ctx, "DELETE", b.linker("other"), nil); err != nil {
			return err
		}
	}
	after, err := b.looks(ctx)
	p.looks, p.span = p.looks+after.all-before.all, p.span+time.Since(begun)
	return err
}

// looked is how many looks there were, and how many of them found no healthy connection.
type looked struct{ all, bad int }

// looks reads the server's metrics.
func (b *watchBench) looks(ctx context.Context) (n looked, err error) {
	answer, err := b.request(ctx, "GET", "/metrics", nil)
	if err != nil {
		return n, err
	}
	defer func() { _ = answer.Body.Close() }()
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		labels, found := strings.CutPrefix(lines.Text(), "patchbay_validation_duration_seconds_count{")
		if !found {
			continue
		}
		_, value, _ := strings.Cut(labels, "} ")
		count, err := strconv.Atoi(value)
		if err != nil {
			return n, err
		}
		n.all += count
		if !strings.Contains(labels, `health="`+string(patchbay.Healthy)+`"`) {
			n.bad += count
		}
	}
	return n, lines.Err()
}

// until waits for so many looks.
func (b *watchBench) until(ctx context.Context, looks int) error {
	ctx, cancel := context.WithTimeout(ctx, 3*roundEvery)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		n, err := b.looks(ctx)
		if err != nil || n.all >= looks {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%d looks of %d: %w", n.all, looks, ctx.Err())
		}
	}
}

// served is what a server's process says of itself.
type served struct {
	URL, Token string
	CA         []byte
}

// while runs the server in a process of its own, and do meanwhile.
func (b *watchBench) while(ctx context.Context, every time.Duration, do func() error) (err error) {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, "-serve", every.String(), filepath.Join(b.dir, "data"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	said, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() {
		closed := in.Close() // which tells it to end
		err = errors.Join(err, closed, cmd.Wait())
	}()
	var s served
	if err := json.NewDecoder(said).Decode(&s); err != nil {
		return fmt.Errorf("the server did not start: %w", err)
	}
	b.trust(s.CA)
	defer b.client.CloseIdleConnections()
	b.url, b.token, b.pid = s.URL, s.Token, cmd.Process.Pid
	return do()
}

// runServer is the process of a server. It ends with its standard input.
func runServer(every time.Duration, dir string, in io.Reader, out io.Writer) error {
	ctx, end := context.WithCancel(context.Background())
	defer end()
	go func() {
		_, _ = io.Copy(io.Discard, in)
		end()
	}()
	var failed error
	err := controlplane.Run(ctx, controlplane.Options{
		Server:        server.Options{Dir: dir, Address: "127.0.0.1:0"},
		Log:           slog.New(slog.DiscardHandler),
		Overlap:       time.Millisecond,
		ValidateEvery: every,
		Ready: func(s *server.Server) {
			ca, err := os.ReadFile(s.CA())
			if failed = errors.Join(err, json.NewEncoder(out).Encode(served{s.URL(), s.Token().Reveal(), ca})); failed != nil {
				end()
			}
		},
	})
	return errors.Join(failed, err)
}

// fixedWork is the time in seconds of what a watch reads in an hour, however many looks
// there are: each minute all connections and their sources, each five seconds how many
// there are, and each second whose turn it is. (In this process, with nobody else at the database.)
func fixedWork(ctx context.Context, path string) (float64, error) {
	s, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return 0, err
	}
	defer func() { _ = s.Close() }()
	var minutes, counts, seconds []time.Duration
	for range 5 {
		start := time.Now()
		if _, err := s.CountHealth(ctx); err != nil {
			return 0, err
		}
		counts = append(counts, time.Since(start))
		start = time.Now()
		var sources []patchbay.ID
		for after, more := "", true; more; more = after != "" {
			page, next, err := s.Connections(ctx, "", after, store.MaxPage)
			if err != nil {
				return 0, err
			}
			for _, c := range page {
				sources = append(sources, c.Source)
			}
			after = next
		}
		for _, id := range sources {
			if _, err := s.Resource(ctx, id); err != nil {
				return 0, err
			}
		}
		minutes = append(minutes, time.Since(start))
		start = time.Now()
		if _, err := s.Unseen(ctx, time.Now().Add(-hourly), 32); err != nil {
			return 0, err
		}
		seconds = append(seconds, time.Since(start))
	}
	return hourly.Minutes()*quantile(minutes, .5).Seconds() +
		hourly.Seconds()*(quantile(counts, .5).Seconds()/5+quantile(seconds, .5).Seconds()), nil
}

// processorTime is that of a process and its children, those that ended too, in
// seconds.
func processorTime(pid int) (float64, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(files) == 0 {
		return 0, errors.New("only Linux says how much processor time a process took")
	}
	const perSecond = 100 // ticks, on every Linux
	parents, ticks := map[int]int{}, map[int]float64{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// The name, in brackets, may hold anything.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		id, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil || len(fields) < 15 {
			return 0, fmt.Errorf("%s is not as proc(5) says", file)
		}
		if parents[id], err = strconv.Atoi(fields[1]); err != nil {
			return 0, err
		}
		for _, field := range fields[11:15] { // its own, and those of children that it waited for
			n, err := strconv.ParseFloat(field, 64)
			if err != nil {
				return 0, err
			}
			ticks[id] += n
		}
	}
	var all float64
	for id, n := range ticks {
		for at := id; at != 0; at = parents[at] {
			if at == pid {
				all += n
				break
			}
		}
	}
	return all / perSecond, nil
}
