package postgres_test

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
)

// finding is what the driver found, with what it advises.
type finding struct{ message, fix string }

// predicament is a situation in which the driver advises a statement.
type predicament struct {
	name  string
	admin string // who administers; "" is the superuser
	// made is done by a superuser in the database, when the login is there; {login},
	// {group} and {db} are filled in.
	made []string
	// asks what is found.
	asks func(ctx context.Context, target drivertest.Opened, r driver.LoginRequest) []finding
	says string // in a finding
	undo []string
}

// ofError is the finding of a failed call.
func ofError(err error) []finding {
	e := patchbay.AsError(err)
	if e == nil {
		return nil
	}
	return []finding{{e.Message, e.Fix}}
}

func inspects(ctx context.Context, target drivertest.Opened, r driver.LoginRequest) []finding {
	info, err := target.Inspect(ctx, r.Sub)
	found := ofError(err)
	for _, warning := range info.Warnings {
		found = append(found, finding{warning, warning})
	}
	return found
}

func ensures(ctx context.Context, target drivertest.Opened, r driver.LoginRequest) []finding {
	return ofError(target.EnsureLogin(ctx, r))
}

func probes(ctx context.Context, target drivertest.Opened, r driver.LoginRequest) []finding {
	_, err := probeAs(ctx, target, r)
	return ofError(err)
}

var predicaments = []predicament{
	{name: "the administrator may not make roles", admin: "powerless", made: []string{"alter role powerless nocreaterole"}, asks: inspects, says: "may not create roles"},
	{name: "everybody may create in schemas", made: []string{"grant create on schema public to public", `create schema "O dd"`, `grant create on schema "O dd" to public`}, asks: inspects, says: "every login may create objects"},
	{name: "everybody may connect elsewhere", made: []string{"create database elsewhere1", `create database "else where"`}, asks: inspects, says: "other databases too", undo: []string{"drop database elsewhere1", `drop database "else where"`}},
	{name: "a namesake of a group", made: []string{"comment on role {group} is 'somebody else''s'"}, asks: ensures, says: "does not bear Patchbay's mark", undo: []string{"drop role {group}_before"}},
	{name: "objects of an owner whose member the administrator is not", admin: "admin", made: []string{"alter table kept owner to stranger", "revoke select on kept from {group}"}, asks: ensures, says: "the administrator \"admin\""},
	{name: "a schema and a table of two owners", admin: "admin", made: []string{"alter table kept owner to stranger", `create schema theirs authorization "Other Stranger"`}, asks: ensures, says: "the administrator \"admin\""},
	{name: "an owner whose member the administrator is, and another", admin: "admin", made: []string{"grant stranger to admin", "alter table kept owner to stranger", `create schema theirs authorization "Other Stranger"`, `grant usage on schema theirs to admin`}, asks: ensures, says: "the administrator \"admin\""},
	{name: "a database of another owner", admin: "admin", made: []string{"grant connect on database {db} to admin", "alter database {db} owner to stranger", "revoke connect on database {db} from {group}", "grant connect on database {db} to admin"}, asks: ensures, says: "the administrator \"admin\""},
	{name: "a database that the administrator can't enter", admin: "admin", made: []string{"alter database {db} owner to stranger", "revoke connect on database {db} from admin, {group}"}, asks: ensures, says: "sign in"},
	{name: "read-only sessions of the database", made: []string{"alter database {db} set default_transaction_read_only = on"}, asks: probes, says: "may not write"},
	{name: "read-only sessions of the login", made: []string{"alter role {login} set default_transaction_read_only = on"}, asks: probes, says: "may not write"},
	{name: "read-only sessions of the login in the database", made: []string{"alter role {login} in database {db} set default_transaction_read_only = on"}, asks: probes, says: "may not write"},
}

// statementOf is where a fix becomes a statement.
var statementOf = regexp.MustCompile(`\b(GRANT|REVOKE|SET|ALTER|CREATE|DROP|COMMENT|REASSIGN|SELECT|ROLLBACK PREPARED|COMMIT PREPARED) .*`)

// statements are those that a fix has, in the order in which they are to be run.
func statements(fix string) []string {
	var list []string
	for part := range strings.SplitSeq(statementOf.FindString(fix), "; ") {
		if part != "" && statementOf.MatchString(part) {
			list = append(list, part)
		}
	}
	return list
}

// catalogueOf is all that an advised statement may change.
func catalogueOf(t *testing.T, s *testenv.PostgresServer, database string) map[string]string {
	t.Helper()
	conn, err := s.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	all := map[string]string{}
	for _, table := range []string{"pg_authid", "pg_auth_members", "pg_db_role_setting", "pg_database", "pg_namespace", "pg_class", "pg_proc", "pg_default_acl", "pg_shdescription", "pg_shdepend", "pg_prepared_xacts", "pg_file_settings", "pg_hba_file_rules"} {
		var sum string
		if err := conn.QueryRow(t.Context(), "select coalesce(md5(string_agg(x::text, ',' order by x::text)), '') from "+table+" x").Scan(&sum); err != nil {
			t.Fatal(err)
		}
		all[table] = sum
	}
	return all
}

// Every fix is tried: its statements run as they are, they change something, for what
// is there already is no advice, and what was found is not found any more.
func TestEveryFixIsTried(t *testing.T) {
	for place, version := range some(t, 13, 15, 16, 18) {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			s := server(t, testenv.PostgresOptions{Version: version})
			exec(t, s, "postgres", "create role powerless login createrole password '"+s.Password+"'", "create role stranger", `create role "Other Stranger"`, "revoke all on database template1 from public")
			for i, c := range predicaments {
				if !turn(place, i) {
					continue
				}
				t.Run(c.name, func(t *testing.T) { c.try(t, s, fmt.Sprintf("fix%d", i)) })
			}
		})
	}
}

func (c predicament) try(t *testing.T, s *testenv.PostgresServer, db string) {
	exec(t, s, "postgres", "create database "+db+" owner admin", "revoke all on database "+db+" from public")
	exec(t, s, db, "revoke create on schema public from public", "grant all on schema public to admin", "alter schema public owner to admin", "set role admin", "create table kept (n int)")
	by := config(s)
	if c.admin != "" {
		by.Admin["username"] = patchbay.NewSecret(c.admin)
		exec(t, s, "postgres", "grant connect on database "+db+" to "+c.admin)
	}
	maker := config(s)
	if c.admin == "admin" {
		maker = by
	}
	target := openTarget(t, by)
	r := login(t, openTarget(t, maker), db, patchbay.Writer)
	g, err := group(t.Context(), s, patchbay.Writer, db)
	if err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer("{login}", r.Name, "{group}", g, "{db}", db)
	t.Cleanup(func() {
		exec(t, s, "postgres", "alter database "+db+" owner to admin", "alter database "+db+" reset all")
		exec(t, s, db, "comment on role "+g+` is 'patchbay group {"access":"writer","database":"`+db+`"}'`)
		remove(t, openTarget(t, config(s)), r)
		exec(t, s, "postgres", "drop database "+db+" with (force)")
		exec(t, s, "postgres", "revoke stranger, \"Other Stranger\" from admin")
		for _, statement := range c.undo {
			exec(t, s, "postgres", fill.Replace(statement))
		}
	})
	for _, statement := range c.made {
		exec(t, s, db, fill.Replace(statement))
	}
	found := c.asks(t.Context(), target, r)
	tried := 0
	for _, f := range found {
		if !strings.Contains(f.message, c.says) {
			continue
		}
		list := statements(f.fix)
		if len(list) == 0 {
			t.Errorf("%q advises %q: that is no statement", f.message, f.fix)
			continue
		}
		before := catalogueOf(t, s, db)
		if err := s.Exec(t.Context(), db, list...); err != nil {
			t.Errorf("%q advises %q, and %v", f.message, f.fix, err)
		} else if after := catalogueOf(t, s, db); fmt.Sprint(before) == fmt.Sprint(after) {
			t.Errorf("%q advises %q, and nothing changes by it", f.message, f.fix)
		}
		tried++
		if now := c.asks(t.Context(), target, r); slices.ContainsFunc(now, func(n finding) bool { return strings.Contains(n.message, c.says) }) {
			t.Errorf("%q advised %q, and now: %q", f.message, f.fix, now)
		}
	}
	if tried == 0 {
		t.Errorf("nothing to try in %q, want %q", found, c.says)
	}
}

// What pg_hba.conf refuses it admits when the line that is advised stands in it.
func TestTheAdvisedLineOfAccessIsTried(t *testing.T) {
	for _, tls := range []bool{false, true} {
		s := server(t, testenv.PostgresOptions{TLS: tls, HBA: []string{"host all postgres 127.0.0.1/32 scram-sha-256"}})
		target := openTarget(t, config(s))
		r := login(t, target, "orders", patchbay.Reader)
		_, err := probeAs(t.Context(), target, r)
		e := patchbay.AsError(err)
		if e == nil || e.Code != patchbay.LoginRefused {
			t.Fatalf("%v", err)
		}
		_, rest, _ := strings.Cut(e.Fix, "pg_hba.conf: ")
		line, reload, ok := strings.Cut(rest, ", then: ")
		if !ok {
			t.Fatalf("the fix is %q", e.Fix)
		}
		conn, err := s.Connect(t.Context(), "postgres")
		if err != nil {
			t.Fatal(err)
		}
		var file string
		if err := conn.QueryRow(t.Context(), "show hba_file").Scan(&file); err != nil {
			t.Fatal(err)
		}
		_ = conn.Close(t.Context())
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(strings.NewReplacer("<database>", "orders", "<address>", "127.0.0.1/32").Replace(line) + "\n"); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		exec(t, s, "postgres", reload)
		for {
			// The server reads it when it comes to it.
			if _, err = probeAs(t.Context(), target, r); patchbay.CodeOf(err) != patchbay.LoginRefused {
				break
			}
		}
		if err != nil {
			t.Errorf("tls %t, with the line %q: %v", tls, line, err)
		}
	}
}
