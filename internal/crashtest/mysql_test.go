package crashtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"patchbay.dev/patchbay/internal/testenv"
)

// mysqlTarget is a MariaDB with a table of the application's, and somebody else's account.
type mysqlTarget struct {
	t      *testing.T
	server *testenv.MariaDBServer
	db     *sql.DB // of who may do everything
}

func startMySQL(t *testing.T) target {
	m := &mysqlTarget{t: t, server: testenv.MariaDB(t, false)}
	if err := m.server.Exec(t.Context(), "create table shop.orders (id int)", "insert into shop.orders values (1)",
		"create user somebody@'%' identified by 'theirs'", "grant select on shop.orders to somebody@'%'"); err != nil {
		t.Fatal(err)
	}
	db, err := m.server.Open(m.server.Super, m.server.Password, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	m.db = db
	return m
}

func (m *mysqlTarget) name() string { return "mysql" }

func (m *mysqlTarget) administered() bool { return true }

func (m *mysqlTarget) form(access string) map[string]any { return ownLogin(access) }

func (m *mysqlTarget) in(t *testing.T) target {
	of := *m
	of.t = t
	return &of
}

func (m *mysqlTarget) resource() (string, map[string]any) {
	return "Microsoft.DBforMySQL/flexibleServers/db", map[string]any{"properties": map[string]any{
		"driver": "mysql", "endpoint": m.server.Addr(), "sslmode": "disable",
		"admin": map[string]string{"username": m.server.Super, "password": m.server.Password},
	}}
}

func (m *mysqlTarget) id() string { return "Microsoft.DBforMySQL/flexibleServers/db/databases/shop" }

func (m *mysqlTarget) names(query string) []string {
	m.t.Helper()
	rows, err := m.db.QueryContext(m.t.Context(), query)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var all []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			m.t.Fatal(err)
		}
		all = append(all, name)
	}
	if err := rows.Err(); err != nil {
		m.t.Fatal(err)
	}
	return all
}

const mysqlAccounts = `select User from mysql.global_priv where User like 'pb\\_%'`

func (m *mysqlTarget) marked() []string { return m.names(mysqlAccounts + ` order by 1`) }

// remains has the marks too, whose table stays.
func (m *mysqlTarget) remains() []string {
	if len(m.names(`select table_name from information_schema.tables where table_schema = 'patchbay'`)) == 0 {
		return m.marked()
	}
	return m.names(mysqlAccounts + ` union select convert(concat('mark of ', user) using utf8mb4) from patchbay.logins l where not exists (
		select 1 from mysql.global_priv g where cast(g.User as binary) = cast(l.user as binary)) order by 1`)
}

func (m *mysqlTarget) open(env map[string]string) (*sql.DB, error) {
	return sql.Open("mysql", env["AZURE_MYSQL_CONNECTIONSTRING"])
}

func (m *mysqlTarget) signsIn(env map[string]string) (who string, err error) {
	db, err := m.open(env)
	if err != nil {
		return "", err
	}
	defer func() { _ = db.Close() }()
	ctx, cancel := context.WithTimeout(m.t.Context(), 10*time.Second)
	defer cancel()
	err = db.QueryRowContext(ctx, "select substring_index(current_user(), '@', 1)").Scan(&who)
	return who, err
}

func (m *mysqlTarget) exact(env map[string]string, access string) error {
	db, err := m.open(env)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	writes := access != "reader"
	for _, c := range []struct {
		statement string
		allowed   bool
	}{
		{"select count(*) from orders", true},
		{"insert into orders values (2)", writes},
		{"delete from orders where id = 2", writes},
		{"create table more (id int)", false},
		{"drop table orders", false},
		{"create user another", false},
		{"create database another", false},
		{"select * from mysql.global_priv", false},
		{"delete from patchbay.logins", false},
	} {
		_, err := db.ExecContext(m.t.Context(), c.statement)
		var refused *mysql.MySQLError
		switch {
		case c.allowed && err != nil:
			return fmt.Errorf("%s: %w", c.statement, err)
		case !c.allowed && err == nil:
			return fmt.Errorf("%s was allowed", c.statement)
		case !c.allowed && (!errors.As(err, &refused) || !slices.Contains([]uint16{1044, 1142, 1227}, refused.Number)):
			return fmt.Errorf("%s: %w", c.statement, err)
		}
	}
	return nil
}

func (m *mysqlTarget) untouched() error {
	got := append(m.names("select concat(User, '@', Host) from mysql.global_priv where User = 'somebody'"),
		append(m.names("select concat(Table_name, ' ', Table_priv) from mysql.tables_priv where User = 'somebody'"), m.names("select id from shop.orders where id = 1")...)...)
	want := []string{"somebody@%", "orders Select", "1"}
	if !slices.Equal(got, want) {
		return fmt.Errorf("others' things are %q, were %q", got, want)
	}
	return nil
}

func (m *mysqlTarget) secrets(env map[string]string) []string {
	c, err := mysql.ParseDSN(env["AZURE_MYSQL_CONNECTIONSTRING"])
	if err != nil || c.Passwd == "" {
		return nil
	}
	return []string{c.Passwd}
}
