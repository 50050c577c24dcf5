package settings_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/settings"
)

// The table says how a library reads what is written of TLS. Here the libraries
// themselves say so: each signs in to a real server whose certificate is of an
// authority of its own, with the settings as they are written and nothing else, and
// says whether the connection is encrypted. Each is a process, because some read
// their environment once.

// library is a program that signs in with the settings in its environment, and
// prints tls or clear; one that refuses ends with an error.
type library struct {
	name   string
	kind   string
	naming patchbay.Naming
	client patchbay.ClientType
	run    []string // the command; "{}" is this directory's testdata/libraries
	// names says that it checks the name of a host that has one, and of an address
	// nothing; here are only addresses.
	names bool
}

const child = "PATCHBAY_SETTINGS_LIBRARY"

var libraries = []library{
	{name: "pgx", kind: "postgresql", naming: patchbay.NamingAzure, client: "go", run: []string{"self", "AZURE_POSTGRESQL_CONNECTIONSTRING"}},
	{name: "pgx", kind: "postgresql", naming: patchbay.NamingNative, client: "go", run: []string{"self", "DATABASE_URL"}},
	{name: "pgx by its environment", kind: "postgresql", naming: patchbay.NamingNative, client: "go", run: []string{"self", "PG"}},
	{name: "pg", kind: "postgresql", naming: patchbay.NamingAzure, client: "nodejs", run: []string{"node", "{}/node.mjs", "pg", "azure"}},
	{name: "pg", kind: "postgresql", naming: patchbay.NamingNative, client: "nodejs", run: []string{"node", "{}/node.mjs", "pg", "url"}},
	{name: "pg by its environment", kind: "postgresql", naming: patchbay.NamingNative, client: "nodejs", run: []string{"node", "{}/node.mjs", "pg", "environment"}},
	{name: "psycopg2", kind: "postgresql", naming: patchbay.NamingAzure, client: "python", run: []string{"/usr/bin/python3", "{}/python.py", "psycopg2", "AZURE_POSTGRESQL_CONNECTIONSTRING"}},
	{name: "psycopg2", kind: "postgresql", naming: patchbay.NamingNative, client: "python", run: []string{"/usr/bin/python3", "{}/python.py", "psycopg2", "DATABASE_URL"}},
	{name: "psycopg2 as Django calls it", kind: "postgresql", naming: patchbay.NamingAzure, client: "django", run: []string{"/usr/bin/python3", "{}/python.py", "psycopg2", "keys"}},
	{name: "pg_connect", kind: "postgresql", naming: patchbay.NamingAzure, client: "php", run: []string{"php", "{}/php.php", "pg"}},
	{name: "ruby-pg", kind: "postgresql", naming: patchbay.NamingAzure, client: "ruby", run: []string{"ruby", "{}/ruby.rb", "pg"}},
	{name: "pgjdbc", kind: "postgresql", naming: patchbay.NamingAzure, client: "java", run: []string{"java", "-cp", "/usr/share/java/postgresql.jar", "{}/Library.java"}},

	{name: "go-sql-driver", kind: "mysql", naming: patchbay.NamingAzure, client: "go", run: []string{"self", "AZURE_MYSQL_CONNECTIONSTRING"}},
	{name: "go-sql-driver by a URL's parameter", kind: "mysql", naming: patchbay.NamingNative, client: "go", run: []string{"self", "MYSQL"}},
	{name: "mysql2 of Node.js", kind: "mysql", naming: patchbay.NamingAzure, client: "nodejs", run: []string{"node", "{}/node.mjs", "mysql2", "azure"}},
	{name: "mysql2 of Node.js", kind: "mysql", naming: patchbay.NamingNative, client: "nodejs", run: []string{"node", "{}/node.mjs", "mysql2", "url"}, names: true},
	{name: "mysqlclient", kind: "mysql", naming: patchbay.NamingAzure, client: "django", run: []string{"/usr/bin/python3", "{}/python.py", "MySQLdb", "keys"}},
	{name: "PyMySQL", kind: "mysql", naming: patchbay.NamingAzure, client: "python", run: []string{"/usr/bin/python3", "{}/python.py", "pymysql", "keys"}},
	{name: "mysqlclient", kind: "mysql", naming: patchbay.NamingNative, client: "python", run: []string{"/usr/bin/python3", "{}/python.py", "MySQLdb", "url"}},
	{name: "mysqlclient as dj-database-url calls it", kind: "mysql", naming: patchbay.NamingNative, client: "django", run: []string{"/usr/bin/python3", "{}/python.py", "MySQLdb", "url"}},
	{name: "mysqli", kind: "mysql", naming: patchbay.NamingAzure, client: "php", run: []string{"php", "{}/php.php", "mysqli"}},
	{name: "mysql2 of Ruby", kind: "mysql", naming: patchbay.NamingAzure, client: "ruby", run: []string{"ruby", "{}/ruby.rb", "mysql2", "keys"}},
	{name: "mysql2 of Ruby", kind: "mysql", naming: patchbay.NamingNative, client: "ruby", run: []string{"ruby", "{}/ruby.rb", "mysql2", "url"}},

	{name: "go-redis", kind: "redis", naming: patchbay.NamingAzure, client: "go", run: []string{"self", "AZURE_REDIS_CONNECTIONSTRING"}},
	{name: "redis-py", kind: "redis", naming: patchbay.NamingAzure, client: "python", run: []string{"/usr/bin/python3", "{}/python.py", "redis", "AZURE_REDIS_CONNECTIONSTRING"}},
	{name: "redis-py", kind: "redis", naming: patchbay.NamingNative, client: "python", run: []string{"/usr/bin/python3", "{}/python.py", "redis", "REDIS_URL"}},
	{name: "redis of Node.js", kind: "redis", naming: patchbay.NamingAzure, client: "nodejs", run: []string{"node", "{}/node.mjs", "redis", "azure"}},

	{name: "MongoDB's driver for Go", kind: "mongodb", naming: patchbay.NamingNative, client: "go", run: []string{"self", "MONGODB_URI"}},
	{name: "MongoDB's driver for Node.js", kind: "mongodb", naming: patchbay.NamingNative, client: "nodejs", run: []string{"node", "{}/node.mjs", "mongodb", "url"}},
	{name: "PyMongo", kind: "mongodb", naming: patchbay.NamingNative, client: "python", run: []string{"/usr/bin/python3", "{}/python.py", "pymongo", "MONGODB_URI"}},

	{name: "Paho", kind: "mqtt", naming: patchbay.NamingNative, client: "go", run: []string{"self", "MQTT_URL"}},
	{name: "MQTT.js", kind: "mqtt", naming: patchbay.NamingNative, client: "nodejs", run: []string{"env", "NODE_PATH=/usr/share/nodejs", "node", "{}/node.mjs", "mqtt", "url"}},
	{name: "mosquitto_pub", kind: "mqtt", naming: patchbay.NamingNative, client: "none", run: []string{"sh", "-c", `mosquitto_pub -L "$MQTT_URL/orders" -m x -q 1 && echo tls`}},
}

func TestMain(m *testing.M) {
	name := os.Getenv(child)
	if name == "" {
		os.Exit(m.Run())
	}
	out, err := signIn(context.Background(), name)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(out)
}

// signIn is a Go program that signs in with its environment.
func signIn(ctx context.Context, name string) (string, error) {
	switch name {
	case "AZURE_REDIS_CONNECTIONSTRING":
		o, err := redis.ParseURL(os.Getenv(name))
		if err != nil {
			return "", err
		}
		c := redis.NewClient(o)
		defer func() { _ = c.Close() }()
		return encrypted(o.TLSConfig != nil), c.Ping(ctx).Err()
	case "MONGODB_URI":
		c, err := mongo.Connect(options.Client().ApplyURI(os.Getenv(name)).SetServerSelectionTimeout(2 * time.Second))
		if err != nil {
			return "", err
		}
		defer func() { _ = c.Disconnect(ctx) }()
		return encrypted(strings.Contains(os.Getenv(name), "tls=true")), c.Database("shop").RunCommand(ctx, bson.D{{Key: "find", Value: "things"}}).Err()
	case "MQTT_URL":
		return signInToBroker(ctx, os.Getenv(name))
	case "AZURE_MYSQL_CONNECTIONSTRING", "MYSQL":
		dsn := os.Getenv(name)
		if name == "MYSQL" {
			u, err := url.Parse(os.Getenv("DATABASE_URL"))
			if err != nil {
				return "", err
			}
			c := mysql.NewConfig()
			c.User, c.Net, c.Addr, c.DBName, c.TLSConfig = u.User.Username(), "tcp", u.Host, strings.TrimPrefix(u.Path, "/"), u.Query().Get("tls")
			c.Passwd, _ = u.User.Password()
			dsn = c.FormatDSN()
		}
		db, err := sql.Open("mysql", dsn)
		if err != nil {
			return "", err
		}
		defer func() { _ = db.Close() }()
		var variable, cipher string
		err = db.QueryRowContext(ctx, "show status like 'Ssl_cipher'").Scan(&variable, &cipher)
		return encrypted(cipher != ""), err
	}
	if name != "PG" {
		name = os.Getenv(name)
	} else {
		name = ""
	}
	c, err := pgx.Connect(ctx, name)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close(ctx) }()
	var secure bool
	err = c.QueryRow(ctx, "select ssl from pg_stat_ssl where pid = pg_backend_pid()").Scan(&secure)
	return encrypted(secure), err
}

// signInToBroker gives the library the URL, and its login, as its examples do.
func signInToBroker(ctx context.Context, text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", err
	}
	failed := make(chan error, 1)
	c := autopaho.ClientConfig{ServerUrls: []*url.URL{u}, ConnectUsername: u.User.Username(), KeepAlive: 30, OnConnectError: func(err error) { failed <- err }}
	password, _ := u.User.Password()
	c.ConnectPassword = []byte(password)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	connected := make(chan struct{})
	c.OnConnectionUp = func(*autopaho.ConnectionManager, *paho.Connack) { close(connected) }
	if _, err := autopaho.NewConnection(ctx, c); err != nil {
		return "", err
	}
	select {
	case err := <-failed:
		return "", err
	case <-connected:
		return encrypted(u.Scheme == "mqtts"), nil
	}
}

func encrypted(secure bool) string {
	if secure {
		return "tls"
	}
	return "clear"
}

// server is where the libraries sign in.
type server struct {
	host, port, otherHost, otherPort string
	values                           map[string]string
	ca                               string
}

// otherName leads to the same server by an address that its certificate is not
// for.
func otherName(t *testing.T, address string) (host, port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = in.Close() }()
				out, err := net.Dial("tcp", address)
				if err != nil {
					return
				}
				defer func() { _ = out.Close() }()
				go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
				_, _ = io.Copy(in, out)
			}()
		}
	}()
	host, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

func serverOf(t *testing.T, kind string) server {
	t.Helper()
	s := server{values: map[string]string{}}
	var address string
	switch kind {
	case "postgresql":
		p := testenv.Postgres(t, testenv.PostgresOptions{TLS: true})
		address, s.ca = p.Addr(), string(p.CA)
		s.values["database"], s.values["username"], s.values["password"] = "postgres", p.User, p.Password
	case "mysql":
		m := testenv.MariaDB(t, true)
		address, s.ca = m.Addr(), string(m.CA)
		s.values["database"], s.values["username"], s.values["password"] = m.Database, m.User, m.Password
	case "redis":
		r := testenv.Redis(t, true)
		address, s.ca = r.Addr(), string(r.CA)
		s.values["password"] = r.Password
		if r.User != "" {
			s.values["username"] = r.User
		}
	case "mongodb":
		m := testenv.Mongo(t, testenv.MongoOptions{TLS: true})
		address, s.ca = m.Addr(), string(m.CA)
		s.values["database"], s.values["authSource"], s.values["username"], s.values["password"] = "shop", "admin", m.Super, m.Password
	case "mqtt":
		m := testenv.Mosquitto(t, testenv.MosquittoConfig{Secure: true})
		address, s.ca = m.Addr(), string(m.CA)
		s.values["username"], s.values["password"] = m.Admin, m.Password
	}
	var err error
	if s.host, s.port, err = net.SplitHostPort(address); err != nil {
		t.Fatal(err)
	}
	s.otherHost, s.otherPort = otherName(t, address)
	return s
}

// try is one registration of a server.
type try struct {
	mode  string // "" is the kind's default
	ca    bool   // its authority was registered, and the source has a place for the file
	other bool   // by a name that is not in its certificate
}

func (c try) String() string {
	text := c.mode
	if c.ca {
		text += ", with its authority"
	}
	if c.other {
		text += ", by another name"
	}
	return text
}

func tries(kind string) []try {
	modes := []string{"disable", "require", "verify-ca", "verify-full"}
	switch kind {
	case "redis", "mqtt":
		modes = []string{"true"} // its server has TLS alone
	case "mongodb":
		modes = modes[1:] // so has this
	}
	var all []try
	for _, mode := range modes {
		all = append(all, try{mode: mode})
		if mode != "disable" {
			all = append(all, try{mode: mode, ca: true})
		}
		if mode != "disable" && mode != "require" { // which with an authority is verify-ca
			all = append(all, try{mode: mode, ca: true, other: true})
		}
	}
	return all
}

func TestLibrariesReadTLSAsTheTableSays(t *testing.T) {
	here, err := filepath.Abs("testdata/libraries")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"postgresql", "mysql", "redis", "mqtt", "mongodb"} {
		t.Run(kind, func(t *testing.T) {
			s := serverOf(t, kind)
			for _, l := range libraries {
				if l.kind != kind {
					continue
				}
				t.Run(fmt.Sprintf("%s, %s %s", l.name, l.naming, l.client), func(t *testing.T) {
					t.Parallel()
					for _, c := range tries(kind) {
						l.try(t, s, c, here)
					}
				})
			}
		})
	}
}

func (l library) try(t *testing.T, s server, c try, here string) {
	t.Helper()
	host, port := s.host, s.port
	if c.other {
		host, port = s.otherHost, s.otherPort
	}
	values := settings.Values{"host": patchbay.NewSecret(host), "port": patchbay.NewSecret(port)}
	if l.kind == "mongodb" {
		values = settings.Values{"servers": patchbay.NewSecret(net.JoinHostPort(host, port))}
	}
	for name, value := range s.values {
		values[name] = patchbay.NewSecret(value)
	}
	if l.kind == "redis" || l.kind == "mqtt" {
		values["ssl"] = patchbay.NewSecret(c.mode)
	} else {
		values["sslmode"] = patchbay.NewSecret(c.mode)
	}
	home := t.TempDir()
	if c.ca {
		values["ca"], values["caFile"] = patchbay.NewSecret(s.ca), patchbay.NewSecret(filepath.Join(home, settings.AuthorityFile))
	}
	set, reading, err := settings.Read(settings.Request{Kind: l.kind, Client: l.client, Auth: patchbay.AuthSecret, Naming: l.naming, Values: values})
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LC_ALL=C.UTF-8"}
	for _, one := range set {
		if !one.File {
			env = append(env, one.Name+"="+one.Value.Reveal())
			continue
		}
		if err := os.WriteFile(filepath.Join(home, one.Name), []byte(one.Value.Reveal()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	told := c.ca && !slices.ContainsFunc(reading.Unsaid, func(u settings.Unsaid) bool { return u.Value == "ca" })
	want := "refuses"
	switch {
	case reading.Mode == "disable":
		want = "clear"
	case !reading.Verifies(), told && (reading.Mode == "verify-ca" || !c.other || l.names):
		want = "tls"
	}
	got, said := l.signIn(t, here, env)
	if got != want {
		t.Errorf("%s: the table has %s read %q as %q (told its authority: %t), so it %s; it %s: %s", c, reading.By, reading.Says, reading.Mode, told, want, got, said)
	}
}

func (l library) signIn(t *testing.T, here string, env []string) (got, said string) {
	t.Helper()
	args := slices.Clone(l.run)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "{}", here)
	}
	if args[0] == "self" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, child+"="+args[1])
		args = []string{self}
	} else if _, err := exec.LookPath(args[0]); err != nil {
		t.Skipf("%s is not installed", args[0])
	}
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = env
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	err := cmd.Run()
	var ended *exec.ExitError
	switch said = strings.TrimSpace(problem.String()); {
	case err == nil:
		return strings.TrimSpace(out.String()), said
	case !errors.As(err, &ended):
		t.Fatal(err)
	case ended.ExitCode() == 3:
		t.Skipf("%s is not installed: %s", l.name, said)
	}
	return "refuses", said
}
