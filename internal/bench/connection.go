package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay/internal/controlplane"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/server"
)

// connectionBench compares create, validate and delete over HTTPS with the
// same work done by hand: the same statements on an open admin connection, one
// sign-in as the new login, one atomic replacement of the file. The two take
// turns, so that a machine that slows down slows both.
type connectionBench struct {
	pg     *testenv.PostgresServer
	admin  *pgx.Conn
	dir    string
	client *http.Client
	url    string
	token  string
	ca     []byte
	group  string
	steps  map[string][]time.Duration // of creates

	database       string
	trustForwarded bool
}

const apiVersion = "2026-11-01"

func benchConnections(ctx context.Context, out io.Writer, rounds int) (err error) {
	dir, err := os.MkdirTemp("", "patchbay-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b := &connectionBench{dir: dir, database: "shop", steps: map[string][]time.Duration{}}
	b.pg, err = testenv.StartPostgres(ctx, testenv.PostgresOptions{Settings: map[string]string{"fsync": "on"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.pg.Stop()) }()
	stop, err := b.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	defer func() { _ = b.admin.Close(context.WithoutCancel(ctx)) }()

	times := map[string][]time.Duration{}
	measure := func(name string, f func() error) error {
		start := time.Now()
		err := f()
		times[name] = append(times[name], time.Since(start))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
	for i := range rounds + warmUp {
		if i == warmUp {
			clear(times)
			clear(b.steps)
		}
		linker := b.group + "/providers/Microsoft.Web/sites/web/providers/Microsoft.ServiceLinker/linkers/orders"
		hand := newByHand(b, filepath.Join(dir, "hand.env"))
		for _, step := range []struct {
			name string
			do   func() error
		}{
			{"create", func() error { return b.operate(ctx, "PUT", linker, b.body()) }},
			{"create by hand", func() error { return hand.create(ctx) }},
			{"validate", func() error { return b.operate(ctx, "POST", linker+"/providers/Patchbay.Connector/validate", nil) }},
			{"validate by hand", func() error { return hand.validate(ctx) }},
			{"delete", func() error { return b.operate(ctx, "DELETE", linker, nil) }},
			{"delete by hand", func() error { return hand.remove(ctx) }},
		} {
			if err := measure(step.name, step.do); err != nil {
				return err
			}
		}
	}
	p := func(d []time.Duration, q float64) time.Duration {
		d = slices.Sorted(slices.Values(d))
		return d[min(len(d)-1, int(q*float64(len(d))))]
	}
	t := newTable(out, "on PostgreSQL "+fmt.Sprint(b.pg.Version), "median", "p99", "by hand", "p99", "ratio of medians")
	for _, name := range []string{"create", "validate", "delete"} {
		ours, theirs := times[name], times[name+" by hand"]
		t.row(name, ms(p(ours, .5)), ms(p(ours, .99)), ms(p(theirs, .5)), ms(p(theirs, .99)),
			fmt.Sprintf("%.2f", float64(p(ours, .5))/float64(p(theirs, .5))))
	}
	if err := t.flush(); err != nil {
		return err
	}
	t = newTable(out, "steps of a create", "median", "p99")
	for _, name := range []string{"plan", "principal", "probe", "settings", "restart", "verify"} {
		t.row(name, ms(p(b.steps[name], .5)), ms(p(b.steps[name], .99)))
	}
	return t.flush()
}

// warmUp rounds open the connections that a server keeps open.
const warmUp = 10

func (b *connectionBench) start(ctx context.Context) (stop func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	ready, ended := make(chan *server.Server, 1), make(chan error, 1)
	data := filepath.Join(b.dir, "data")
	go func() {
		ended <- controlplane.Run(ctx, controlplane.Options{
			Server:  server.Options{Dir: data, Address: "127.0.0.1:0", TrustForwarded: b.trustForwarded},
			Log:     slog.New(slog.DiscardHandler),
			Overlap: time.Millisecond,
			Ready:   func(s *server.Server) { ready <- s },
		})
	}()
	var web *server.Server
	select {
	case web = <-ready:
	case err := <-ended:
		cancel()
		return nil, err
	}
	ca, err := os.ReadFile(web.CA())
	if err != nil {
		cancel()
		return nil, err
	}
	b.trust(ca)
	b.url, b.token = web.URL(), web.Token().Reveal()
	return func() error {
		b.client.CloseIdleConnections()
		cancel()
		return <-ended
	}, nil
}

// trust makes a client that knows the server's authority.
func (b *connectionBench) trust(ca []byte) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	b.ca = ca
	b.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 256}}
}

func (b *connectionBench) prepare(ctx context.Context) error {
	admin, err := b.pg.Connect(ctx, "postgres")
	if err != nil {
		return err
	}
	_, err = admin.Exec(ctx, "CREATE DATABASE "+b.database)
	_ = admin.Close(ctx)
	if err != nil {
		return err
	}
	if b.admin, err = b.pg.Connect(ctx, b.database); err != nil {
		return err
	}
	for i := range 20 {
		if _, err := b.admin.Exec(ctx, fmt.Sprintf("CREATE TABLE t%d (id int PRIMARY KEY, v text)", i)); err != nil {
			return err
		}
	}
	if err := b.findGroup(ctx); err != nil {
		return err
	}
	if err := b.call(ctx, "PUT", b.group+"/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", map[string]any{"properties": map[string]any{
		"driver": "postgres", "endpoint": b.pg.Addr(), "sslmode": "disable",
		"admin": map[string]string{"username": b.pg.User, "password": b.pg.Password},
	}}, nil); err != nil {
		return err
	}
	for _, name := range []string{"web", "first"} {
		if err := b.call(ctx, "PUT", b.group+"/providers/Microsoft.Web/sites/"+name, map[string]any{"properties": map[string]any{
			"driver": "envfile", "endpoint": filepath.Join(b.dir, name+".env"),
		}}, nil); err != nil {
			return err
		}
	}
	// A database's first connection makes its group role; by hand it is there too.
	return b.operate(ctx, "PUT", b.group+"/providers/Microsoft.Web/sites/first/providers/Microsoft.ServiceLinker/linkers/orders", b.body())
}

// findGroup asks for the subscription, and takes its default group.
func (b *connectionBench) findGroup(ctx context.Context) error {
	var subs struct {
		Value []struct {
			ID string `json:"subscriptionId"`
		} `json:"value"`
	}
	if err := b.call(ctx, "GET", "/subscriptions", nil, &subs); err != nil {
		return err
	}
	b.group = "/subscriptions/" + subs.Value[0].ID + "/resourceGroups/default"
	return nil
}

func (b *connectionBench) body() any {
	return map[string]any{"properties": map[string]any{
		"targetService": map[string]any{"type": "AzureResource", "id": b.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db/databases/" + b.database},
		"authInfo":      map[string]any{"authType": "secret"}, "clientType": "go",
	}}
}

func (b *connectionBench) request(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	r, err := http.NewRequestWithContext(ctx, method, b.url+path+sep+"api-version="+apiVersion, content)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+b.token)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Prefer", "respond-async") // the operation's steps are wanted
	return b.client.Do(r)
}

func (b *connectionBench) call(ctx context.Context, method, path string, body, out any) error {
	answer, err := b.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s %s", method, path, answer.Status, text)
	}
	if out == nil || len(text) == 0 {
		return nil
	}
	return json.Unmarshal(text, out)
}

// operate begins an operation and waits for its end, as the command line does.
func (b *connectionBench) operate(ctx context.Context, method, path string, body any) error {
	if body == nil && method == "POST" {
		body = map[string]any{}
	}
	answer, err := b.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if err != nil {
		return err
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %s %s", method, path, answer.Status, text)
	}
	status := answer.Header.Get("Azure-AsyncOperation")
	_, id, found := strings.Cut(status, "/operationStatuses/")
	id, _, _ = strings.Cut(id, "*")
	if !found {
		return fmt.Errorf("%s %s: no operation in the answer", method, path)
	}
	var op struct {
		State   string          `json:"state"`
		Version int64           `json:"version"`
		Error   json.RawMessage `json:"error"`
		Trail   []struct {
			Name           string
			Started, Ended time.Time
		} `json:"trail"`
	}
	for op.State != "done" {
		if err := b.call(ctx, "GET", fmt.Sprintf("/providers/Patchbay.Connector/operations/%s?wait=30&version=%d", id, op.Version), nil, &op); err != nil {
			return err
		}
		if op.State == "undone" || op.State == "abandoned" {
			return fmt.Errorf("%s %s: %s", method, path, op.Error)
		}
	}
	if method == "PUT" {
		for _, run := range op.Trail {
			b.steps[run.Name] = append(b.steps[run.Name], run.Ended.Sub(run.Started))
		}
	}
	return nil
}

// byHand does what an administrator with a script and an open connection does.
type byHand struct {
	b        *connectionBench
	env      string
	role     string
	password string
}

func newByHand(b *connectionBench, env string) *byHand {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw)
	return &byHand{b: b, env: env, role: "hand_" + hex.EncodeToString(raw[:5]), password: hex.EncodeToString(raw)}
}

func (h *byHand) create(ctx context.Context) error {
	var group string
	if err := h.b.admin.QueryRow(ctx, `SELECT rolname FROM pg_roles WHERE NOT rolcanlogin AND rolname LIKE 'pb\_%' LIMIT 1`).Scan(&group); err != nil {
		return err
	}
	if _, err := h.b.admin.Exec(ctx, fmt.Sprintf(`BEGIN; CREATE ROLE %[1]s LOGIN INHERIT PASSWORD '%[2]s'; COMMENT ON ROLE %[1]s IS 'made by hand'; GRANT %[3]s TO %[1]s; COMMIT`,
		h.role, h.password, pgx.Identifier{group}.Sanitize())); err != nil {
		return err
	}
	if err := h.signIn(ctx); err != nil {
		return err
	}
	return h.replace("AZURE_POSTGRESQL_CONNECTIONSTRING='" + h.dsn() + "'\n")
}

func (h *byHand) dsn() string {
	return fmt.Sprintf("host=%s port=%d dbname=%s sslmode=disable user=%s password=%s", h.b.pg.Host, h.b.pg.Port, h.b.database, h.role, h.password)
}

func (h *byHand) signIn(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, h.dsn())
	if err != nil {
		return err
	}
	var n int
	err = conn.QueryRow(ctx, "SELECT count(*) FROM t0").Scan(&n)
	return errors.Join(err, conn.Close(ctx))
}

func (h *byHand) validate(ctx context.Context) error {
	if _, err := os.ReadFile(h.env); err != nil {
		return err
	}
	var login bool
	if err := h.b.admin.QueryRow(ctx, "SELECT rolcanlogin FROM pg_roles WHERE rolname = $1", h.role).Scan(&login); err != nil {
		return err
	}
	return h.signIn(ctx)
}

func (h *byHand) remove(ctx context.Context) error {
	if err := h.replace(""); err != nil {
		return err
	}
	_, err := h.b.admin.Exec(ctx, fmt.Sprintf(`ALTER ROLE %[1]s NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '%[1]s'; DROP OWNED BY %[1]s; DROP ROLE %[1]s`, h.role))
	return err
}

// replace writes the file so that a reader sees the old or the new one, and a
// power cut keeps one of them.
func (h *byHand) replace(text string) error {
	tmp := h.env + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, h.env); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(h.env))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
