package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/testenv"
)

// next is the request for the generation after r, with that access.
func next(t testing.TB, target driver.Administrator, r driver.LoginRequest, access patchbay.Access) driver.LoginRequest {
	t.Helper()
	n := r
	n.Mark.Generation++
	n.Name = fmt.Sprintf("pb_%s_g%d", r.Mark.UID, n.Mark.Generation)
	n.Access = access
	c, err := target.NewCredential(context.Background(), n)
	if err != nil {
		t.Fatal(err)
	}
	n.Credential = c
	return n
}

// rotate makes the next generation beside r.
func rotate(t testing.TB, target driver.Administrator, r driver.LoginRequest) driver.LoginRequest {
	t.Helper()
	n := next(t, target, r, r.Access)
	if err := target.EnsureLogin(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	return n
}

// whole fails unless the login is as its request has it.
func whole(t testing.TB, target driver.Administrator, r driver.LoginRequest) {
	t.Helper()
	state, err := target.InspectLogin(t.Context(), r)
	if err != nil || !state.Ours || len(state.Missing)+len(state.Excess) > 0 {
		t.Errorf("InspectLogin(%s) = %+v, %v", r.Name, state, err)
	}
}

// eachAdministrator runs f with a superuser and without, on versions that differ:
// members have options since 16, large objects default privileges since 18.
func eachAdministrator(t *testing.T, f func(t *testing.T, s *testenv.PostgresServer, c driver.Config)) {
	for _, version := range one(t, 13, 15, 16, 18) {
		for _, name := range []string{"postgres", "admin"} {
			t.Run(fmt.Sprintf("%d %s", version, name), func(t *testing.T) {
				s := sharedServer(t, version)
				c := config(s)
				c.Admin["username"] = patchbay.NewSecret(name)
				t.Cleanup(func() {
					if t.Failed() { // the next one begins with nothing all the same
						sweep(t, s)
					}
				})
				if name == "admin" && version < 15 {
					// It is the database owner's since version 15.
					exec(t, s, "orders", "alter schema public owner to admin")
					defer exec(t, s, "orders", "alter schema public owner to postgres")
				}
				f(t, s, c)
				nothingLeft(t, s)
			})
		}
	}
}

// sweep removes all logins of ours.
func sweep(t *testing.T, s *testenv.PostgresServer) {
	target := openTarget(t, config(s))
	owned, err := target.Owned(context.Background())
	for _, o := range owned {
		if e := target.RemoveLogin(context.Background(), driver.LoginRequest{Mark: o.Mark, Name: o.Name, Sub: o.Sub}); e != nil {
			err = e
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// What an application stores as a large object stays its own from one generation to
// the next, whichever of the two stores it while both are there.
func TestLargeObjectsOutliveTheirGeneration(t *testing.T) {
	eachAdministrator(t, func(t *testing.T, s *testenv.PostgresServer, c driver.Config) {
		target := openTarget(t, c)
		one := login(t, target, "orders", patchbay.Writer)
		t.Cleanup(func() { exec(t, s, "orders", "select lo_unlink(oid) from pg_largeobject_metadata") })
		as(t, s, one, "select lo_from_bytea(7001, 'first')")
		whole(t, target, one)
		two := rotate(t, target, one)
		as(t, s, one, "select lo_from_bytea(7002, 'in the overlap')", "select lo_put(7001, 0, 'again')")
		as(t, s, two, "select lo_get(7001), lo_get(7002)", "select lo_put(7002, 0, 'by the new one')")
		whole(t, target, two)
		remove(t, target, one)
		whole(t, target, two)
		three := rotate(t, target, two)
		remove(t, target, two)
		as(t, s, three, "select lo_get(7001), lo_get(7002)", "select lo_put(7001, 0, 'third')", "select lo_unlink(7001)")
		whole(t, target, three)

		// Others see that they lack it, and get it; what somebody granted stays.
		reader := login(t, target, "orders", patchbay.Reader)
		as(t, s, reader, "select lo_get(7002)")
		as(t, s, three, "select lo_from_bytea(7003, 'later')")
		state, err := target.InspectLogin(t.Context(), reader)
		if err != nil || !slices.Contains(state.Missing, "SELECT on large object 7003") {
			t.Errorf("InspectLogin = %+v, %v, want the large object missing", state, err)
		}
		exec(t, s, "orders", "grant select on large object 7003 to "+reader.Name)
		if err := target.EnsureLogin(t.Context(), reader); err != nil {
			t.Fatal(err)
		}
		whole(t, target, reader)
		as(t, s, reader, "select lo_get(7003)")
		if got := column(t, s, "orders", "select lomacl::text from pg_largeobject_metadata where oid = 7003"); !strings.Contains(got[0], reader.Name) {
			t.Error("a right that the access gives was taken away")
		}

		// A connection that goes leaves them to the database.
		remove(t, target, three)
		as(t, s, reader, "select lo_get(7003)")
		whole(t, target, reader)
		if got := column(t, s, "orders", "select pg_get_userbyid(lomowner)::text from pg_largeobject_metadata where oid = 7002"); !strings.HasPrefix(got[0], "pb_owner_orders") {
			t.Errorf("the large object belongs to %q", got)
		}
		exec(t, s, "orders", "select lo_unlink(oid) from pg_largeobject_metadata")
		remove(t, target, reader)
		// The owner role went on owning large objects until now.
		remove(t, target, login(t, target, "orders", patchbay.Reader))
	})
}

// Where PUBLIC may create, as before version 15, a login makes tables and all else.
func TestWhatALoginMakesIsItsNextGenerations(t *testing.T) {
	eachAdministrator(t, func(t *testing.T, s *testenv.PostgresServer, c driver.Config) {
		exec(t, s, "orders", "create schema commons authorization admin", "grant all on schema commons to public")
		t.Cleanup(func() { exec(t, s, "orders", "drop schema if exists commons cascade") })
		target := openTarget(t, c)
		one := login(t, target, "orders", patchbay.Writer)
		as(t, s, one, "create table commons.t (id serial primary key, v text)", "create function commons.f() returns int language sql as 'select 1'",
			"create type commons.e as enum ('a')", "create view commons.v as select * from commons.t", "create collation commons.c from \"C\"",
			"create sequence commons.s", "create operator commons.=== (leftarg = int, rightarg = int, function = int4eq)")
		state, err := target.InspectLogin(t.Context(), one)
		if err != nil || len(state.Excess) > 0 {
			t.Errorf("InspectLogin = %+v, %v: what it made itself is not too much", state, err)
		}
		two := rotate(t, target, one)
		as(t, s, one, "create table commons.late (n int)")
		as(t, s, two, "alter table commons.t add column w int", "insert into commons.late values (1)", "alter table commons.late add column w int")
		remove(t, target, one)
		as(t, s, two, "alter table commons.t add column x int", "drop view commons.v", "drop function commons.f()", "alter type commons.e add value 'b'", "drop table commons.late")
		whole(t, target, two)

		// Less access is not given ownership by what was made with more.
		three := next(t, target, two, patchbay.Reader)
		if err := target.EnsureLogin(t.Context(), three); err != nil {
			t.Fatal(err)
		}
		remove(t, target, two)
		as(t, s, three, "select * from commons.t")
		refuses(t, s, three, "insert into commons.t default values")
		refuses(t, s, three, "alter table commons.t add column y int")
		whole(t, target, three)
		remove(t, target, three)
		exec(t, s, "orders", "drop schema commons cascade")
		remove(t, target, login(t, target, "orders", patchbay.Reader))
	})
}

// refuses fails unless the server refuses the statement for want of a right.
func refuses(t testing.TB, s *testenv.PostgresServer, r driver.LoginRequest, statement string) {
	t.Helper()
	conn, err := application(t.Context(), s, r.Sub, r.Credential)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "42501") {
		t.Errorf("%s as %s: %v, want it refused", statement, r.Name, err)
	}
}

// value is what a query gives the login.
func value(t testing.TB, s *testenv.PostgresServer, r driver.LoginRequest, query string) string {
	t.Helper()
	conn, err := application(t.Context(), s, r.Sub, r.Credential)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var got string
	if err := conn.QueryRow(t.Context(), query).Scan(&got); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return got
}

// defaults are the default privileges of what a role makes, which is called it.
func defaults(t testing.TB, s *testenv.PostgresServer, name string) []string {
	t.Helper()
	return column(t, s, "orders", `select defaclobjtype::text || ' ' || coalesce(nspname, '-') || ' ' || (select string_agg(a, ' ' order by a) from unnest(string_to_array(btrim(replace(defaclacl::text, $1, 'it'), '{}'), ',')) a)
		from pg_default_acl d left join pg_namespace n on n.oid = d.defaclnamespace where pg_get_userbyid(defaclrole) = $1 order by 1`, name)
}

func TestWhatALoginWasGivenByNameIsItsNextGenerations(t *testing.T) {
	eachAdministrator(t, func(t *testing.T, s *testenv.PostgresServer, c driver.Config) {
		super := c.Admin["username"].Reveal() == "postgres"
		target := openTarget(t, c)
		one := login(t, target, "orders", patchbay.Writer)
		tenant := "in database orders set app.tenant = 'it''s \\a'"
		if !super {
			// PostgreSQL lets only superusers give parameters that nobody defined, and
			// since version 15 whom they let.
			if s.Version >= 15 {
				exec(t, s, "orders", "grant set on parameter app.tenant to admin")
				defer exec(t, s, "orders", "revoke set on parameter app.tenant from admin")
			} else {
				tenant = "set application_name = 'it''s \\a'"
			}
		}
		exec(t, s, "orders",
			"create table tenants (tenant text, v int)", "alter table tenants owner to admin", "insert into tenants values ('a', 1), ('b', 2)",
			"alter table tenants enable row level security",
			"create policy \"its own\" on tenants to "+one.Name+", somebody using (tenant = 'a')",
			"alter role "+one.Name+" connection limit 7 valid until '2199-01-01'",
			"alter role "+one.Name+" set statement_timeout = '61s'",
			`alter role `+one.Name+` set search_path = app, public, "odd ""name', x"`,
			"alter role "+one.Name+" "+tenant,
			"alter role "+one.Name+" in database orders set datestyle = 'sql, dmy'",
			"alter default privileges for role "+one.Name+" grant select on tables to somebody with grant option",
			"alter default privileges for role "+one.Name+" revoke execute on functions from public",
			"alter default privileges for role "+one.Name+" in schema app grant usage on sequences to somebody",
		)
		if super {
			exec(t, s, "orders", "create foreign data wrapper w", "create server srv foreign data wrapper w",
				"create user mapping for "+one.Name+` server srv options (password 'p''a\ss $do$', "user" 'u')`)
		}
		t.Cleanup(func() {
			exec(t, s, "orders", "drop table if exists tenants", "drop foreign data wrapper if exists w cascade")
		})
		if err := target.EnsureLogin(t.Context(), one); err != nil { // a repair leaves it all
			t.Fatal(err)
		}
		whole(t, target, one)
		before := defaults(t, s, one.Name)
		two := rotate(t, target, one)
		whole(t, target, two)
		remove(t, target, one)
		whole(t, target, two)
		if got := value(t, s, two, "select string_agg(tenant, ',') from tenants"); got != "a" {
			t.Errorf("it sees the tenants %q", got)
		}
		for query, want := range map[string]string{
			"show statement_timeout": "61s",
			"show search_path":       `app, public, "odd ""name', x"`,
			"show datestyle":         "SQL, DMY",
			"select rolconnlimit::text from pg_roles where rolname = current_user":                                                    "7",
			"select to_char(rolvaliduntil, 'YYYY') from pg_roles where rolname = current_user":                                        "2199",
			"select string_agg(r::text, ',' order by r <> 'somebody') from pg_policies, unnest(roles) r where policyname = 'its own'": "somebody," + two.Name,
		} {
			if got := value(t, s, two, query); got != want {
				t.Errorf("%s: %q, want %q", query, got, want)
			}
		}
		if now := defaults(t, s, two.Name); len(now) != 3 || !slices.Equal(now, before) {
			t.Errorf("default privileges %q, want %q", now, before)
		}
		if got := column(t, s, "orders", "select setconfig::text from pg_db_role_setting s where setrole = $1::regrole and setconfig::text ~ 'it''s'", two.Name); len(got) != 1 || !strings.Contains(got[0], `=it's \\a"`) {
			t.Errorf("settings %q", got)
		}
		if super {
			got := column(t, s, "orders", "select array_to_string(umoptions, ' ') from pg_user_mappings where usename = $1", two.Name)
			if !slices.Equal(got, []string{`password=p'a\ss $do$ user=u`}) {
				t.Errorf("user mapping %q", got)
			}
		}
		remove(t, target, two)
		exec(t, s, "orders", "drop table tenants", "drop foreign data wrapper if exists w cascade")
		remove(t, target, login(t, target, "orders", patchbay.Reader))
	})
}

// What can't be carried over ends the rotation before anything happened, and the fix
// is one that helps.
func TestARotationThatWouldLoseSomethingDoesNotHappen(t *testing.T) {
	for _, version := range one(t, 15, 18) {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			s := sharedServer(t, version)
			c := config(s)
			c.Admin["username"] = patchbay.NewSecret("admin")
			target := openTarget(t, c)
			one := login(t, target, "orders", patchbay.Writer)
			exec(t, s, "orders", "create table tenants (tenant text)", "alter table tenants enable row level security",
				"create policy theirs on tenants to "+one.Name+" using (true)", "alter table tenants owner to alien",
				"create foreign data wrapper w", "create server srv foreign data wrapper w", "create user mapping for "+one.Name+" server srv")
			t.Cleanup(func() {
				exec(t, s, "orders", "drop table if exists tenants", "drop foreign data wrapper if exists w cascade")
			})
			two := next(t, target, one, patchbay.Writer)
			for _, want := range []string{"GRANT alien TO admin WITH INHERIT TRUE", "DROP USER MAPPING FOR " + one.Name + " SERVER srv"} {
				if version < 16 {
					want = strings.TrimSuffix(want, " WITH INHERIT TRUE") // no such option
				}
				err := target.EnsureLogin(t.Context(), two)
				e := patchbay.AsError(err)
				if patchbay.CodeOf(err) != patchbay.AdminRights || !strings.HasSuffix(e.Fix, want) || e.Transient {
					t.Fatalf("EnsureLogin = %v, fix %q, want AdminRights with %q", err, e.Fix, want)
				}
				if state, err := target.InspectLogin(t.Context(), two); err != nil || state.Exists {
					t.Fatalf("InspectLogin = %+v, %v: nothing should have happened", state, err)
				}
				exec(t, s, "orders", want)
			}
			if err := target.EnsureLogin(t.Context(), two); err != nil {
				t.Fatal(err)
			}
			remove(t, target, one)
			if got := column(t, s, "orders", "select array_to_string(roles, ',') from pg_policies where tablename = 'tenants'"); got[0] != two.Name {
				t.Errorf("the policy is for %q", got)
			}
			remove(t, target, two)
			exec(t, s, "orders", "drop table tenants", "drop foreign data wrapper w cascade", "revoke alien from admin")
			remove(t, target, login(t, target, "orders", patchbay.Reader))
			nothingLeft(t, s)
		})
	}
}

// A server that refuses a setting refuses the rotation.
func TestASettingThatTheAdministratorMayNotGiveIsSaid(t *testing.T) {
	s := sharedServer(t, 15)
	c := config(s)
	c.Admin["username"] = patchbay.NewSecret("admin")
	target := openTarget(t, c)
	one := login(t, target, "orders", patchbay.Writer)
	exec(t, s, "orders", "alter role "+one.Name+" set log_statement = 'all'")
	two := next(t, target, one, patchbay.Writer)
	err := target.EnsureLogin(t.Context(), two)
	if patchbay.CodeOf(err) != patchbay.AdminRights || !strings.Contains(err.Error(), "its setting log_statement") {
		t.Errorf("EnsureLogin = %v, want the setting named", err)
	}
	fix := patchbay.AsError(err).Fix
	exec(t, s, "orders", fix)
	if err := target.EnsureLogin(t.Context(), two); err != nil {
		t.Fatal(err)
	}
	remove(t, target, two)
	remove(t, target, one)
	exec(t, s, "orders", strings.NewReplacer("GRANT", "REVOKE", " TO ", " FROM ").Replace(fix))
	nothingLeft(t, s)
}

// An undo leaves the generation that was there with what the undone one made.
func TestAnUndoneGenerationLeavesWhatItMade(t *testing.T) {
	s := sharedServer(t, 15)
	target := openTarget(t, config(s))
	one := login(t, target, "orders", patchbay.Writer)
	two := rotate(t, target, one)
	as(t, s, two, "select lo_from_bytea(7101, 'by the one that is undone')")
	remove(t, target, two)
	as(t, s, one, "select lo_unlink(7101)")
	whole(t, target, one)
	remove(t, target, one)
	nothingLeft(t, s)
}

// What is the server's goes to whom it is of: a database to its own owner role, which
// no connection to another database is a member of; the rest to the administrator.
func TestSharedObjectsGoToTheirOwn(t *testing.T) {
	for _, version := range one(t, 13, 15, 18) {
		for _, access := range []patchbay.Access{patchbay.Writer, patchbay.Owner} {
			t.Run(fmt.Sprint(version, access), func(t *testing.T) {
				s := server(t, testenv.PostgresOptions{Version: version})
				target := openTarget(t, config(s))
				stranger := login(t, target, "orders", patchbay.Owner)
				other := login(t, target, "bills", patchbay.Owner)
				one := login(t, target, "orders", access)
				give := func() {
					exec(t, s, "postgres", "alter database private owner to "+one.Name, "alter database orders owner to "+one.Name)
					exec(t, s, "bills", "create schema theirs authorization "+one.Name, "create table theirs.t (n int)", "alter table theirs.t owner to "+one.Name,
						"create subscription sub connection 'dbname=x' publication p with (connect = false)", "alter role "+one.Name+" superuser",
						"alter subscription sub owner to "+one.Name, "alter role "+one.Name+" nosuperuser")
				}
				give()
				owner := func(query string) string { return column(t, s, "bills", query)[0] }
				check := func(when string) {
					t.Helper()
					for query, want := range map[string]string{
						"select pg_get_userbyid(datdba)::text from pg_database where datname = 'private'": "pb_owner_private_",
						"select pg_get_userbyid(datdba)::text from pg_database where datname = 'orders'":  "pb_owner_orders_",
						"select nspowner::regrole::text from pg_namespace where nspname = 'theirs'":       "pb_owner_bills_",
						"select tableowner::text from pg_tables where tablename = 't'":                    "pb_owner_bills_",
						"select pg_get_userbyid(subowner)::text from pg_subscription":                     "postgres",
					} {
						if got := owner(query); !strings.HasPrefix(got, want) {
							t.Errorf("%s: %s: %q, want %q", when, query, got, want)
						}
					}
					for _, r := range []driver.LoginRequest{stranger, other} {
						refuses(t, s, r, "drop database private")
					}
				}
				two := rotate(t, target, one)
				remove(t, target, one)
				check("after a rotation")
				whole(t, target, two)

				exec(t, s, "bills", "drop schema theirs cascade", "alter subscription sub set (slot_name = none)", "drop subscription sub")
				one = two
				give()
				state, err := target.InspectLogin(t.Context(), one)
				if err != nil || !slices.Contains(state.Excess, "owns database private") {
					t.Errorf("InspectLogin = %+v, %v", state, err)
				}
				if err := target.EnsureLogin(t.Context(), one); err != nil {
					t.Fatal(err)
				}
				check("after a repair")
				whole(t, target, one)

				for _, r := range []driver.LoginRequest{stranger, other, one} {
					remove(t, target, r)
				}
			})
		}
	}
}

// Since version 16 an administrator without superuser rights may change the roles
// that it made, or whose maker it is a member of.
func TestAnAdministratorOfOthersLoginsIsToldTheOneStatement(t *testing.T) {
	for _, version := range one(t, 16, 17, 18) {
		for name, make := range map[string][]string{
			"plain": {"create role adm2 login createrole"}, "noinherit": {"create role adm2 login createrole noinherit"},
			"member": {"create role adm2 login createrole", "grant adm1 to adm2 with inherit false"}, "made by a superuser": {"create role adm2 login createrole"},
		} {
			t.Run(fmt.Sprint(version, name), func(t *testing.T) {
				s := server(t, testenv.PostgresOptions{Version: version})
				exec(t, s, "postgres", "create role adm1 login createrole password '"+s.Password+"'", "grant admin to adm1", "grant app_owner to adm1")
				exec(t, s, "postgres", make...)
				exec(t, s, "postgres", "alter role adm2 password '"+s.Password+"'", "grant admin to adm2 with inherit true", "grant app_owner to adm2 with inherit true")
				c := config(s)
				if name != "made by a superuser" {
					c.Admin["username"] = patchbay.NewSecret("adm1")
				}
				first := openTarget(t, c)
				c = config(s)
				c.Admin["username"] = patchbay.NewSecret("adm2")
				second := openTarget(t, c)
				r := login(t, first, "orders", patchbay.Writer)
				info, err := second.Inspect(t.Context(), "")
				if err != nil {
					t.Fatal(err)
				}
				at := slices.IndexFunc(info.Warnings, func(w string) bool { return strings.Contains(w, "GRANT ") && strings.Contains(w, "adm2") })
				if at < 0 {
					t.Fatalf("Inspect warns of %q", info.Warnings)
				}
				// Nothing is a success, and nothing has happened.
				n := next(t, second, r, patchbay.Writer)
				fixes := map[string]bool{}
				for what, err := range map[string]error{
					"EnsureLogin": second.EnsureLogin(t.Context(), r), "EnsureLogin of the next": second.EnsureLogin(t.Context(), n),
					"RemoveLogin": second.RemoveLogin(t.Context(), r), "CheckRemoval": second.Administrator.(driver.RemovalChecker).CheckRemoval(t.Context(), r),
				} {
					e := patchbay.AsError(err)
					if patchbay.CodeOf(err) != patchbay.AdminRights || e.Transient {
						t.Fatalf("%s = %v, want AdminRights", what, err)
					}
					fixes[e.Fix] = true
					as(t, s, r, "select * from items")
				}
				fix := info.Warnings[at][strings.Index(info.Warnings[at], "GRANT "):]
				if name != "made by a superuser" && (len(fixes) != 1 || !fixes[fix]) {
					t.Errorf("the fixes %v are not the warning's %q", fixes, fix)
				}
				exec(t, s, "orders", fix)
				if info, err = second.Inspect(t.Context(), ""); err != nil || strings.Contains(strings.Join(info.Warnings, " "), "adm2") {
					t.Errorf("after the fix Inspect warns of %q, %v", info.Warnings, err)
				}
				if err := second.Administrator.(driver.RemovalChecker).CheckRemoval(t.Context(), r); err != nil {
					t.Errorf("CheckRemoval = %v", err)
				}
				whole(t, second, r)
				if err := second.EnsureLogin(t.Context(), r); err != nil {
					t.Fatal(err)
				}
				n = rotate(t, second, r)
				remove(t, second, r)
				whole(t, second, n)
				remove(t, second, n)
				nothingLeft(t, s)
			})
		}
	}
}

// By the documented way the owner role comes to what others own.
func TestHandedOverObjectsStayHandedOver(t *testing.T) {
	for _, version := range one(t, 13, 15, 16, 18) {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			s := sharedServer(t, version)
			target := openTarget(t, config(s))
			one := login(t, target, "orders", patchbay.Owner)
			owner, err := group(t.Context(), s, patchbay.Owner, "orders")
			if err != nil {
				t.Fatal(err)
			}
			refuses(t, s, one, "alter table app.parted add column x int")
			exec(t, s, "orders", "grant app_owner to "+owner, "grant pg_read_all_settings to "+owner)
			state, err := target.InspectLogin(t.Context(), one)
			if err != nil || !slices.Equal(state.Excess, []string{"member of pg_read_all_settings"}) {
				t.Errorf("InspectLogin = %+v, %v, want the server's own role alone", state, err)
			}
			alter := []string{"alter table app.parted add column x int", "alter table app.parted drop column x"}
			as(t, s, one, alter...)
			if err := target.EnsureLogin(t.Context(), one); err != nil {
				t.Fatal(err)
			}
			whole(t, target, one)
			as(t, s, one, alter...)
			two := rotate(t, target, one)
			remove(t, target, one)
			whole(t, target, two)
			as(t, s, two, alter...)
			exec(t, s, "orders", "revoke app_owner from "+owner)
			remove(t, target, two)
			nothingLeft(t, s)
		})
	}
}

// An application may store more large objects than one transaction gives rights on.
func TestManyLargeObjects(t *testing.T) {
	for _, version := range one(t, 13, 18) {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			s := server(t, testenv.PostgresOptions{Version: version})
			target := openTarget(t, config(s))
			reader := login(t, target, "orders", patchbay.Reader)
			one := login(t, target, "orders", patchbay.Writer)
			as(t, s, one, "select count(lo_create(0)) from generate_series(1, 2000)", "select lo_create(7201)")
			state, err := target.InspectLogin(t.Context(), reader)
			if err != nil || len(state.Missing) == 0 || len(state.Missing) > 10 || !strings.Contains(state.Missing[0], " and 497 more") {
				t.Errorf("InspectLogin = %d, %v", len(state.Missing), err)
			}
			if err := target.EnsureLogin(t.Context(), reader); err != nil {
				t.Fatal(err)
			}
			whole(t, target, reader)
			as(t, s, one, "select count(lo_create(0)) from generate_series(1, 4000)")
			info, err := target.Inspect(t.Context(), "orders")
			if err != nil || !strings.Contains(strings.Join(info.Warnings, " "), "more than 5000 large objects") {
				t.Errorf("Inspect = %+v, %v", info, err)
			}
			whole(t, target, reader)
			two := rotate(t, target, one)
			remove(t, target, one)
			whole(t, target, two)
			as(t, s, two, "select lo_unlink(7201)")
			remove(t, target, two)
			remove(t, target, reader)
		})
	}
}
