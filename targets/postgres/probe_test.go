package postgres_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
)

// situation is what other people made of a database.
type situation struct {
	name  string
	made  []string // by the superuser; {db} is the database
	since int      // version
	// notChecked are accesses of which something can't be tried, and words of why.
	notChecked map[patchbay.Access]string
	either     bool     // that, or it can be tried: versions differ
	undo       []string // of what is the server's
}

const (
	tenants  = "create table tenants (id int, tenant text)"
	tenanted = "alter table tenants enable row level security"
	raises   = "create function raises() returns bool stable language plpgsql as $$ begin raise exception 'not now'; end $$"
)

var everybody = map[patchbay.Access]string{patchbay.Reader: "", patchbay.Writer: "", patchbay.Owner: ""}

// saying is what can't be tried of any access, and why.
func saying(words string) map[patchbay.Access]string {
	m := map[patchbay.Access]string{}
	for a := range everybody {
		m[a] = words
	}
	return m
}

var situations = []situation{
	{name: "nothing special", made: []string{tenants}},
	{name: "no table"},
	{name: "policy of a setting that nobody set", made: []string{tenants, tenanted, "create index on tenants (tenant)", "create policy p on tenants using (tenant = current_setting('app.tenant'))"}, notChecked: saying("42704")},
	{name: "such a policy, forced", made: []string{tenants, tenanted, "alter table tenants force row level security", "create policy p on tenants using (tenant = current_setting('app.tenant'))"}, notChecked: saying("42704")},
	{name: "such a policy, and a plain table", made: []string{tenants, tenanted, "create policy p on tenants using (tenant = current_setting('app.tenant'))", "create table plain (n int)"}},
	{name: "policy that always fails", made: []string{tenants, tenanted, raises, "create policy p on tenants using (tenant = 'x' or raises())"}},
	{name: "policy with a function that nobody may call", made: []string{tenants, tenanted, "create policy p on tenants using (length(pg_catalog.pg_read_file('x')) > 0)"}, notChecked: saying("42501")},
	{name: "policies that are turned off", made: []string{tenants, tenanted, "create policy p on tenants using (true)", "alter database {db} set row_security = off"}},
	{name: "default that fails", made: []string{"create table defaults (n int default 1 / 0)"}, notChecked: saying("22012")},
	{name: "default that its domain refuses", made: []string{"create domain positive as int check (value > 0)", "create table positives (n positive default -1)"}},
	{name: "default with a function that nobody may call", made: []string{"create table defaults (n text default pg_catalog.pg_read_file('x'))"}, notChecked: map[patchbay.Access]string{patchbay.Writer: "42501", patchbay.Owner: "42501"}},
	{name: "generated column that fails", made: []string{"create function fails(int) returns int immutable language sql as 'select 1'", "create table generated (n int, g int generated always as (fails(1)) stored)", "create or replace function fails(int) returns int immutable language plpgsql as $$ begin raise division_by_zero; end $$"}, notChecked: saying("22012"), either: true},
	{name: "rules that do nothing", made: []string{tenants, "create rule i as on insert to tenants do instead nothing", "create rule d as on delete to tenants do instead nothing"}, notChecked: map[patchbay.Access]string{patchbay.Reader: "something else makes something else of it"}},
	{name: "triggers that fail", made: []string{tenants, "create function no() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$", "create trigger t before insert or delete on tenants execute function no()"}},
	{name: "partition whose server has no handler", made: []string{"create table parted (n int) partition by list (n)", "create foreign data wrapper wrapper", "create server elsewhere foreign data wrapper wrapper", "create foreign table part partition of parted for values in (1) server elsewhere"}, notChecked: saying("55000")},
	{name: "partition that is not there", made: []string{"create table parted (n int) partition by list (n)"}},
	{name: "inherited", made: []string{tenants, "create table child (m int) inherits (tenants)"}},
	{name: "event trigger that forbids", made: []string{tenants, "create function no() returns event_trigger language plpgsql as $$ begin raise exception 'no'; end $$", "create event trigger {db} on ddl_command_start execute function no()"}, notChecked: saying("P0001"), undo: []string{"drop event trigger {db}"}},
	{name: "event trigger that forbids in the server's words", made: []string{tenants, "create function no() returns event_trigger language plpgsql as $$ begin raise exception 'no' using errcode = '42501'; end $$", "create event trigger {db} on ddl_command_end execute function no()"}, notChecked: map[patchbay.Access]string{patchbay.Owner: "42501"}, undo: []string{"drop event trigger {db}"}},
	{name: "extension's tables", made: []string{tenants, "create table extended (n int)", "alter extension plpgsql add table extended"}},
	{name: "unlogged", made: []string{"create unlogged table unlogged (n int)"}},
	{name: "PUBLIC may create schemas", made: []string{tenants, "grant create on database {db} to public"}, notChecked: map[patchbay.Access]string{patchbay.Reader: "PUBLIC may", patchbay.Writer: "PUBLIC may"}},
	{name: "PUBLIC may write", made: []string{tenants, "grant all on tenants to public"}},
	{name: "settings of the database", made: []string{tenants, "alter database {db} set statement_timeout = '20ms'", "alter database {db} set lock_timeout = '1ms'", "alter database {db} set idle_in_transaction_session_timeout = '20ms'", "alter database {db} set search_path = nowhere", "alter database {db} set check_function_bodies = off", "alter database {db} set standard_conforming_strings = off"}},
	{name: "serializable and deferrable", made: []string{tenants, "alter database {db} set default_transaction_isolation = serializable", "alter database {db} set default_transaction_deferrable = on"}},
	{name: "another tablespace", since: 15, made: []string{tenants, "set allow_in_place_tablespaces = on", "create tablespace elsewhere location ''", "alter database {db} set default_tablespace = elsewhere"}, undo: []string{"drop tablespace elsewhere"}},
}

// probeAs tries a login as its connection does.
func probeAs(ctx context.Context, target drivertest.Opened, r driver.LoginRequest) (driver.ProbeResult, error) {
	return target.Probe(ctx, driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Sub: r.Sub, Access: r.Access})
}

// Whatever other people made of a database, a login that has its rights is found to
// have them, and what could not be tried is said.
func TestTheProbeJudgesRightsAlone(t *testing.T) {
	for place, version := range some(t, 13, 15, 16, 17, 18) {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			s := sharedServer(t, version)
			target := openTarget(t, config(s))
			for i, c := range situations {
				if version < c.since || c.since == 0 && !turn(place, i) {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					db := fmt.Sprintf("situation%d", i)
					exec(t, s, "postgres", "create database "+db)
					fill := strings.NewReplacer("{db}", db)
					exec(t, s, db, "revoke create on schema public from public")
					var made []string
					for _, statement := range c.made {
						made = append(made, fill.Replace(statement))
					}
					// The logins come first: event triggers may keep their makers from making them.
					var logins []driver.LoginRequest
					for _, access := range all {
						logins = append(logins, login(t, target, db, access))
					}
					exec(t, s, db, made...)
					t.Cleanup(func() {
						for _, statement := range c.undo {
							if strings.Contains(statement, "event trigger") {
								exec(t, s, db, fill.Replace(statement))
							}
						}
						exec(t, s, "postgres", "alter database "+db+" reset all")
						for _, r := range logins {
							remove(t, target, r)
						}
						exec(t, s, "postgres", "drop database "+db+" with (force)")
						for _, statement := range c.undo {
							if !strings.Contains(statement, "event trigger") {
								exec(t, s, "postgres", fill.Replace(statement))
							}
						}
					})
					for _, r := range logins {
						result, err := probeAs(t.Context(), target, r)
						if err != nil {
							t.Errorf("%s: %v", r.Access, err)
							continue
						}
						said := strings.Join(result.NotChecked, "\n")
						if want := c.notChecked[r.Access]; want == "" && said != "" || !strings.Contains(said, want) && !(c.either && said == "") {
							t.Errorf("%s: not checked is %q, want %q", r.Access, said, want)
						}
						if !slices.Contains(result.Refused, "CREATE ROLE") && !strings.Contains(said, "CREATE ROLE") {
							t.Errorf("%s: CREATE ROLE is neither refused nor not checked: %+v", r.Access, result)
						}
					}
				})
			}
		})
	}
}

// What somebody locks is not waited for: another table shows the right, and where
// there is none it is said who holds them.
func TestTheProbeDoesNotWaitForLocks(t *testing.T) {
	for _, version := range one(t, 13, 15, 18) {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			s := sharedServer(t, version)
			target := openTarget(t, config(s))
			exec(t, s, "postgres", "create database locks")
			exec(t, s, "locks", "create table one (n int)", "create table two (n int)")
			writer := login(t, target, "locks", patchbay.Writer)
			exec(t, s, "postgres", "alter database locks set statement_timeout = '30ms'")
			t.Cleanup(func() {
				exec(t, s, "postgres", "alter database locks reset all")
				remove(t, target, writer)
				exec(t, s, "postgres", "drop database locks with (force)")
			})
			conn, err := s.Connect(t.Context(), "locks")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
			holder := fmt.Sprintf("by process %d of postgres", conn.PgConn().PID())
			for _, c := range []struct {
				lock string
				want []string // of what is not checked
			}{
				{"lock table one in access exclusive mode", nil},
				{"lock table one, two in share mode", []string{"INSERT", "DELETE"}},
				{"lock table one, two in access exclusive mode", []string{"SELECT", "INSERT", "DELETE"}},
			} {
				if _, err := conn.Exec(t.Context(), "begin; set local statement_timeout = 0; "+c.lock); err != nil {
					t.Fatal(err)
				}
				result, err := probeAs(t.Context(), target, writer)
				if err != nil {
					t.Errorf("%s: %v", c.lock, err)
				}
				if len(result.NotChecked) != len(c.want) {
					t.Errorf("%s: not checked is %q, want %q", c.lock, result.NotChecked, c.want)
				}
				for i, said := range result.NotChecked {
					if !strings.HasPrefix(said, c.want[min(i, len(c.want)-1)]) || !strings.Contains(said, "public.one is locked "+holder) {
						t.Errorf("%s: not checked is %q, want %s and %s", c.lock, said, c.want, holder)
					}
				}
				if _, err := conn.Exec(t.Context(), "rollback"); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A right that is missing, or too much, is found where nothing can be tried too, and
// the table is named.
func TestTheProbeFindsWrongRightsWhereNothingCanBeTried(t *testing.T) {
	s := sharedServer(t, 15)
	target := openTarget(t, config(s))
	exec(t, s, "postgres", "create database wrong")
	exec(t, s, "wrong", "create schema app", "create table app.plain (n int)", "create table app.tenants (id int, tenant text)", "alter table app.tenants enable row level security",
		"create policy p on app.tenants using (tenant = current_setting('app.tenant'))")
	t.Cleanup(func() { exec(t, s, "postgres", "drop database wrong with (force)") })
	for _, c := range []struct {
		access patchbay.Access
		do     string
		undo   string
		code   patchbay.Code
		says   string
	}{
		{patchbay.Writer, "revoke insert on app.tenants from {group}", "grant insert on app.tenants to {group}", patchbay.RightsMissing, "INSERT on app.tenants"},
		{patchbay.Reader, "revoke usage on schema app from {group}", "grant usage on schema app to {group}", patchbay.RightsMissing, "SELECT on app.plain"},
		{patchbay.Reader, "grant delete on app.tenants to {group}", "revoke delete on app.tenants from {group}", patchbay.RightsExcess, "DELETE on app.tenants"},
		{patchbay.Reader, "grant create on database wrong to {group}", "revoke create on database wrong from {group}", patchbay.RightsExcess, "CREATE SCHEMA"},
		{patchbay.Reader, "alter role {login} createrole", "alter role {login} nocreaterole", patchbay.RightsExcess, "CREATE ROLE"},
		{patchbay.Owner, "revoke create on database wrong from {group}", "grant create on database wrong to {group}", patchbay.RightsMissing, "CREATE SCHEMA"},
	} {
		r := login(t, target, "wrong", c.access)
		g, err := group(t.Context(), s, c.access, "wrong")
		if err != nil {
			t.Fatal(err)
		}
		fill := strings.NewReplacer("{login}", r.Name, "{group}", g)
		exec(t, s, "wrong", fill.Replace(c.do))
		if _, err := probeAs(t.Context(), target, r); patchbay.CodeOf(err) != c.code || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%s, %s: %v, want %s: %s", c.access, c.do, err, c.code, c.says)
		}
		exec(t, s, "wrong", fill.Replace(c.undo))
		if _, err := probeAs(t.Context(), target, r); err != nil {
			t.Errorf("%s, after %s: %v", c.access, c.undo, err)
		}
		remove(t, target, r)
	}
}

// Sessions that may not write are the application's: it is said where that was set,
// and what is advised mends it.
func TestReadOnlySessionsAreNamed(t *testing.T) {
	s := server(t, testenv.PostgresOptions{})
	target := openTarget(t, config(s))
	writer, reader := login(t, target, "orders", patchbay.Writer), login(t, target, "orders", patchbay.Reader)
	for _, where := range []string{"database orders", "role " + writer.Name, "role " + writer.Name + " in database orders", "role all", "system"} {
		exec(t, s, "postgres", "alter "+where+" set default_transaction_read_only = on")
		if where == "system" {
			reloaded(t, s, "on")
		}
		_, err := probeAs(t.Context(), target, writer)
		e := patchbay.AsError(err)
		if e == nil || e.Code != patchbay.RightsMissing || strings.Contains(e.Fix, "primary") {
			t.Fatalf("%s: %v", where, err)
		}
		if _, err := probeAs(t.Context(), target, reader); err != nil {
			t.Errorf("%s: a reader: %v", where, err)
		}
		exec(t, s, "orders", statements(e.Fix)...)
		if where == "system" {
			reloaded(t, s, "off")
		}
		if _, err = probeAs(t.Context(), target, writer); err != nil {
			t.Errorf("%s, after the fix %q: %v", where, e.Fix, err)
		}
		exec(t, s, "postgres", "alter "+where+" reset default_transaction_read_only")
	}
}

// reloaded has the server read its settings, and returns when a new session has that one.
func reloaded(t *testing.T, s *testenv.PostgresServer, want string) {
	t.Helper()
	exec(t, s, "postgres", "select pg_reload_conf()")
	for now := ""; now != want; {
		conn, err := s.Connect(t.Context(), "postgres")
		if err != nil {
			t.Fatal(err)
		}
		err = conn.QueryRow(t.Context(), "show default_transaction_read_only").Scan(&now)
		_ = conn.Close(t.Context())
		if err != nil {
			t.Fatal(err)
		}
	}
}
