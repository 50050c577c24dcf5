package sqlserver_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
)

// realServer is where the suite finds a real server, which it may make databases and
// logins on:
//
//	PATCHBAY_SQLSERVER='sqlserver://sa:PASSWORD@10.0.0.5:1433?sslmode=require' go test -run TestReal ./targets/sqlserver
//
// Its user is a sysadmin, or the server administrator of Azure SQL Database. The suite
// makes and drops databases and the login patchbay_suite, and turns on contained database
// authentication.
const realServer = "PATCHBAY_SQLSERVER"

// world is a server that the driver administers, and how a test looks at it: through
// Microsoft's library as a sysadmin, and past the driver.
type world struct {
	host            string
	port            uint16
	super, admin    driver.UserPassword
	encryption      msdsn.Encryption
	mode            string
	azure           bool
	contained       bool
	model           *testenv.SQLServer // nil for a real one
	make            func(t testing.TB, database string)
	looks           func(t testing.TB, name string) string // all that is there of a login
	mine, yours     string                                 // databases of the suite, and one of somebody else
	product, stands string
}

func (w *world) properties() string { return `{"sslmode":"` + w.mode + `"}` }

func (w *world) config() driver.Config {
	return driver.Config{
		ID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Sql/servers/orders", Endpoint: net.JoinHostPort(w.host, strconv.Itoa(int(w.port))),
		Properties: []byte(w.properties()), Dialer: &net.Dialer{},
		Admin: driver.Secrets{"username": patchbay.NewSecret(w.admin.Username), "password": w.admin.Password},
	}
}

// as signs in with the usual library and nothing of ours.
func (w *world) as(ctx context.Context, l driver.UserPassword, database string) (*sql.Conn, func(), error) {
	c, err := msdsn.Parse("sqlserver://localhost")
	if err != nil {
		return nil, nil, err
	}
	c.Host, c.Port, c.Database, c.User, c.Password = w.host, uint64(w.port), database, l.Username, l.Password.Reveal()
	c.Encryption, c.DisableRetry = w.encryption, true
	if w.encryption == msdsn.EncryptionRequired {
		if c.TLSConfig, err = (driver.TLS{Mode: driver.TLSRequire}).Config(w.host); err != nil {
			return nil, nil, err
		}
	}
	db := sql.OpenDB(mssql.NewConnectorConfig(c))
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err != nil {
		_ = db.Close()
		return nil, nil, refusal(err)
	}
	return conn, func() { _ = conn.Close(); _ = db.Close() }, nil
}

// refusals are the errors by which a server says no.
var refusals = []int32{229, 230, 262, 297, 300, 916, 1088, 2571, 2760, 3701, 4060, 4613, 4902, 5011, 6102, 8197, 15151, 15247, 15517, 18456, 18470}

// refusal marks what the server itself said no to.
func refusal(err error) error {
	var said mssql.Error
	if !errors.As(err, &said) {
		return err
	}
	for _, one := range append(said.All, said) { // "it failed" comes behind the reason
		if slices.Contains(refusals, one.Number) {
			return fmt.Errorf("%w: %w", drivertest.ErrRefused, err)
		}
	}
	return err
}

// exec runs statements as a sysadmin.
func (w *world) exec(ctx context.Context, database string, statements ...string) error {
	conn, done, err := w.as(ctx, w.super, database)
	if err != nil {
		return err
	}
	defer done()
	for _, statement := range statements {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

func (w *world) run(t testing.TB, database string, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := w.exec(ctx, database, statements...); err != nil {
		t.Fatal(err)
	}
}

func quoted(name string) string { return "[" + strings.ReplaceAll(name, "]", "]]") + "]" }

// kinds of worlds that are modelled.
const (
	withLogins = iota
	contained
	azure
)

// modelled is a world in this process.
func modelled(t testing.TB, kind int, o testenv.SQLServerOptions) *world {
	t.Helper()
	o.Azure = kind == azure
	s := testenv.StartSQLServer(t, o)
	host, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		host: host, port: uint16(number), azure: kind == azure, contained: kind == contained, model: s, mode: "disable", encryption: msdsn.EncryptionDisabled,
		super: driver.UserPassword{Username: s.Super, Password: patchbay.NewSecret(s.Password)}, admin: driver.UserPassword{Username: s.Admin, Password: patchbay.NewSecret(s.Password)},
		make:  func(_ testing.TB, database string) { s.Database(database, kind == contained) },
		looks: func(_ testing.TB, name string) string { return strings.Join(s.Principals(name), "\n") },
		mine:  "shop", yours: "private", stands: testenv.SQLServerModel,
		product: [...]string{"SQL Server", "SQL Server (contained databases)", "Azure SQL Database"}[kind],
	}
	if o.TLS {
		w.mode, w.encryption = "require", msdsn.EncryptionRequired
	}
	for _, name := range []string{w.mine, "b]lls", w.yours} {
		w.make(t, name)
	}
	return w
}

// actual is the real server that the environment names; the databases are contained
// where it is asked for.
func actual(t *testing.T, contains bool) *world {
	t.Helper()
	text := os.Getenv(realServer)
	if text == "" {
		t.Skipf("there is no SQL Server to run the suite against: %s names none", realServer)
	}
	u, err := url.Parse(text)
	if err != nil {
		t.Fatalf("%s is no URL", realServer)
	}
	password, _ := u.User.Password()
	number, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil {
		t.Fatalf("%s has no port", realServer)
	}
	w := &world{host: u.Hostname(), port: uint16(number), mode: u.Query().Get("sslmode"), encryption: msdsn.EncryptionRequired, contained: contains,
		super: driver.UserPassword{Username: u.User.Username(), Password: patchbay.NewSecret(password)},
		admin: driver.UserPassword{Username: "patchbay_suite", Password: driver.NewPassword()}, mine: "patchbay_suite", yours: "patchbay_private",
		product: "SQL Server"}
	if w.mode == "disable" {
		w.encryption = msdsn.EncryptionDisabled
	}
	edition := w.ask(t, "master", "select cast(serverproperty('EngineEdition') as nvarchar(10))")
	w.azure = slices.Equal(edition, []string{"5"})
	if contains {
		w.product = "SQL Server (contained databases)"
		if w.azure {
			t.Skip("all databases of Azure SQL Database are contained: the other run has tried it")
		}
		w.run(t, "master", "exec sp_configure 'contained database authentication', 1", "reconfigure")
	}
	if w.azure {
		w.product, w.admin = "Azure SQL Database", w.super
	} else {
		w.run(t, "master", "create login "+quoted(w.admin.Username)+" with password = N'"+w.admin.Password.Reveal()+"'",
			"grant alter any connection, view server state, alter any login to "+quoted(w.admin.Username))
		t.Cleanup(func() { w.run(t, "master", "drop login "+quoted(w.admin.Username)) })
	}
	w.looks = func(t testing.TB, name string) string {
		return strings.Join(w.ask(t, w.mine, "select concat(p.name, ' ', p.type, ' ', convert(nvarchar(200), p.sid, 1), ' ', m.permission_name, ' ', m.state) from sys.database_principals p left join sys.database_permissions m on m.grantee_principal_id = p.principal_id where p.name like '"+name+"%' order by 1"), "\n")
	}
	made := 0
	w.make = func(t testing.TB, name string) {
		create := "create database " + quoted(name)
		if made++; !w.azure { // a file may not be called as a database may
			path := w.ask(t, "master", "select cast(serverproperty('InstanceDefaultDataPath') as nvarchar(400))")[0]
			file := fmt.Sprintf("%spatchbay_suite_%d", path, made)
			create += fmt.Sprintf(" on (name = N'data', filename = N'%[1]s.mdf') log on (name = N'log', filename = N'%[1]s.ldf')", strings.ReplaceAll(file, "'", "''"))
		}
		w.run(t, "master", create)
		t.Cleanup(func() {
			if !w.azure {
				w.run(t, "master", "alter database "+quoted(name)+" set single_user with rollback immediate")
			}
			w.run(t, "master", "drop database "+quoted(name))
		})
		if contains {
			w.run(t, "master", "alter database "+quoted(name)+" set containment = partial")
		}
		w.run(t, name, "create table dbo.items (id int identity primary key, name nvarchar(100))", "insert into dbo.items (name) values (N'one')", "create table dbo.notes (id int, name nvarchar(100))",
			"create view dbo.names as select name from dbo.items", "create procedure dbo.work as select 1 as one")
		if !w.azure {
			w.run(t, name, "create user "+quoted(w.admin.Username)+" for login "+quoted(w.admin.Username), "alter role db_owner add member "+quoted(w.admin.Username))
		}
	}
	for _, name := range []string{w.mine, "b]lls", w.yours} {
		w.make(t, name)
	}
	return w
}

// ask is the first column of what a statement gives.
func (w *world) ask(t testing.TB, database, statement string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, done, err := w.as(ctx, w.super, database)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	rows, err := conn.QueryContext(ctx, statement)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var all []string
	for rows.Next() {
		var text sql.NullString
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		all = append(all, text.String)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}
