package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/testenv"
)

// What a DBA has set for sessions, of a database, of a role, or of all: ours set what
// they rely on for themselves.
func TestSessionsRelyOnNoSettingOfOthers(t *testing.T) {
	settings := []string{
		"default_transaction_read_only = on", "default_transaction_isolation = serializable", "default_transaction_deferrable = on",
		"statement_timeout = '1s'", "lock_timeout = '1s'", "idle_in_transaction_session_timeout = '1s'",
		"search_path = evil, pg_catalog", "role = 'somebody'", "row_security = off", "standard_conforming_strings = off", "backslash_quote = off",
		"datestyle = 'SQL, DMY'", "intervalstyle = 'iso_8601'", "bytea_output = 'escape'", "extra_float_digits = -15", "array_nulls = off",
		"client_min_messages = debug5", "quote_all_identifiers = on", "transform_null_equals = on", "client_encoding = 'LATIN1'", "timezone = 'Asia/Kolkata'",
		"plan_cache_mode = force_custom_plan", "session_replication_role = replica", "check_function_bodies = off", "lc_messages = 'C'",
		"password_encryption = 'md5'", "application_name = 'other'", "enable_seqscan = off", "default_tablespace = 'nowhere'", "work_mem = '64kB'",
	}
	for _, version := range one(t, 13, 15, 18) {
		for _, admin := range []string{"postgres", "admin"} {
			if version < 15 && admin != "postgres" {
				continue // the schema public is not its own there
			}
			t.Run(fmt.Sprint(version, " ", admin), func(t *testing.T) {
				s := server(t, testenv.PostgresOptions{Version: version})
				exec(t, s, "orders",
					// What a search path before pg_catalog may bring.
					"create schema evil", "create function evil.never(name, name) returns bool language sql as 'select 1/0 = 1'",
					"create operator evil.= (leftarg = name, rightarg = name, function = evil.never)", "grant usage on schema evil to public", "alter schema evil owner to admin", "alter function evil.never owner to admin")
				here := slices.Clone(settings)
				if version >= 14 {
					here = append(here, "idle_session_timeout = '1min'")
				}
				if version >= 16 {
					here = append(here, "createrole_self_grant = 'set, inherit'")
				}
				if version >= 17 {
					here = append(here, "transaction_timeout = '1s'", "event_triggers = off")
				}
				var all []string
				for _, setting := range here {
					if !strings.HasPrefix(setting, "role") { // which a database can't have
						all = append(all, "alter database orders set "+setting, "alter database postgres set "+setting)
					}
					all = append(all, "alter role "+admin+" set "+setting)
				}
				// In one session, that began before any counts.
				exec(t, s, "postgres", all...)

				config := config(s)
				config.Admin["username"] = patchbay.NewSecret(admin)
				target := openTarget(t, config)
				info, err := target.Inspect(t.Context(), "orders")
				if err != nil || strings.Contains(strings.Join(info.Warnings, " "), "standby") {
					t.Fatalf("%v, %q", err, info.Warnings)
				}
				// Longer than any of their limits it has to wait, for another Patchbay.
				other, err := s.Connect(t.Context(), "orders")
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = other.Close(context.Background()) }()
				if _, err := other.Exec(t.Context(), "select pg_advisory_lock(8097881575290724729)"); err != nil {
					t.Fatal(err)
				}
				time.AfterFunc(2*time.Second, func() { _, _ = other.Exec(context.Background(), "select pg_advisory_unlock_all()") })
				one := login(t, target, "orders", patchbay.Owner)
				two := login(t, target, "orders", patchbay.Reader)
				for range 2 {
					if err := target.EnsureLogin(t.Context(), two); err != nil {
						t.Fatal(err)
					}
				}
				if owned, err := target.Owned(t.Context()); err != nil || len(owned) != 2 {
					t.Errorf("Owned = %v, %v", owned, err)
				}
				state, err := target.InspectLogin(t.Context(), one)
				if err != nil || len(state.Missing)+len(state.Excess) > 0 {
					t.Errorf("InspectLogin = %+v, %v", state, err)
				}
				exec(t, s, "orders", "set role none; begin read write; create table public.theirs (n int); alter table public.theirs owner to "+two.Name+"; commit")
				remove(t, target, two)
				if owner := column(t, s, "orders", "select tableowner::text from pg_tables where tablename operator(pg_catalog.=) 'theirs'"); !strings.HasPrefix(owner[0], "pb_owner_orders") {
					t.Errorf("its table belongs to %q", owner)
				}
				exec(t, s, "orders", "set role none; begin read write; drop table public.theirs; commit")
				remove(t, target, one)
				nothingLeft(t, s)
			})
		}
	}
}

// An administrator that may make roles only as another one, works as that one.
func TestAnAdministratorWorksAsWhoMayMakeRoles(t *testing.T) {
	s := server(t, testenv.PostgresOptions{})
	exec(t, s, "postgres", "create role person login password '"+s.Password+"' in role admin", "alter role person set role = 'admin'")
	config := config(s)
	config.Admin["username"] = patchbay.NewSecret("person")
	target := openTarget(t, config)
	remove(t, target, login(t, target, "orders", patchbay.Writer))
	nothingLeft(t, s)
}

func TestWhatEventTriggersRefuseIsSaidSo(t *testing.T) {
	s := server(t, testenv.PostgresOptions{})
	exec(t, s, "orders", "create function public.guard() returns event_trigger language plpgsql as $$ begin raise exception 'ask the DBA'; end $$",
		"create event trigger guard on ddl_command_start when tag in ('GRANT') execute function public.guard()")
	target := openTarget(t, config(s))
	r := login(t, target, "bills", patchbay.Writer) // another database is free of it
	remove(t, target, r)
	r.Sub = "orders"
	for _, body := range []string{
		"begin raise exception 'ask the DBA'; end",
		"begin insert into ddl_log values (1); end", // which is in the schema public, and its path is not
		"begin perform missing(); end",
	} {
		exec(t, s, "orders", "create or replace function public.guard() returns event_trigger language plpgsql as $$ "+body+" $$")
		err := target.EnsureLogin(t.Context(), r)
		e := patchbay.AsError(err)
		if e == nil || e.Code != patchbay.AdminRights || e.Transient || !strings.Contains(e.Message, "guard()") || !strings.Contains(e.Fix, `\dy`) {
			t.Errorf("%s: %v (fix: %s)", body, err, e.Fix)
		}
	}
	exec(t, s, "orders", "create table ddl_log (n int)", "create or replace function public.guard() returns event_trigger language plpgsql as $$ begin insert into ddl_log values (1); end $$")
	if err := target.EnsureLogin(t.Context(), r); err == nil {
		t.Error("the function found a table that is not in its path")
	}
	exec(t, s, "orders", "alter function public.guard() set search_path = public") // the fix
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Error(err)
	}
	remove(t, target, r)
	nothingLeft(t, s)
}
