package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/postgres"
)

func openTarget(t testing.TB, c driver.Config) drivertest.Opened {
	t.Helper()
	return drivertest.OpenTarget(t, postgres.Driver(), c)
}

var serial int

// login makes one, and returns the request for it.
func login(t testing.TB, target driver.Administrator, database string, access patchbay.Access) driver.LoginRequest {
	t.Helper()
	serial++
	r := driver.LoginRequest{
		Mark: driver.Mark{UID: fmt.Sprintf("test%d", serial), Generation: 1, Connection: "/subscriptions/s/linkers/l"},
		Name: fmt.Sprintf("pb_test%d_g1", serial), Sub: database, Auth: patchbay.AuthSecret, Access: access,
	}
	c, err := target.NewCredential(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	r.Credential = c
	if err := target.EnsureLogin(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	return r
}

func remove(t testing.TB, target driver.Administrator, r driver.LoginRequest) {
	t.Helper()
	if err := target.RemoveLogin(context.Background(), r); err != nil {
		t.Fatal(err)
	}
}

// as runs statements as the login.
func as(t testing.TB, s *testenv.PostgresServer, r driver.LoginRequest, statements ...string) {
	t.Helper()
	conn, err := application(t.Context(), s, r.Sub, r.Credential)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for _, statement := range statements {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// column is the first column of a query's rows, as text, asked as the superuser.
func column(t testing.TB, s *testenv.PostgresServer, database, query string, args ...any) []string {
	t.Helper()
	conn, err := s.Connect(context.Background(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	rows, err := conn.Query(context.Background(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// everything is one object of each kind that a role may own, made by the role
// itself or given to it.
var everything = []struct{ object, make, alter string }{
	{"table e.t", "create table e.t (id serial primary key, v text)", "alter table e.t owner to {login}"},
	{"table e.parted", "create table e.parted (n int) partition by range (n)", "alter table e.parted owner to {login}"},
	{"view e.v", "create view e.v as select 1 as n", "alter view e.v owner to {login}"},
	{"materialized view e.m", "create materialized view e.m as select 1 as n", "alter materialized view e.m owner to {login}"},
	{"sequence e.s", "create sequence e.s", "alter sequence e.s owner to {login}"},
	{"foreign table e.f", "create foreign table e.f (n int) server srv", "alter foreign table e.f owner to {login}"},
	{"function e.fn(integer)", "create function e.fn(int) returns int language sql as 'select $1'", "alter function e.fn(int) owner to {login}"},
	{"function e.pr()", "create procedure e.pr() language sql as 'select 1'", "alter procedure e.pr() owner to {login}"},
	{"function e.ag(integer)", "create aggregate e.ag(int) (sfunc = int4pl, stype = int)", "alter aggregate e.ag(int) owner to {login}"},
	{"type e.en", "create type e.en as enum ('a')", "alter type e.en owner to {login}"},
	{"type e.co", "create type e.co as (n int)", "alter type e.co owner to {login}"},
	{"type e.dom", "create domain e.dom as int", "alter domain e.dom owner to {login}"},
	{"collation e.cl", `create collation e.cl from "C"`, "alter collation e.cl owner to {login}"},
	{"text search configuration e.ts", "create text search configuration e.ts (copy = simple)", "alter text search configuration e.ts owner to {login}"},
	{"text search dictionary e.td", "create text search dictionary e.td (template = simple)", "alter text search dictionary e.td owner to {login}"},
	{"operator e.===(integer,integer)", "create operator e.=== (leftarg = int, rightarg = int, function = int4eq)", "alter operator e.===(int, int) owner to {login}"},
	{"operator family e.of for access method btree", "create operator family e.of using btree", "alter operator family e.of using btree owner to {login}"},
	{"statistics object e.st", "create statistics e.st on id, v from e.t", "alter statistics e.st owner to {login}"},
	{"conversion e.cv", "create conversion e.cv for 'LATIN1' to 'UTF8' from iso8859_1_to_utf8", "alter conversion e.cv owner to {login}"},
	{"schema e", "", "alter schema e owner to {login}"},
	{"large object 4242", "select lo_create(4242)", "alter large object 4242 owner to {login}"},
	{"foreign-data wrapper w", "", "alter foreign data wrapper w owner to {login}"},
	{"server srv", "", "alter server srv owner to {login}"},
	{"publication pub", "create publication pub for table e.t", "alter publication pub owner to {login}"},
	{"event trigger et", "create function e.ev() returns event_trigger language plpgsql as 'begin end'; create event trigger et on ddl_command_end execute function e.ev()", "alter event trigger et owner to {login}"},
	{"language lan", "create language lan handler plpgsql_call_handler", "alter language lan owner to {login}"},
}

func TestRemovalHandsOverEverythingThatALoginOwns(t *testing.T) {
	for version, access := range map[int]patchbay.Access{13: patchbay.Writer, 15: patchbay.Reader, 18: patchbay.Owner} {
		t.Run(fmt.Sprint(version, access), func(t *testing.T) {
			s := server(t, testenv.PostgresOptions{Version: version})
			target := openTarget(t, config(s))
			stays := login(t, target, "orders", patchbay.Reader)
			r := login(t, target, "orders", access)
			exec(t, s, "orders", "create schema e", "create foreign data wrapper w", "create server srv foreign data wrapper w")
			for _, e := range everything {
				for statement := range strings.SplitSeq(e.make, "; ") {
					if statement != "" {
						exec(t, s, "orders", statement)
					}
				}
			}
			for _, e := range everything {
				// Some owners must be superusers when they get the thing.
				exec(t, s, "orders", "alter role "+r.Name+" superuser")
				exec(t, s, "orders", strings.ReplaceAll(e.alter, "{login}", r.Name))
			}
			exec(t, s, "orders",
				"alter role "+r.Name+" nosuperuser",
				"create user mapping for "+r.Name+" server srv",
				"alter default privileges for role "+r.Name+" grant select on tables to somebody",
				"alter default privileges for role app_owner grant insert on tables to "+r.Name,
				"grant all on items to "+r.Name+" with grant option",
				"grant app_owner to "+r.Name+" with admin option",
				"grant "+r.Name+" to somebody",
				"create policy theirs on items to "+r.Name+" using (true)",
				"grant connect on database private to "+r.Name,
				"grant create on tablespace pg_default to "+r.Name,
				"alter database private owner to "+r.Name)
			exec(t, s, "bills", "create table theirs (n int)", "alter table theirs owner to "+r.Name, "grant select on items to "+r.Name)
			remove(t, target, r)

			owner := column(t, s, "orders", `select rolname::text from pg_roles where rolname like 'pb\_owner\_orders%'`)
			if len(owner) != 1 {
				t.Fatalf("owner roles: %q", owner)
			}
			owned := column(t, s, "orders", `select pg_describe_object(classid, objid, objsubid) from pg_shdepend
					where refobjid = (select oid from pg_roles where rolname = $1) and deptype = 'o' and dbid = (select oid from pg_database where datname = 'orders')`, owner[0])
			for _, e := range everything {
				if slices.Contains([]string{"foreign-data wrapper w", "event trigger et"}, e.object) {
					continue // only a superuser may own it
				}
				if !slices.Contains(owned, e.object) {
					t.Errorf("%s was not handed over; the owner role has %q", e.object, owned)
				}
			}
			reserved := column(t, s, "orders", `select fdwowner::regrole::text from pg_foreign_data_wrapper union all select evtowner::regrole::text from pg_event_trigger`)
			if !slices.Equal(reserved, []string{"postgres", "postgres"}) {
				t.Errorf("what only superusers may own belongs to %q", reserved)
			}
			if got := column(t, s, "bills", "select tableowner::text from pg_tables where tablename = 'theirs'"); !strings.HasPrefix(got[0], "pb_owner_bills") {
				t.Errorf("in another database the table went to %q", got)
			}
			if got := column(t, s, "orders", "select count(*)::text from pg_roles where rolname = $1", r.Name); got[0] != "0" {
				t.Error("the role is still there")
			}
			// What was handed over is in the reader's reach, and stays when all go.
			as(t, s, stays, "select * from items")
			if err := target.EnsureLogin(t.Context(), stays); err != nil {
				t.Fatal(err)
			}
			as(t, s, stays, "select * from e.t", "select * from e.v")
			remove(t, target, stays)
			if got := column(t, s, "orders", "select relname::text from pg_class where relname = 't' and relkind = 'r'"); len(got) != 1 {
				t.Error("a table is gone")
			}
			nothingLeft(t, s)
		})
	}
}

func TestWhatAnOwnerMakesBelongsToTheOwnerRole(t *testing.T) {
	s := sharedServer(t, 15)
	target := openTarget(t, config(s))
	reader := login(t, target, "orders", patchbay.Reader)
	writer := login(t, target, "orders", patchbay.Writer)
	one := login(t, target, "orders", patchbay.Owner)
	as(t, s, one, "create table made (id serial, v text)", "create schema ours", "create table ours.t (n int)",
		"create function ours.f() returns int language sql as 'select 1'", "revoke execute on function ours.f() from public", "create view ours.v as select * from made")
	// At once, without anybody's doing.
	as(t, s, reader, "select * from made", "select * from ours.t", "select * from ours.v")
	as(t, s, writer, "insert into made (v) values ('x')", "insert into ours.t values (1)", "select ours.f()")
	remove(t, target, one)
	as(t, s, reader, "select * from made")
	two := login(t, target, "orders", patchbay.Owner)
	as(t, s, two, "alter table made add column w int", "drop table ours.t cascade")
	state, err := target.InspectLogin(t.Context(), two)
	if err != nil || len(state.Missing)+len(state.Excess) > 0 {
		t.Errorf("InspectLogin = %+v, %v", state, err)
	}
	for _, r := range []driver.LoginRequest{two, writer, reader} {
		remove(t, target, r)
	}
	if got := column(t, s, "orders", `select tableowner::text from pg_tables where tablename = 'made'`); !strings.HasPrefix(got[0], "pb_owner_orders") {
		t.Errorf("made belongs to %q", got)
	}
	// With the last object goes the role, when the next connection goes.
	exec(t, s, "orders", "drop table made cascade", "drop schema ours cascade")
	remove(t, target, login(t, target, "orders", patchbay.Owner))
	if got := column(t, s, "orders", `select rolname::text from pg_roles where rolname like 'pb\_%'`); len(got) > 0 {
		t.Errorf("left: %q", got)
	}
}

// A session may pass the check for LOGIN an instant before it goes.
func TestNoSessionOutlivesARemoval(t *testing.T) {
	s := sharedServer(t, 15)
	target := openTarget(t, config(s))
	for range 5 {
		r := login(t, target, "orders", patchbay.Writer)
		oid := column(t, s, "orders", "select oid::text from pg_roles where rolname = $1", r.Name)[0]
		stop := make(chan struct{})
		began := make(chan struct{}, 100)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				var open []*pgx.Conn
				defer func() {
					for _, c := range open {
						_ = c.Close(context.Background())
					}
				}()
				for {
					select {
					case <-stop:
						return
					default:
					}
					if c, err := application(context.Background(), s, "orders", r.Credential); err == nil {
						if len(open) < 10 {
							open = append(open, c)
						} else {
							_ = c.Close(context.Background())
						}
						select {
						case began <- struct{}{}:
						default:
						}
					}
				}
			})
		}
		for range 8 {
			<-began
		}
		err := target.RemoveLogin(t.Context(), r)
		left := column(t, s, "orders", "select pid::text from pg_stat_activity where usesysid = $1::oid", oid)
		close(stop)
		wg.Wait()
		if err != nil || len(left) > 0 {
			t.Fatalf("RemoveLogin = %v, and %d sessions go on", err, len(left))
		}
	}
}

func TestPreparedTransactionsAreTheirCoordinators(t *testing.T) {
	s := sharedServer(t, 15)
	target := openTarget(t, config(s))
	r := login(t, target, "orders", patchbay.Writer)
	as(t, s, r, "begin", "insert into items (name) values ('later')", "prepare transaction 'it''s one'")
	err := target.RemoveLogin(t.Context(), r)
	if patchbay.CodeOf(err) != patchbay.StillInUse || !strings.Contains(err.Error(), "it's one") {
		t.Fatalf("RemoveLogin = %v, want StillInUse that names the transaction", err)
	}
	if _, err := application(t.Context(), s, "orders", r.Credential); err == nil {
		t.Error("the login may still sign in")
	}
	exec(t, s, "orders", "commit prepared 'it''s one'", "delete from items where name = 'later'")
	remove(t, target, r)
	nothingLeft(t, s)
}

func TestRemovalWhenTheDatabaseIsGone(t *testing.T) {
	s := sharedServer(t, 15)
	for _, access := range []patchbay.Access{patchbay.Reader, patchbay.Owner} {
		exec(t, s, "postgres", "create database doomed")
		target := openTarget(t, config(s))
		r := login(t, target, "doomed", access)
		if access == patchbay.Owner {
			as(t, s, r, "create table t (n int)", "create schema x")
		}
		exec(t, s, "postgres", "drop database doomed with (force)")
		// Its sessions there are ended too, ours among them.
		state, err := target.InspectLogin(t.Context(), r)
		for patchbay.IsTransient(err) {
			state, err = target.InspectLogin(t.Context(), r)
		}
		if err != nil || !state.Exists || len(state.Missing) == 0 {
			t.Errorf("InspectLogin = %+v, %v, want something missing", state, err)
		}
		if err := target.EnsureLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.ChildMissing || patchbay.IsTransient(err) {
			t.Errorf("EnsureLogin = %v, want ChildMissing", err)
		}
		remove(t, target, r)
		nothingLeft(t, s)
	}
}

func TestANamesakeOfAGroupRoleIsLeftAlone(t *testing.T) {
	s := sharedServer(t, 15)
	target := openTarget(t, config(s))
	r := login(t, target, "orders", patchbay.Reader)
	name, err := group(t.Context(), s, patchbay.Reader, "orders")
	if err != nil {
		t.Fatal(err)
	}
	exec(t, s, "postgres", "comment on role "+name+" is 'mine now'")
	if err := target.EnsureLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.NotOurs {
		t.Errorf("EnsureLogin = %v, want NotOurs", err)
	}
	exec(t, s, "postgres", "comment on role "+name+` is 'patchbay group {"access":"reader","database":"orders"}'`)
	remove(t, target, r)
}

// A group role serves others too, if somebody made them members.
func TestAGroupRoleStaysWhileSomebodyIsAMember(t *testing.T) {
	s := sharedServer(t, 15)
	target := openTarget(t, config(s))
	r := login(t, target, "orders", patchbay.Reader)
	name, err := group(t.Context(), s, patchbay.Reader, "orders")
	if err != nil {
		t.Fatal(err)
	}
	exec(t, s, "postgres", "grant "+name+" to somebody")
	remove(t, target, r)
	if got := column(t, s, "orders", "select has_table_privilege('somebody', 'items', 'select')::text"); got[0] != "true" {
		t.Error("somebody lost the rights of the group")
	}
	exec(t, s, "postgres", "revoke "+name+" from somebody")
	remove(t, target, r)
	nothingLeft(t, s)
}

func TestAnAdministratorWithoutRightsIsToldSo(t *testing.T) {
	for _, version := range one(t, 15, 18) {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			s := sharedServer(t, version)
			c := config(s)
			c.Admin["username"] = patchbay.NewSecret("admin")
			target := openTarget(t, c)
			r := login(t, target, "orders", patchbay.Writer)
			exec(t, s, "orders", "create table alien (n int)", "alter table alien owner to alien")
			err := target.EnsureLogin(t.Context(), r)
			if e := (*patchbay.Error)(nil); !errors.As(err, &e) || e.Code != patchbay.AdminRights || e.Fix == "" || e.Transient {
				t.Fatalf("EnsureLogin = %v, want AdminRightsMissing with a fix", err)
			}
			exec(t, s, "orders", "grant alien to admin")
			if err := target.EnsureLogin(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			remove(t, target, r)
			exec(t, s, "orders", "alter role admin nocreaterole")
			if _, err := target.Inspect(t.Context(), "orders"); patchbay.CodeOf(err) != patchbay.AdminRights {
				t.Errorf("Inspect = %v, want AdminRightsMissing", err)
			}
			exec(t, s, "orders", "alter role admin createrole", "drop table alien", "revoke alien from admin")
			nothingLeft(t, s)
		})
	}
}

// The registered administrator may be replaced by one of fewer rights.
func TestAnotherAdministratorTakesOver(t *testing.T) {
	for _, version := range one(t, 15, 18) {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			s := sharedServer(t, version)
			first := openTarget(t, config(s))
			c := config(s)
			c.Admin["username"] = patchbay.NewSecret("admin")
			second := openTarget(t, c)
			r := login(t, first, "orders", patchbay.Owner)
			err := second.EnsureLogin(t.Context(), r)
			if version >= 16 {
				// Since version 16 the maker of a role must let others administer it.
				if patchbay.CodeOf(err) != patchbay.AdminRights {
					t.Fatalf("EnsureLogin = %v, want AdminRightsMissing", err)
				}
				for _, role := range column(t, s, "orders", `select quote_ident(rolname) from pg_roles where rolname like 'pb\_%'`) {
					exec(t, s, "orders", "grant "+role+" to admin with admin option")
				}
				err = second.EnsureLogin(t.Context(), r)
			}
			if err != nil {
				t.Fatal(err)
			}
			state, err := second.InspectLogin(t.Context(), r)
			if err != nil || len(state.Missing)+len(state.Excess) > 0 {
				t.Errorf("InspectLogin = %+v, %v", state, err)
			}
			remove(t, second, r)
			nothingLeft(t, s)
		})
	}
}
