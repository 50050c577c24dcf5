package postgres

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/testenv"
)

// What the object query says of whole groups of objects is what a reader finds who
// goes through them one by one, whatever somebody did to the database.
func TestRightsReadTogetherAreThoseReadOneByOne(t *testing.T) {
	for _, version := range SomeVersions(t, 13, 14, 15, 16, 17, 18) {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			const databases = 2
			s := testenv.Postgres(t, testenv.PostgresOptions{Version: version})
			w := &world{t: t, s: s}
			w.do("postgres", "create role app_owner", "create role alien", "create role somebody")
			w.open()
			defer func() { _ = w.target.Close() }()
			differences := 0
			for i := range databases {
				differences += w.compare(fmt.Sprintf("db%d", i), uint64(version*100+i))
			}
			if differences < 100*databases {
				t.Errorf("%d differences in %d databases: that shows little", differences, databases)
			}
		})
	}
}

// However many tables there are, access lists are taken apart once each: a create
// on ten thousand tables costs hardly more than one on ten.
func TestAccessListsAreTakenApartOnce(t *testing.T) {
	s := testenv.Postgres(t, testenv.PostgresOptions{})
	w := &world{t: t, s: s}
	w.do("postgres", "do $$ begin for i in 1..300 loop execute format('create table t%s (n serial)', i); end loop; end $$")
	w.open()
	defer func() { _ = w.target.Close() }()
	r := driver.LoginRequest{Mark: driver.Mark{UID: "many", Generation: 1}, Name: "pb_many_g1", Sub: "postgres", Auth: patchbay.AuthSecret, Access: patchbay.Writer}
	r.Credential, _ = w.target.NewCredential(t.Context(), r)
	if err := w.target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	conn, err := s.Connect(t.Context(), "postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	batch := (&catalogue{}).queries(r, s.Version, nil).QueuedQueries
	query := batch[len(batch)-1]
	rows, _ := conn.Query(t.Context(), "explain (analyze, timing off, costs off) "+query.SQL, query.Arguments...)
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, line := range plan {
		if _, loops, ok := strings.Cut(line, "loops="); ok && strings.Contains(line, "on aclexplode") {
			found++
			if n, err := strconv.Atoi(strings.TrimSuffix(loops, ")")); err != nil || n > 50 {
				t.Errorf("access lists are taken apart %s times: %s", loops, line)
			}
		}
	}
	if found == 0 {
		t.Errorf("no access list is taken apart:\n%s", strings.Join(plan, "\n"))
	}
}

// world is a server whose databases are made at random.
type world struct {
	t      *testing.T
	s      *testenv.PostgresServer
	target *target
	rand   *rand.Rand
}

// open opens the server as a target.
func (w *world) open() {
	w.t.Helper()
	opened, err := open(w.t.Context(), driver.Config{
		ID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.DBforPostgreSQL/flexibleServers/orders", Endpoint: w.s.Addr(), Dialer: &net.Dialer{},
		Admin: driver.Secrets{"username": patchbay.NewSecret(w.s.User), "password": patchbay.NewSecret(w.s.Password)},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.target = opened.(*target)
}

func (w *world) do(database string, statements ...string) {
	w.t.Helper()
	if err := w.s.Exec(w.t.Context(), database, statements...); err != nil {
		w.t.Fatal(err)
	}
}

// try does what may be refused, for what is made at random need not make sense.
func (w *world) try(conn *pgx.Conn, statements ...string) {
	for _, statement := range statements {
		_, _ = conn.Exec(w.t.Context(), statement)
	}
}

func (w *world) one(of ...string) string { return of[w.rand.IntN(len(of))] }

// compare makes a database at random, reads it in both ways, and gives how many
// differences were found.
func (w *world) compare(database string, seed uint64) int {
	t := w.t
	w.rand = rand.New(rand.NewPCG(seed, 1))
	w.do("postgres", "create database "+database+" owner app_owner")
	conn, err := w.s.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	schemas := w.objects(conn)
	requests := w.logins(database)
	w.objects(conn)
	w.grants(conn, database, schemas, requests)

	found := 0
	for _, r := range requests {
		c, err := w.target.inspect(t.Context(), database, r)
		if err != nil {
			t.Fatal(err)
		}
		got := slices.Sorted(maps.Keys(said(c.differs)))
		want := slices.Sorted(maps.Keys(said(w.oneByOne(conn, c, r))))
		found += len(got)
		for _, g := range got {
			if !slices.Contains(want, g) {
				t.Errorf("seed %d: the query alone says of %s: %s", seed, r.Name, g)
			}
		}
		for _, g := range want {
			if !slices.Contains(got, g) {
				t.Errorf("seed %d: the query does not say of %s: %s", seed, r.Name, g)
			}
		}
		w.asTheServerSays(conn, c, r)
	}
	return found
}

func said(list []difference) map[string]bool {
	all := map[string]bool{}
	for _, d := range list {
		objects := []string{d.object}
		if d.kind == onLarge {
			objects = strings.Split(d.object, ", ")
		}
		for _, d.object = range objects {
			all[fmt.Sprintf("missing %t: %s: %s %s %q", d.missing, d.role, d.kind, d, d.detail)] = true
		}
	}
	return all
}

// objects makes objects of each kind, of several owners.
func (w *world) objects(conn *pgx.Conn) (schemas []string) {
	schemas = []string{"public"}
	for i := range 3 {
		name := fmt.Sprintf(`"S %d"`, i)
		w.try(conn, "create schema "+name+" authorization "+w.one("app_owner", "alien", "postgres"))
		schemas = append(schemas, name)
	}
	for i := range 25 {
		in := fmt.Sprintf("%s.o%d_%d", w.one(schemas...), i, w.rand.IntN(1000))
		as := "set role " + w.one("app_owner", "postgres", "postgres", "alien")
		w.try(conn, as, map[int]string{
			0: "create table " + in + " (a serial, b text, \"c d\" int)", 1: "create table " + in + " (a int, b text, \"c d\" int) partition by range (a)",
			2: "create view " + in + " as select 1 a, 2 b", 3: "create materialized view " + in + " as select 1 a, 2 b", 4: "create sequence " + in,
			5: "create function " + in + "(int, text) returns int language sql as 'select 1'", 6: "create procedure " + in + "() language sql as 'select 1'",
			7: "create type " + in + " as enum ('x')", 8: "create domain " + in + " as int", 9: "select lo_create(0)",
			10: "create aggregate " + in + " (int) (sfunc = int4pl, stype = int)",
		}[w.rand.IntN(11)], "reset role")
	}
	return schemas
}

// logins makes logins of some accesses; the rest has no group here.
func (w *world) logins(database string) (all []driver.LoginRequest) {
	for i, a := range accesses {
		r := driver.LoginRequest{Mark: driver.Mark{UID: database + string(a), Generation: 1}, Name: fmt.Sprintf("pb_%s_%d", database, i), Sub: database, Auth: patchbay.AuthSecret, Access: a}
		all = append(all, r)
		if w.rand.IntN(4) == 0 {
			continue
		}
		var err error
		if r.Credential, err = w.target.NewCredential(w.t.Context(), r); err != nil {
			w.t.Fatal(err)
		}
		if err := w.target.EnsureLogin(w.t.Context(), r); err != nil {
			w.t.Fatal(err)
		}
	}
	return all
}

// grants does to the rights what people do.
func (w *world) grants(conn *pgx.Conn, database string, schemas []string, requests []driver.LoginRequest) {
	roles := []string{"public", "somebody", "alien"}
	for _, r := range requests {
		roles = append(roles, r.Name, groupName(r.Access, database), groupName(r.Access, database))
	}
	names := func(query string) []string {
		rows, _ := conn.Query(w.t.Context(), query)
		list, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			w.t.Fatal(err)
		}
		return list
	}
	relations := names("select format('%I.%I', nspname, relname) from pg_class c join pg_namespace n on n.oid = relnamespace where nspname !~ '^pg_|information' and relkind in ('r', 'p', 'v', 'm', 'S') order by 1")
	routines := names("select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = pronamespace where nspname !~ '^pg_|information' order by 1")
	types := names("select t.oid::regtype::text from pg_type t join pg_namespace n on n.oid = typnamespace where nspname !~ '^pg_|information' and typtype in ('e', 'd') order by 1")
	blobs := names("select oid::text from pg_largeobject_metadata")
	targets := []func() string{
		func() string {
			return w.one("select", "insert", "update, delete", "truncate", "all") + " on " + w.one(relations...)
		},
		func() string {
			return w.one("select", "insert", "update, references") + " on all tables in schema " + w.one(schemas...)
		},
		func() string { return w.one("select (a)", "update (a, b)") + " on " + w.one(relations...) },
		func() string {
			return w.one("usage", "create", "all") + " on schema " + w.one(append(schemas, "pg_catalog")...)
		},
		func() string {
			return w.one("connect", "temporary", "create", "all") + " on database " + w.one(database, "postgres")
		},
		func() string {
			return "execute on routine " + w.one(append(routines, "pg_catalog.pg_read_file(text)")...)
		},
		func() string { return "usage on type " + w.one(append(types, "pg_catalog.int4")...) },
		func() string { return w.one("select", "update") + " on large object " + w.one(append(blobs, "1")...) },
		func() string { return "usage on language " + w.one("sql", "plpgsql") },
		func() string { return "create on tablespace pg_default" },
		func() string { return "usage on foreign data wrapper wrapper" },
		func() string { return "usage on foreign server elsewhere" },
		func() string { return "select on pg_catalog." + w.one("pg_authid", "pg_statistic", "pg_class") },
		func() string { return "set on parameter " + w.one("work_mem", "session_replication_role") },
	}
	w.try(conn, "create foreign data wrapper wrapper", "create server elsewhere foreign data wrapper wrapper", "create schema extended", "alter extension plpgsql add schema extended")
	for range 3 {
		w.try(conn, "alter extension plpgsql add table "+w.one(relations...), "alter extension plpgsql add function "+w.one(append(routines, "none()")...),
			"create table extended.t"+fmt.Sprint(w.rand.IntN(99))+" (a int, b int)")
	}
	for range 120 {
		what, role := targets[w.rand.IntN(len(targets))](), `"`+w.one(roles...)+`"`
		if role == `"public"` {
			role = "public"
		}
		as := "set role " + w.one("postgres", "postgres", "app_owner", "alien")
		switch w.rand.IntN(4) {
		case 0, 1:
			w.try(conn, as, "grant "+what+" to "+role+w.one("", "", " with grant option"), "reset role")
		case 2:
			w.try(conn, as, "revoke "+w.one("", "grant option for ")+what+" from "+role+" cascade", "reset role")
		case 3:
			w.try(conn, "alter default privileges for role "+w.one("app_owner", "alien", "postgres", `"`+groupName(patchbay.Owner, database)+`"`)+w.one("", " in schema public")+
				w.one(" grant ", " revoke ")+w.one("select on tables", "usage on sequences", "execute on routines", "usage on types", "create on schemas", "insert on tables")+
				w.one(" to ", " from ")+role)
		}
		if w.rand.IntN(10) == 0 {
			w.try(conn, "alter table "+w.one(relations...)+" owner to "+w.one("alien", "app_owner", `"`+w.one(roles...)+`"`))
		}
	}
}

// entry is an object as its catalogue has it, with its access list.
type entry struct {
	kind, ident, detail, owner, acl string
	scope                           bool
	id                              uint32
	items                           []item
}

type item struct {
	grantee, priv string
	grantable     bool
}

// oneByOne reads each object for itself, and compares it in Go.
func (w *world) oneByOne(conn *pgx.Conn, c *catalogue, r driver.LoginRequest) (differs []difference) {
	const owned = "pg_get_userbyid(%s)"
	ours := func(class, oid string) string {
		return "not exists (select from pg_depend e where e.deptype = 'e' and e.classid = '" + class + "'::regclass and e.objid = " + oid + ")"
	}
	user := "n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema' and " + ours("pg_namespace", "n.oid")
	queries := []string{
		"select 'd', oid, quote_ident(datname), '', " + fmt.Sprintf(owned, "datdba") + ", datacl::text, datname = current_database() from pg_database",
		"select 'n', n.oid, quote_ident(nspname), '', " + fmt.Sprintf(owned, "nspowner") + ", nspacl::text, " + user + " from pg_namespace n",
		"select case relkind when 'S' then 's' else 't' end, c.oid, quote_ident(nspname) || '.' || quote_ident(relname), '', " + fmt.Sprintf(owned, "relowner") + ", relacl::text, " + user + " and " + ours("pg_class", "c.oid") +
			" from pg_class c join pg_namespace n on n.oid = relnamespace where relkind in ('r', 'p', 'v', 'm', 'f', 'S')",
		"select 'f', p.oid, p.oid::regprocedure::text, '', " + fmt.Sprintf(owned, "proowner") + ", proacl::text, " + user + " and " + ours("pg_proc", "p.oid") + " from pg_proc p join pg_namespace n on n.oid = pronamespace",
		"select 'c', attrelid, quote_ident(nspname) || '.' || quote_ident(relname), quote_ident(attname), " + fmt.Sprintf(owned, "relowner") + ", attacl::text, false from pg_attribute a join pg_class c on c.oid = attrelid join pg_namespace n on n.oid = relnamespace where not attisdropped",
		"select 'T', oid, oid::regtype::text, '', " + fmt.Sprintf(owned, "typowner") + ", typacl::text, false from pg_type",
		"select 'l', oid, quote_ident(lanname), '', " + fmt.Sprintf(owned, "lanowner") + ", lanacl::text, false from pg_language",
		"select 'L', oid, oid::text, '', " + fmt.Sprintf(owned, "lomowner") + ", lomacl::text, true from pg_largeobject_metadata",
		"select 'F', oid, quote_ident(fdwname), '', " + fmt.Sprintf(owned, "fdwowner") + ", fdwacl::text, false from pg_foreign_data_wrapper",
		"select 'S', oid, quote_ident(srvname), '', " + fmt.Sprintf(owned, "srvowner") + ", srvacl::text, false from pg_foreign_server",
		"select 'b', oid, quote_ident(spcname), '', " + fmt.Sprintf(owned, "spcowner") + ", spcacl::text, false from pg_tablespace",
	}
	if c.version >= 15 {
		queries = append(queries, "select 'P', oid, quote_ident(parname), '', 'postgres', paracl::text, false from pg_parameter_acl")
	}
	if _, err := conn.Exec(w.t.Context(), "set search_path to ''"); err != nil {
		w.t.Fatal(err)
	}
	var entries []entry
	for _, query := range queries {
		entries = append(entries, w.read(conn, query)...)
	}
	names, asked := oursOf(c, r)
	want := map[string]map[string][]string{} // access, kind: rights
	for _, right := range wantedRights(c.version) {
		if want[string(right.access)] == nil {
			want[string(right.access)] = map[string][]string{}
		}
		want[string(right.access)][right.kind] = append(want[string(right.access)][right.kind], right.name)
	}
	for i, name := range names {
		for _, e := range entries {
			if e.owner == name {
				continue
			}
			var wanted []string
			if e.scope {
				wanted = want[asked[i]][e.kind]
			}
			mine := e.kind == "L" && w.inherits(conn, r.Name, e.owner)
			for _, priv := range wanted {
				if !mine && !slices.ContainsFunc(e.items, func(x item) bool { return x.grantee == name && x.priv == priv }) {
					differs = append(differs, difference{missing: true, role: name, kind: e.kind, object: e.ident, right: priv})
				}
			}
			if asked[i] == "" && e.scope {
				wanted = want[string(r.Access)][e.kind] // given to the login by name, and no more than it has anyway
			}
			for _, x := range e.items {
				if fine := slices.Contains(wanted, x.priv); x.grantee == name && (!fine || x.grantable) {
					differs = append(differs, difference{role: name, kind: e.kind, object: e.ident, right: x.priv, detail: e.detail, grantable: fine})
				}
			}
		}
	}
	return append(differs, w.future(conn, names, asked, want, entries)...)
}

// inherits asks whether role has the rights of owner.
func (w *world) inherits(conn *pgx.Conn, role, owner string) (yes bool) {
	_ = conn.QueryRow(w.t.Context(), "select pg_has_role(oid, $2::name, 'USAGE') from pg_roles where rolname = $1", role, owner).Scan(&yes)
	return yes
}

func oursOf(c *catalogue, r driver.LoginRequest) (names, asked []string) {
	all, accesses := ours(r.Name, r.Sub)
	for i, name := range all {
		if c.roles[name] != nil {
			names, asked = append(names, name), append(asked, accesses[i])
		}
	}
	return names, asked
}

// future compares the default privileges.
func (w *world) future(conn *pgx.Conn, names, asked []string, want map[string]map[string][]string, entries []entry) (differs []difference) {
	makers := map[string]bool{}
	for _, e := range entries {
		if e.scope {
			makers[e.owner] = true
		}
		for _, x := range e.items {
			if e.scope && e.kind == "n" && x.priv == "CREATE" {
				makers[x.grantee] = true
			}
		}
	}
	for maker := range makers {
		if maker == "-" || strings.HasPrefix(maker, "pb_") || strings.HasPrefix(maker, "pg_") {
			delete(makers, maker)
		}
	}
	for i, name := range names {
		if asked[i] == string(patchbay.Owner) {
			makers[name] = true
		}
	}
	entries = w.read(conn, `select 'd' || case defaclobjtype when 'r' then 't' when 'S' then 's' else defaclobjtype::text end, d.oid, '', coalesce(quote_ident(nspname), ''), pg_get_userbyid(defaclrole), defaclacl::text, nspname is null
		from pg_default_acl d left join pg_namespace n on n.oid = defaclnamespace`)
	for i, name := range names {
		for maker := range makers {
			for kind, rights := range want[asked[i]] {
				for _, priv := range rights {
					if kind != onDatabase && (kind != "L" || w.s.Version >= 18) && maker != name && !slices.ContainsFunc(entries, func(e entry) bool {
						return e.scope && e.owner == maker && e.kind == "d"+kind && slices.ContainsFunc(e.items, func(x item) bool { return x.grantee == name && x.priv == priv })
					}) {
						differs = append(differs, difference{missing: true, role: name, kind: "d" + kind, object: maker, right: priv})
					}
				}
			}
		}
		for _, e := range entries {
			for _, x := range e.items {
				fine := e.scope && slices.Contains(want[asked[i]][strings.TrimPrefix(e.kind, "d")], x.priv)
				if x.grantee == name && e.owner != name && (!fine || x.grantable) {
					differs = append(differs, difference{role: name, kind: e.kind, object: e.owner, right: x.priv, detail: e.detail, grantable: fine})
				}
			}
		}
	}
	return differs
}

// read reads objects; their access lists, one by one.
func (w *world) read(conn *pgx.Conn, query string) []entry {
	rows, _ := conn.Query(w.t.Context(), query)
	entries, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e entry, err error) {
		var acl *string
		err = row.Scan(&e.kind, &e.id, &e.ident, &e.detail, &e.owner, &acl, &e.scope)
		if acl != nil {
			e.acl = *acl
		}
		return e, err
	})
	if err != nil {
		w.t.Fatal(query, err)
	}
	lists := map[string][]item{"": nil}
	for i, e := range entries {
		if items, ok := lists[e.acl]; ok {
			entries[i].items = items
			continue
		}
		rows, _ := conn.Query(w.t.Context(), "select case grantee when 0 then '-' else pg_get_userbyid(grantee) end, privilege_type, is_grantable from aclexplode($1::text::aclitem[])", e.acl)
		if entries[i].items, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (x item, err error) {
			return x, row.Scan(&x.grantee, &x.priv, &x.grantable)
		}); err != nil {
			w.t.Fatal(err)
		}
		lists[e.acl] = entries[i].items
	}
	return entries
}

// asTheServerSays asks the server whether a group has each right, which it does
// when nothing is missing.
func (w *world) asTheServerSays(conn *pgx.Conn, c *catalogue, r driver.LoginRequest) {
	group := groupName(r.Access, r.Sub)
	if c.roles[group] == nil {
		return
	}
	missing := map[string]bool{}
	for _, d := range c.differs {
		if d.missing && d.role == group {
			missing[d.kind+d.object+d.right] = true
		}
	}
	for _, right := range wantedRights(c.version) {
		query := map[string]string{
			onSchema: "select quote_ident(nspname), has_schema_privilege($1::name, o.oid, $2) from pg_namespace o where true", onTable: "select format('%I.%I', nspname, relname), has_table_privilege($1::name, o.oid, $2) from pg_class o join pg_namespace n on n.oid = relnamespace where relkind in ('r', 'p', 'v', 'm', 'f')",
			onSequence: "select format('%I.%I', nspname, relname), has_sequence_privilege($1::name, o.oid, $2) from pg_class o join pg_namespace n on n.oid = relnamespace where relkind = 'S'",
			onRoutine:  "select o.oid::regprocedure::text, has_function_privilege($1::name, o.oid, $2) from pg_proc o join pg_namespace n on n.oid = pronamespace where true",
		}[right.kind]
		if query == "" || right.access != r.Access {
			continue
		}
		rows, _ := conn.Query(w.t.Context(), query+" and nspname !~ '^pg_' and nspname not in ('information_schema', 'extended') and o."+map[string]string{onSchema: "nsp", onTable: "rel", onSequence: "rel", onRoutine: "pro"}[right.kind]+"owner <> $1::regrole and not exists (select from pg_depend e where e.deptype = 'e' and e.objid = o.oid)", group, right.name)
		var object string
		var has bool
		if _, err := pgx.ForEachRow(rows, []any{&object, &has}, func() error {
			if !has && !missing[right.kind+object+right.name] {
				w.t.Errorf("%s has no %s on %s, and the query does not say so", group, right.name, object)
			}
			return nil
		}); err != nil {
			w.t.Fatal(err)
		}
	}
}
