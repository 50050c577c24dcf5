package crashtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"patchbay.dev/patchbay/internal/natsserver"
	"patchbay.dev/patchbay/internal/testenv"
)

// target is a real server with what the checker asks of it.
type target interface {
	name() string
	// in is the same server, whose trouble is t's.
	in(t *testing.T) target
	// resource is its type and name below the group, and the body that
	// registers it.
	resource() (path string, body map[string]any)
	// id is what a connection names as its target, below the group.
	id() string
	// administered says that logins are made there; it is false of a service
	// that others make them in.
	administered() bool
	// form is what a connection's properties say of its login, for an access.
	form(access string) map[string]any
	// marked lists the logins there that bear Patchbay's name.
	marked() []string
	// remains lists everything that bears Patchbay's name, groups included.
	remains() []string
	// signsIn signs in with settings, and says who it is then.
	signsIn(env map[string]string) (who string, err error)
	// exact says what is wrong with the rights of a login of that access.
	exact(env map[string]string, access string) error
	// untouched says what of others' things is not as it was.
	untouched() error
	// secrets are those among settings.
	secrets(env map[string]string) []string
}

// dialer makes connections from somewhere.
type dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

type postgresTarget struct {
	t      *testing.T
	server *testenv.PostgresServer
	conn   *pgx.Conn
	addr   string // where applications reach it
	at     dialer // from where they do; nil: from here
}

func startPostgres(t *testing.T) target {
	p := &postgresTarget{t: t, server: testenv.Postgres(t, testenv.PostgresOptions{})}
	p.addr = p.server.Addr()
	p.furnish(nil)
	return p
}

// furnish makes what is there before a connection. The server is reached by dial, nil:
// from here.
func (p *postgresTarget) furnish(dial pgconn.DialFunc) {
	t := p.t
	connect := func(database string) *pgx.Conn {
		config, err := pgx.ParseConfig(p.server.URL(database))
		if err != nil {
			t.Fatal(err)
		}
		if dial != nil {
			config.DialFunc = dial
		}
		conn, err := pgx.ConnectConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	admin := connect("postgres")
	for _, sql := range []string{
		`CREATE DATABASE shop`,
		`CREATE ROLE somebody LOGIN PASSWORD 'theirs'`,
		`COMMENT ON ROLE somebody IS 'not Patchbay''s'`,
	} {
		if _, err := admin.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	_ = admin.Close(t.Context())
	p.conn = connect("shop")
	t.Cleanup(func() { _ = p.conn.Close(context.Background()) })
	for _, sql := range []string{
		`CREATE TABLE orders (id int)`, `INSERT INTO orders VALUES (1)`,
		`CREATE TABLE theirs (id int)`, `ALTER TABLE theirs OWNER TO somebody`,
		`GRANT SELECT ON orders TO somebody`,
	} {
		if _, err := p.conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
}

func (p *postgresTarget) name() string { return "postgres" }

func (p *postgresTarget) administered() bool { return true }

func (p *postgresTarget) form(access string) map[string]any { return ownLogin(access) }

// ownLogin is a login that Patchbay makes.
func ownLogin(access string) map[string]any {
	return map[string]any{"authInfo": map[string]any{"authType": "secret"}, "patchbay": map[string]any{"access": access}}
}

func (p *postgresTarget) in(t *testing.T) target {
	of := *p
	of.t = t
	return &of
}

func (p *postgresTarget) resource() (string, map[string]any) {
	return "Microsoft.DBforPostgreSQL/flexibleServers/db", map[string]any{"properties": map[string]any{
		"driver": "postgres", "endpoint": p.addr, "sslmode": "disable",
		"admin": map[string]string{"username": p.server.User, "password": p.server.Password},
	}}
}

func (p *postgresTarget) id() string {
	return "Microsoft.DBforPostgreSQL/flexibleServers/db/databases/shop"
}

func (p *postgresTarget) names(sql string) []string {
	p.t.Helper()
	rows, err := p.conn.Query(p.t.Context(), sql)
	if err != nil {
		p.t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		p.t.Fatal(err)
	}
	return names
}

func (p *postgresTarget) marked() []string {
	return p.names(`SELECT rolname FROM pg_roles WHERE rolname LIKE 'pb\_%' AND rolcanlogin ORDER BY 1`)
}

func (p *postgresTarget) remains() []string {
	return p.names(`SELECT rolname FROM pg_roles WHERE rolname LIKE 'pb\_%' OR shobj_description(oid, 'pg_authid') ILIKE '%patchbay%' AND rolname <> 'somebody' ORDER BY 1`)
}

func (p *postgresTarget) open(env map[string]string) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), 10*time.Second)
	defer cancel()
	config, err := pgx.ParseConfig(env["AZURE_POSTGRESQL_CONNECTIONSTRING"])
	if err != nil {
		return nil, err
	}
	if p.at != nil {
		config.DialFunc = p.at.DialContext
		config.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil } // it is known there
	}
	return pgx.ConnectConfig(ctx, config)
}

// isReachedIn makes it be there for what is in another network.
func (p *postgresTarget) isReachedIn(at site) {
	p.at = at.network
	p.addr = net.JoinHostPort(at.gateway, strconv.Itoa(at.expose(p.t, at.gateway, p.server.Addr())))
}

func (p *postgresTarget) signsIn(env map[string]string) (string, error) {
	conn, err := p.open(env)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(p.t.Context()) }()
	var who string
	err = conn.QueryRow(p.t.Context(), `SELECT session_user`).Scan(&who)
	return who, err
}

func (p *postgresTarget) exact(env map[string]string, access string) error {
	conn, err := p.open(env)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(p.t.Context()) }()
	writes := access != "reader"
	for _, c := range []struct {
		sql     string
		allowed bool
	}{
		{`SELECT count(*) FROM orders`, true},
		{`INSERT INTO orders VALUES (2)`, writes},
		{`UPDATE orders SET id = id`, writes},
		{`CREATE TABLE more (id int)`, false},
		{`DROP TABLE orders`, false},
		{`CREATE ROLE another`, false},
		{`CREATE DATABASE another`, false},
		{`SET ROLE somebody`, false},
		{`SELECT pg_read_file('postgresql.conf')`, false},
	} {
		tx, err := conn.Begin(p.t.Context())
		if err != nil {
			return err
		}
		_, err = tx.Exec(p.t.Context(), c.sql)
		_ = tx.Rollback(p.t.Context())
		var refused *pgconn.PgError
		switch {
		case c.allowed && err != nil:
			return fmt.Errorf("%s: %w", c.sql, err)
		case !c.allowed && err == nil:
			return fmt.Errorf("%s was allowed", c.sql)
		case !c.allowed && (!errors.As(err, &refused) || refused.Code != "42501" && refused.Code != "25001"):
			return fmt.Errorf("%s: %w", c.sql, err)
		}
	}
	return nil
}

func (p *postgresTarget) untouched() error {
	got := p.names(`SELECT concat_ws(' ', rolname, rolcanlogin, shobj_description(oid, 'pg_authid')) FROM pg_roles WHERE rolname = 'somebody'
		UNION ALL SELECT concat_ws(' ', relname, relowner::regrole) FROM pg_class WHERE relname IN ('orders', 'theirs')
		UNION ALL SELECT 'granted' FROM aclexplode((SELECT relacl FROM pg_class WHERE relname = 'orders')) WHERE grantee = 'somebody'::regrole AND privilege_type = 'SELECT'
		ORDER BY 1`)
	want := []string{"granted", "orders postgres", "somebody t not Patchbay's", "theirs somebody"}
	if !slices.Equal(got, want) {
		return fmt.Errorf("others' things are %q, were %q", got, want)
	}
	return nil
}

func (p *postgresTarget) secrets(env map[string]string) []string {
	for word := range strings.FieldsSeq(env["AZURE_POSTGRESQL_CONNECTIONSTRING"]) {
		if value, ok := strings.CutPrefix(word, "password="); ok {
			return []string{strings.Trim(value, "'")}
		}
	}
	return nil
}

type natsTarget struct {
	t       *testing.T
	server  *natsserver.Server
	system  *nats.Conn
	foreign string
}

func startNATS(t *testing.T) target {
	server, err := natsserver.Start(t.Context(), natsserver.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	n := &natsTarget{t: t, server: server}
	creds := server.Admin()["systemCreds"].Reveal()
	userJWT, err := nkeys.ParseDecoratedJWT([]byte(creds))
	if err != nil {
		t.Fatal(err)
	}
	key, err := nkeys.ParseDecoratedUserNKey([]byte(creds))
	if err != nil {
		t.Fatal(err)
	}
	n.system, err = nats.Connect(server.URL(), nats.UserJWT(func() (string, error) { return userJWT, nil }, key.Sign))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.system.Close)
	// Somebody else's signing key, which has to survive everything.
	foreign, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	n.foreign, _ = foreign.PublicKey()
	claims := n.account()
	claims.SigningKeys.Add(n.foreign)
	operator, err := nkeys.FromSeed([]byte(server.OperatorSeed().Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	token, err := claims.Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.system.Request("$SYS.REQ.CLAIMS.UPDATE", []byte(token), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *natsTarget) account() *jwt.AccountClaims {
	n.t.Helper()
	answer, err := n.system.Request("$SYS.REQ.ACCOUNT."+n.server.Account()+".CLAIMS.LOOKUP", nil, 5*time.Second)
	if err != nil {
		n.t.Fatal(err)
	}
	claims, err := jwt.DecodeAccountClaims(string(answer.Data))
	if err != nil {
		n.t.Fatal(err)
	}
	return claims
}

func (n *natsTarget) name() string { return "nats" }

func (n *natsTarget) administered() bool { return true }

func (n *natsTarget) form(access string) map[string]any { return ownLogin(access) }

func (n *natsTarget) in(t *testing.T) target {
	of := *n
	of.t = t
	return &of
}

func (n *natsTarget) resource() (string, map[string]any) {
	properties := n.server.Properties()
	admin := map[string]string{}
	for name, value := range n.server.Admin() {
		admin[name] = value.Reveal()
	}
	properties["driver"], properties["endpoint"], properties["admin"] = "nats", n.server.Endpoint(), admin
	properties["subjects"] = []string{"orders.>"}
	return "Patchbay.Services/natsServers/broker", map[string]any{"properties": properties}
}

func (n *natsTarget) id() string { return "Patchbay.Services/natsServers/broker" }

func (n *natsTarget) marked() []string {
	var names []string
	for _, scope := range n.account().SigningKeys {
		if s, ok := scope.(*jwt.UserScope); ok && strings.HasPrefix(s.Role, "pb_") {
			names = append(names, s.Role)
		}
	}
	slices.Sort(names)
	return names
}

func (n *natsTarget) remains() []string { return n.marked() }

func (n *natsTarget) open(env map[string]string, refused chan<- error) (*nats.Conn, error) {
	return nats.Connect(env["NATS_URL"], nats.NoReconnect(), nats.UserJWTAndSeed(env["NATS_USER_JWT"], env["NATS_NKEY_SEED"]),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
}

func (n *natsTarget) signsIn(env map[string]string) (string, error) {
	nc, err := n.open(env, make(chan error, 8))
	if err != nil {
		return "", err
	}
	defer nc.Close()
	if err := nc.FlushTimeout(5 * time.Second); err != nil {
		return "", err
	}
	claims, err := jwt.DecodeUserClaims(env["NATS_USER_JWT"])
	if err != nil {
		return "", err
	}
	scope, ok := n.account().SigningKeys.GetScope(claims.Issuer)
	user, scoped := scope.(*jwt.UserScope)
	if !ok || !scoped {
		return "", errors.New("the login's signing key has no scope")
	}
	return user.Role, nil
}

func (n *natsTarget) exact(env map[string]string, access string) error {
	for _, c := range []struct {
		subject          string
		publish, receive bool
	}{
		{"orders.new", access != "reader", true},
		{"secrets.new", false, false},
		{"$JS.API.STREAM.CREATE.x", false, false},
		{"$SYS.>", false, false},
		{">", false, false},
	} {
		for _, receive := range []bool{false, true} {
			refused := make(chan error, 8)
			nc, err := n.open(env, refused)
			if err != nil {
				return err
			}
			allowed := c.publish
			if receive {
				allowed = c.receive
				_, err = nc.SubscribeSync(c.subject)
			} else if strings.Contains(c.subject, ">") {
				nc.Close()
				continue
			} else {
				err = nc.Publish(c.subject, nil)
			}
			if err == nil {
				err = nc.Flush()
			}
			if err != nil {
				nc.Close()
				return err
			}
			if allowed {
				nc.Close()
				select {
				case err := <-refused:
					return fmt.Errorf("%s (receive %t): %w", c.subject, receive, err)
				default:
				}
				continue
			}
			select {
			case err := <-refused:
				if !errors.Is(err, nats.ErrPermissionViolation) {
					nc.Close()
					return err
				}
			case <-time.After(5 * time.Second):
				nc.Close()
				return fmt.Errorf("%s (receive %t) was allowed", c.subject, receive)
			}
			nc.Close()
		}
	}
	return nil
}

func (n *natsTarget) untouched() error {
	if !slices.Contains(n.account().SigningKeys.Keys(), n.foreign) {
		return errors.New("somebody else's signing key is gone")
	}
	return nil
}

func (n *natsTarget) secrets(env map[string]string) []string {
	if env["NATS_NKEY_SEED"] == "" {
		return nil
	}
	return []string{env["NATS_NKEY_SEED"]}
}
