package postgres

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// role is a row of pg_roles, with its comment.
type role struct {
	name    string
	oid     uint32
	flags   []string // attributes that no role of ours has, as ALTER ROLE names them
	inherit bool
	login   bool
	shut    bool // by a connection limit of nothing, or an expiry that has passed
	comment string
	usable  bool // the administrator has its privileges
	administration
}

// membership is a row of pg_auth_members.
type membership struct {
	group, member, grantor string // grantor since 16
	admin, inherit, set    bool
	comment                string // of the group
	servers                bool   // the group's rights are over the whole server
	option                 string // what of it is to be revoked; "" for all
}

// difference is a right that a group role lacks, or that a role of ours has
// without being entitled to it.
type difference struct {
	missing   bool
	role      string
	kind      string
	object    string // quoted; of large objects, many
	right     string
	detail    string // column, or the schema of default privileges
	grantable bool   // the right itself is wanted; that it may be passed on is not
}

func (d difference) String() string {
	s := d.right
	switch {
	case d.kind == "c":
		s += " (" + d.detail + ")"
	case strings.HasPrefix(d.kind, "d") && d.kind != onDatabase:
		s += " on future " + kindWords[d.kind] + " of"
		if d.detail != "" {
			s = strings.TrimSuffix(s, " of") + " in schema " + d.detail + " of"
		}
		return s + " " + d.object
	}
	object := d.object
	if d.kind == onLarge {
		object = few(object)
	}
	s += " on " + kindWords[d.kind] + " " + object
	if d.grantable {
		s += " with grant option"
	}
	return s
}

// few names a few of many large objects.
func few(list string) string {
	const most = 3
	names := strings.Split(list, ", ")
	if len(names) <= most {
		return list
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// dependency is something that refers to a role of ours.
type dependency struct {
	role     string
	database string // another one than this; "" for this one and for shared objects
	owns     bool   // it owns the thing; else it is named by it
	what     string
	// place is where the thing goes, other than what the role made there itself; alter
	// then names it in ALTER … OWNER.
	place place
	alter string
	shut  string // why nobody can sign in to that other database (a key of shuts), or not we
}

// place is where something goes that a role of ours owns.
type place string

const (
	withOthers place = ""              // with all that the role made itself
	toGroup    place = "group"         // large objects: to the writers' group role, see [session.bequeath]
	toOwner    place = "owner"         // it could not have made it: to the database's owner role
	toDatabase place = "database"      // a database: to its own owner role
	toAdmin    place = "administrator" // only a superuser may own it, or it is the server's
)

// catalogue is what one database knows of a login and the group roles.
type catalogue struct {
	database   string
	version    int // major
	super      bool
	createDB   bool
	admin      string
	roles      map[string]*role
	members    []membership
	roleConfig map[string]string // database -> the role that the login works as there; "" for all
	differs    []difference
	depends    []dependency
	prepared   []string // transactions of the login
	sessions   int
}

// maxLarge large objects in a database are as many as one transaction changes, on a
// server as it comes.
const maxLarge = 5000

// The object query finds in what the rights of our roles differ from those that
// they should have. Objects in scope are what the groups' rights are on; on
// everything else our roles have none. Extensions and system schemas are out of
// scope: their authors gave their own rights.
//
// A database has many objects and few access lists: objects of the same owner and
// access list are judged together, and named one by one only when they differ. The
// rest, of which there may be millions that have nothing to do with us (columns), is
// found by the server's own record of whom an access list names.
//
// Large objects have their rights one by one, and take a lock each when those are
// changed: where there are more than maxLarge, nobody's rights on them are judged.
const objectQuery = `
with roles as materialized (
	select g.name, g.access, r.oid
	from unnest($1::text[], $2::text[]) g(name, access) left join pg_catalog.pg_roles r on r.rolname = g.name
	where r.oid is not null or g.access = any($3::text[])
), want(access, kind, priv) as materialized (
	select * from unnest($4::text[], $5::text[], $6::text[])
), extension as materialized (
	select classid, objid from pg_catalog.pg_depend where refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass and deptype = 'e'
), ns as materialized (
	select n.oid, n.nspowner, n.nspacl, n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
		and n.oid not in (select objid from extension where classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass) as scope
	from pg_catalog.pg_namespace n
), named as materialized (
	select distinct d.classid, d.objid, d.objsubid
	from roles r join pg_catalog.pg_shdepend d on d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass and d.refobjid = r.oid
	where d.deptype = 'a' and d.dbid in (0, (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database()))
		and (d.objsubid <> 0 or d.classid not in ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass))
), alike as materialized (
	select pg_catalog.row_number() over () as g, kind, ids, sub, owner, acl, scope from (
		select 'd' as kind, pg_catalog.array_agg(oid) as ids, 0 as sub, datdba as owner, datacl as acl, datname = pg_catalog.current_database() as scope
		from pg_catalog.pg_database where datname = pg_catalog.current_database() or datacl is not null group by 4, 5, 6
		union all
		select 'n', pg_catalog.array_agg(oid), 0, nspowner, nspacl, scope from ns where scope or nspacl is not null group by 4, 5, 6
		union all
		select case when relkind = 'S' then 's' else 't' end, pg_catalog.array_agg(oid), 0, relowner, relacl, scope
		from (select c.oid, c.relkind, c.relowner, c.relacl, n.scope and c.oid not in (select objid from extension where classid = 'pg_catalog.pg_class'::pg_catalog.regclass) as scope
			from pg_catalog.pg_class c join ns n on n.oid = c.relnamespace
			where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and (n.scope or c.relacl is not null)) c
		group by 1, 4, 5, 6
		union all
		select 'f', pg_catalog.array_agg(oid), 0, proowner, proacl, scope
		from (select p.oid, p.proowner, p.proacl, n.scope and p.oid not in (select objid from extension where classid = 'pg_catalog.pg_proc'::pg_catalog.regclass) as scope
			from pg_catalog.pg_proc p join ns n on n.oid = p.pronamespace where n.scope or p.proacl is not null) p
		group by 4, 5, 6
		union all
		select 'c', array[a.attrelid], a.attnum, c.relowner, a.attacl, false
		from named d join pg_catalog.pg_attribute a on a.attrelid = d.objid and a.attnum = d.objsubid join pg_catalog.pg_class c on c.oid = a.attrelid
		where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and a.attacl is not null and not a.attisdropped
		union all
		select 'T', array[t.oid], 0, typowner, typacl, false from named d join pg_catalog.pg_type t on t.oid = d.objid where d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass
		union all
		select 'l', array[l.oid], 0, lanowner, lanacl, false from named d join pg_catalog.pg_language l on l.oid = d.objid where d.classid = 'pg_catalog.pg_language'::pg_catalog.regclass
		union all
		select 'L', pg_catalog.array_agg(oid), 0, lomowner, lomacl, true from pg_catalog.pg_largeobject_metadata
		where (select pg_catalog.count(*) from (select from pg_catalog.pg_largeobject_metadata limit $8 + 1) l) <= $8 group by 4, 5
		union all
		select 'F', array[f.oid], 0, fdwowner, fdwacl, false from named d join pg_catalog.pg_foreign_data_wrapper f on f.oid = d.objid where d.classid = 'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass
		union all
		select 'S', array[f.oid], 0, srvowner, srvacl, false from named d join pg_catalog.pg_foreign_server f on f.oid = d.objid where d.classid = 'pg_catalog.pg_foreign_server'::pg_catalog.regclass
		union all
		select 'b', array[b.oid], 0, spcowner, spcacl, false from named d join pg_catalog.pg_tablespace b on b.oid = d.objid where d.classid = 'pg_catalog.pg_tablespace'::pg_catalog.regclass
		{parameters}
	) a
), have as materialized (
	select o.g, o.kind, o.scope, r.name, r.access, a.privilege_type as priv, a.is_grantable
	from alike o, pg_catalog.aclexplode(o.acl) a join roles r on r.oid = a.grantee
	where o.owner <> a.grantee
), maker as materialized (
	-- Whose future objects the groups have rights on.
	select r.oid, r.rolname as name
	from (
		select owner as oid from alike where scope
		union
		select a.grantee from alike o, pg_catalog.aclexplode(o.acl) a where o.kind = 'n' and o.scope and a.privilege_type = 'CREATE'
	) m join pg_catalog.pg_roles r on r.oid = m.oid
	where r.rolname !~ '^pg_' and pg_catalog.pg_has_role(r.oid, 'USAGE')
		and coalesce(pg_catalog.shobj_description(r.oid, 'pg_authid'), '') !~ '^patchbay '
	union all
	select oid, name from roles where access = 'owner'
), defaults as materialized (
	select 'd' || case d.defaclobjtype when 'r' then 't' when 'S' then 's' else d.defaclobjtype::text end as kind, d.defaclrole as id,
		o.rolname as owner, coalesce(n.nspname, '') as schema, r.name, r.access, a.privilege_type as priv, a.is_grantable
	from pg_catalog.pg_default_acl d join pg_catalog.pg_roles o on o.oid = d.defaclrole
		left join pg_catalog.pg_namespace n on n.oid = d.defaclnamespace,
		pg_catalog.aclexplode(d.defaclacl) a join roles r on r.oid = a.grantee
	where a.grantee <> d.defaclrole
), differ as materialized (
	select true as missing, o.g, r.name, w.priv, false as grantable
	from roles r join want w on w.access = r.access join alike o on o.kind = w.kind and o.scope
	where o.owner is distinct from r.oid and not exists (select from have h where h.name = r.name and h.g = o.g and h.priv = w.priv)
		-- What the login stored, or the generation before it, it has all rights on.
		and not (o.kind = 'L' and exists (select from roles l where l.access = '' and pg_catalog.pg_has_role(l.oid, o.owner, 'USAGE')))
	union all
	select false, h.g, h.name, h.priv, h.wanted
	from (select *, scope and exists (select from want w where w.access = case have.access when '' then $7 else have.access end and w.kind = have.kind and w.priv = have.priv) as wanted from have) h
	where not h.wanted or h.is_grantable
)
select d.missing, d.name, o.kind, case o.kind
		when 'd' then (select pg_catalog.quote_ident(datname) from pg_catalog.pg_database where oid = i.id)
		when 'n' then (select pg_catalog.quote_ident(nspname) from pg_catalog.pg_namespace where oid = i.id)
		when 'f' then i.id::pg_catalog.regprocedure::text
		when 'T' then i.id::pg_catalog.regtype::text
		when 'l' then (select pg_catalog.quote_ident(lanname) from pg_catalog.pg_language where oid = i.id)
		when 'L' then i.many
		when 'F' then (select pg_catalog.quote_ident(fdwname) from pg_catalog.pg_foreign_data_wrapper where oid = i.id)
		when 'S' then (select pg_catalog.quote_ident(srvname) from pg_catalog.pg_foreign_server where oid = i.id)
		when 'b' then (select pg_catalog.quote_ident(spcname) from pg_catalog.pg_tablespace where oid = i.id)
		{parameter}
		else (select pg_catalog.format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = i.id)
	end, d.priv,
	case when o.kind = 'c' then (select pg_catalog.quote_ident(attname) from pg_catalog.pg_attribute where attrelid = i.id and attnum = o.sub) else '' end, d.grantable
from differ d join alike o on o.g = d.g, lateral (
	select u.id, '' as many from unnest(o.ids) u(id) where o.kind <> 'L'
	union all
	select null, pg_catalog.string_agg(u.id::text, ', ' order by u.n) from unnest(o.ids) with ordinality u(id, n) where o.kind = 'L' group by (u.n - 1) / 500) i
union all
select true, r.name, 'd' || w.kind, pg_catalog.quote_ident(m.name), w.priv, '', false
from roles r join want w on w.access = r.access and w.kind <> all({without}) cross join maker m
where m.name <> r.name
	and not exists (select from defaults h where h.name = r.name and h.kind = 'd' || w.kind and h.owner = m.name and h.schema = '' and h.priv = w.priv)
union all
select false, h.name, h.kind, pg_catalog.quote_ident(h.owner), h.priv, case when h.schema = '' then '' else pg_catalog.quote_ident(h.schema) end, h.wanted
from (select *, schema = '' and exists (select from want w where w.access = defaults.access and 'd' || w.kind = defaults.kind and w.priv = defaults.priv) as wanted from defaults) h
where not h.wanted or h.is_grantable
order by 1, 2, 3, 4, 5`

// Parameters have access lists since version 15.
const (
	parameterObjects = `union all
		select 'P', array[p.oid], 0, 10, paracl, false from named d join pg_catalog.pg_parameter_acl p on p.oid = d.objid where d.classid = 'pg_catalog.pg_parameter_acl'::pg_catalog.regclass`
	parameterName = `when 'P' then (select pg_catalog.quote_ident(parname) from pg_catalog.pg_parameter_acl where oid = i.id)`
)

const roleQuery = `
select r.rolname, r.oid,
	pg_catalog.array_remove(array[case when r.rolsuper then 'SUPERUSER' end, case when r.rolcreatedb then 'CREATEDB' end,
		case when r.rolcreaterole then 'CREATEROLE' end, case when r.rolreplication then 'REPLICATION' end,
		case when r.rolbypassrls then 'BYPASSRLS' end], null),
	r.rolinherit, r.rolcanlogin, r.rolconnlimit = 0 or coalesce(r.rolvaliduntil <= pg_catalog.now(), false),
	coalesce(pg_catalog.shobj_description(r.oid, 'pg_authid'), ''), pg_catalog.pg_has_role(r.oid, 'USAGE'), %s
from pg_catalog.pg_roles r where r.rolname = any($1)`

const memberQuery = `
select g.rolname, m.rolname, a.admin_option, %s, coalesce(pg_catalog.shobj_description(g.oid, 'pg_authid'), ''), g.rolsuper or g.rolname ~ '^pg_'
from pg_catalog.pg_auth_members a join pg_catalog.pg_roles g on g.oid = a.roleid join pg_catalog.pg_roles m on m.oid = a.member
	left join pg_catalog.pg_roles b on b.oid = a.grantor
where g.rolname = any($1) or m.rolname = any($1)
order by 1, 2`

const configQuery = `
select coalesce(d.datname, ''), pg_catalog.substr(c, 6)
from pg_catalog.pg_db_role_setting s join pg_catalog.pg_roles r on r.oid = s.setrole left join pg_catalog.pg_database d on d.oid = s.setdatabase,
	unnest(s.setconfig) c
where r.rolname = $1 and c like 'role=%'`

// What the catalogue calls an owner is none of what is only the role's own: default
// privileges, user mappings. In another database all that names the role counts:
// it must go before the role can. Temporary objects go with their session. Large
// objects, which may be millions, are counted. (Before version 14 a subscription's oid
// is not for everybody to read.)
const dependQuery = `
with d as (
	select r.rolname, r.oid as role, d.classid, d.objid, d.objsubid, d.deptype, d.dbid, this.oid as this
	from pg_catalog.pg_database this cross join pg_catalog.pg_roles r cross join lateral (
		-- Rights on this database's own objects may be many, and are read elsewhere.
		select * from pg_catalog.pg_shdepend
		where refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass and refobjid = r.oid and (deptype = 'o' or dbid <> 0 and dbid <> this.oid)
		offset 0
	) d
	where this.datname = pg_catalog.current_database() and r.rolname = any($1)
)
select d.rolname, coalesce(db.datname, ''), d.deptype = 'o', coalesce(pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid), ''),
	case when d.classid = 'pg_catalog.pg_database'::pg_catalog.regclass then 'database'
		when d.classid = any(array['pg_catalog.pg_foreign_data_wrapper', 'pg_catalog.pg_event_trigger', 'pg_catalog.pg_tablespace', 'pg_catalog.pg_subscription']::pg_catalog.regclass[]) then 'administrator'
		when d.classid = 'pg_catalog.pg_extension'::pg_catalog.regclass or d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and exists (
			select from pg_catalog.pg_depend p where p.classid = d.classid and p.objid = d.objid and p.refclassid = d.classid and p.deptype in ('a', 'i')) then ''
		when i.schema is not null and pg_catalog.has_schema_privilege(d.role, pg_catalog.to_regnamespace(i.schema), 'CREATE') then ''
		when i.type in ('schema', 'publication') and pg_catalog.has_database_privilege(d.role, d.this, 'CREATE') then ''
		when i.type = 'server' and (select pg_catalog.has_foreign_data_wrapper_privilege(d.role, srvfdw, 'USAGE') from pg_catalog.pg_foreign_server where oid = d.objid) then ''
		else 'owner' end,
	case i.type when 'statistics object' then 'statistics' when 'foreign-data wrapper' then 'foreign data wrapper'
		when 'function' then 'routine' when 'procedure' then 'routine' when 'aggregate' then 'routine' else i.type end || ' ' || i.identity, ''
from d left join pg_catalog.pg_subscription s on d.classid = 'pg_catalog.pg_subscription'::pg_catalog.regclass and s.subowner = d.role
		and 'subscription ' || s.subname = case when d.classid = 'pg_catalog.pg_subscription'::pg_catalog.regclass then pg_catalog.pg_describe_object(d.classid, d.objid, 0) end
	left join pg_catalog.pg_database db on db.oid = nullif(coalesce(s.subdbid, d.dbid), d.this),
	pg_catalog.pg_identify_object(d.classid, case when d.dbid in (0, d.this) then d.objid end, 0) i
where d.deptype = 'o' and d.dbid in (0, d.this) and db.oid is null
	and d.classid not in ('pg_catalog.pg_default_acl'::pg_catalog.regclass, 'pg_catalog.pg_user_mapping'::pg_catalog.regclass, 'pg_catalog.pg_largeobject'::pg_catalog.regclass)
	and not (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and exists (
		select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = d.objid and n.nspname ~ '^pg_(toast_)?temp_'))
union all
select rolname, '', true, pg_catalog.count(*) || ' large objects', 'group', '', ''
from d where deptype = 'o' and dbid = this and classid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass group by 1
union all
select d.rolname, db.datname, pg_catalog.bool_or(d.deptype = 'o'), '', '', '',
	case when db.datconnlimit = -2 then 'invalid' when not db.datallowconn then 'closed'
		when db.datconnlimit = 0 and not (select me.rolsuper from pg_catalog.pg_roles me where me.rolname = current_user) then 'limited' else '' end
from d left join pg_catalog.pg_subscription s on d.classid = 'pg_catalog.pg_subscription'::pg_catalog.regclass and s.subowner = d.role
		and 'subscription ' || s.subname = case when d.classid = 'pg_catalog.pg_subscription'::pg_catalog.regclass then pg_catalog.pg_describe_object(d.classid, d.objid, 0) end
	join pg_catalog.pg_database db on db.oid = coalesce(s.subdbid, d.dbid)
where db.oid <> d.this group by 1, 2, 7
order by 1, 2, 3, 4`

const serverQuery = `
select pg_catalog.current_database(), r.rolsuper, r.rolcreatedb, r.rolname,
	(select count(*) from pg_catalog.pg_stat_activity a join pg_catalog.pg_roles p on p.oid = a.usesysid where p.rolname = $1 and coalesce(a.backend_type, 'client backend') in ('client backend', 'walsender')),
	array(select pg_catalog.format('%s in database %s', gid, database) from pg_catalog.pg_prepared_xacts where owner = $1 order by 1)
from pg_catalog.pg_roles r where r.rolname = current_user`

// ours are the login and the groups of a database, with the access of each.
func ours(login, database string) (names, asked []string) {
	names, asked = []string{login}, []string{""}
	for _, a := range accesses {
		names, asked = append(names, groupName(a, database)), append(asked, string(a))
	}
	return names, asked
}

// roleQueries read about the login and the groups of a database of that name,
// which is the session's own unless it is gone, all but what their rights are.
func (c *catalogue) roleQueries(login, database string, version int) *pgx.Batch {
	*c = catalogue{version: version, roles: map[string]*role{}, roleConfig: map[string]string{}}
	names, _ := ours(login, database)
	b := &pgx.Batch{}
	b.Queue(serverQuery, login).QueryRow(func(row pgx.Row) error {
		return row.Scan(&c.database, &c.super, &c.createDB, &c.admin, &c.sessions, &c.prepared)
	})
	b.Queue(fmt.Sprintf(roleQuery, administrationColumns(version)), names).Query(func(rows pgx.Rows) error {
		return each(rows, func() error {
			r, err := scanRole(rows)
			c.roles[r.name] = r
			return err
		})
	})
	options := "true, true, ''"
	if version >= 16 {
		options = "a.inherit_option, a.set_option, coalesce(b.rolname, '')"
	}
	b.Queue(fmt.Sprintf(memberQuery, options), names).Query(func(rows pgx.Rows) error {
		return each(rows, func() error {
			var m membership
			err := rows.Scan(&m.group, &m.member, &m.admin, &m.inherit, &m.set, &m.grantor, &m.comment, &m.servers)
			c.members = append(c.members, m)
			return err
		})
	})
	b.Queue(configQuery, login).Query(func(rows pgx.Rows) error {
		return each(rows, func() error {
			var database, role string
			err := rows.Scan(&database, &role)
			c.roleConfig[database] = role
			return err
		})
	})
	b.Queue(dependQuery, names).Query(func(rows pgx.Rows) error {
		return each(rows, func() error {
			var d dependency
			err := rows.Scan(&d.role, &d.database, &d.owns, &d.what, &d.place, &d.alter, &d.shut)
			c.depends = append(c.depends, d)
			return err
		})
	})
	return b
}

// queries read the same, and in what the rights differ from those that there
// should be. Groups of the accesses in needed are treated as if they were there.
func (c *catalogue) queries(r driver.LoginRequest, version int, needed []patchbay.Access) *pgx.Batch {
	b := c.roleQueries(r.Name, r.Sub, version)
	names, asked := ours(r.Name, r.Sub)
	// Large objects have default privileges since version 18.
	parameters, parameter, without := "", "", "array['d', 'L']"
	if version >= 15 {
		parameters, parameter = parameterObjects, parameterName
	}
	var wantAccess, wantKind, wantRight, neededNames []string
	for _, w := range wantedRights(version) {
		wantAccess, wantKind, wantRight = append(wantAccess, string(w.access)), append(wantKind, w.kind), append(wantRight, w.name)
	}
	for _, a := range needed {
		neededNames = append(neededNames, string(a))
	}
	if version >= 18 {
		without = "array['d']"
	}
	query := strings.NewReplacer("{parameters}", parameters, "{parameter}", parameter, "{without}", without).Replace(objectQuery)
	b.Queue(query, names, asked, neededNames, wantAccess, wantKind, wantRight, string(r.Access), maxLarge).Query(func(rows pgx.Rows) error {
		return each(rows, func() error {
			var d difference
			err := rows.Scan(&d.missing, &d.role, &d.kind, &d.object, &d.right, &d.detail, &d.grantable)
			c.differs = append(c.differs, d)
			return err
		})
	})
	return b
}

func scanRole(rows pgx.Rows) (*role, error) {
	r := &role{}
	return r, rows.Scan(&r.name, &r.oid, &r.flags, &r.inherit, &r.login, &r.shut, &r.comment, &r.usable, &r.administered, &r.remedy)
}

func each(rows pgx.Rows, f func() error) error {
	defer rows.Close()
	for rows.Next() {
		if err := f(); err != nil {
			return err
		}
	}
	return rows.Err()
}
