package postgres

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay"
)

// role is a row of pg_roles, with its comment.
type role struct {
	name    string
	oid     uint32
	flags   []string // attributes that no role of ours has, as ALTER ROLE names them
	inherit bool
	login   bool
	limited bool // by a connection limit or an expiry
	comment string
	usable  bool // the administrator has its privileges
}

// membership is a row of pg_auth_members.
type membership struct {
	group, member, grantor string // grantor since 16
	admin, inherit, set    bool
}

// difference is a right that a group role lacks, or that a role of ours has
// without being entitled to it.
type difference struct {
	missing   bool
	role      string
	kind      string
	object    string // quoted
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
	s += " on " + kindWords[d.kind] + " " + d.object
	if d.grantable {
		s += " with grant option"
	}
	return s
}

// dependency is something that refers to a role of ours.
type dependency struct {
	role     string
	database string // another one than this; "" for this one and for shared objects
	owns     bool   // it owns the thing; else it has a right on it
	what     string
	shut     string // why nobody can sign in to that other database (a key of shuts), or not we
	// reserved names it in ALTER … OWNER when only a superuser may own it.
	reserved string
}

// catalogue is what one database knows of a login and the group roles.
type catalogue struct {
	database   string
	version    int // major
	super      bool
	admin      string
	roles      map[string]*role
	members    []membership
	roleConfig map[string]string // database -> the role that the login works as there; "" for all
	differs    []difference
	depends    []dependency
	prepared   []string // transactions of the login
	sessions   int
}

// The object query lists what may have rights: those in scope, on which the
// groups' rights are, and whatever else has an access list. Extensions and
// system schemas are out of scope: their authors gave their own rights.
const objectQuery = `
with roles as materialized (
	select g.name, g.access, r.oid
	from unnest($1::text[], $2::text[]) g(name, access) left join pg_catalog.pg_roles r on r.rolname = g.name
	where r.oid is not null or g.access = any($3::text[])
), want(access, kind, priv) as (
	select * from unnest($4::text[], $5::text[], $6::text[])
), extension as materialized (
	select classid, objid from pg_catalog.pg_depend where deptype = 'e'
), ns as materialized (
	select n.oid, n.nspname, n.nspowner, n.nspacl,
		n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
		and not exists (select from extension e where e.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass and e.objid = n.oid) as scope
	from pg_catalog.pg_namespace n
), obj(kind, id, sub, ident, detail, owner, acl, scope) as materialized (
	select 'd', oid, 0, pg_catalog.quote_ident(datname), '', datdba, datacl, datname = pg_catalog.current_database()
	from pg_catalog.pg_database where datname = pg_catalog.current_database() or datacl is not null
	union all
	select 'n', oid, 0, pg_catalog.quote_ident(nspname), '', nspowner, nspacl, scope from ns where scope or nspacl is not null
	union all
	select case when c.relkind = 'S' then 's' else 't' end, c.oid, 0, pg_catalog.format('%I.%I', n.nspname, c.relname), '', c.relowner, c.relacl,
		n.scope and not exists (select from extension e where e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and e.objid = c.oid)
	from pg_catalog.pg_class c join ns n on n.oid = c.relnamespace
	where c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and (n.scope or c.relacl is not null)
	union all
	select 'f', p.oid, 0, p.oid::pg_catalog.regprocedure::text, '', p.proowner, p.proacl,
		n.scope and not exists (select from extension e where e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass and e.objid = p.oid)
	from pg_catalog.pg_proc p join ns n on n.oid = p.pronamespace where n.scope or p.proacl is not null
	union all
	select 'c', a.attrelid, a.attnum, pg_catalog.format('%I.%I', n.nspname, c.relname), pg_catalog.quote_ident(a.attname), c.relowner, a.attacl, false
	from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
	where a.attacl is not null and not a.attisdropped
	union all
	select 'T', oid, 0, oid::pg_catalog.regtype::text, '', typowner, typacl, false from pg_catalog.pg_type where typacl is not null
	union all
	select 'l', oid, 0, pg_catalog.quote_ident(lanname), '', lanowner, lanacl, false from pg_catalog.pg_language where lanacl is not null
	union all
	select 'L', oid, 0, oid::text, '', lomowner, lomacl, false from pg_catalog.pg_largeobject_metadata where lomacl is not null
	union all
	select 'F', oid, 0, pg_catalog.quote_ident(fdwname), '', fdwowner, fdwacl, false from pg_catalog.pg_foreign_data_wrapper where fdwacl is not null
	union all
	select 'S', oid, 0, pg_catalog.quote_ident(srvname), '', srvowner, srvacl, false from pg_catalog.pg_foreign_server where srvacl is not null
	union all
	select 'b', oid, 0, pg_catalog.quote_ident(spcname), '', spcowner, spcacl, false from pg_catalog.pg_tablespace where spcacl is not null
	{parameters}
), have as materialized (
	select o.kind, o.id, o.sub, o.ident, o.detail, o.owner, o.scope, r.name, r.access, a.privilege_type as priv, a.is_grantable
	from obj o, pg_catalog.aclexplode(o.acl) a join roles r on r.oid = a.grantee
	where o.acl is not null and o.owner <> a.grantee
), maker as materialized (
	-- Whose future objects the groups have rights on.
	select r.oid, r.rolname as name from pg_catalog.pg_roles r
	where r.rolname !~ '^pg_' and pg_catalog.pg_has_role(r.oid, 'USAGE')
		and coalesce(pg_catalog.shobj_description(r.oid, 'pg_authid'), '') !~ '^patchbay '
		and r.oid in (
			select owner from obj where scope
			union
			select a.grantee from obj o, pg_catalog.aclexplode(o.acl) a where o.kind = 'n' and o.scope and o.acl is not null and a.privilege_type = 'CREATE')
	union all
	select oid, name from roles where access = 'owner'
), defaults as materialized (
	select 'd' || case d.defaclobjtype when 'r' then 't' when 'S' then 's' else d.defaclobjtype::text end as kind, d.defaclrole as id,
		o.rolname as owner, coalesce(n.nspname, '') as schema, r.name, r.access, a.privilege_type as priv, a.is_grantable
	from pg_catalog.pg_default_acl d join pg_catalog.pg_roles o on o.oid = d.defaclrole
		left join pg_catalog.pg_namespace n on n.oid = d.defaclnamespace,
		pg_catalog.aclexplode(d.defaclacl) a join roles r on r.oid = a.grantee
	where a.grantee <> d.defaclrole
)
select true, r.name, o.kind, o.ident, w.priv, '', false
from roles r join want w on w.access = r.access join obj o on o.kind = w.kind and o.scope
where o.owner is distinct from r.oid
	and not exists (select from have h where h.name = r.name and h.kind = o.kind and h.id = o.id and h.priv = w.priv)
union all
select true, r.name, 'd' || w.kind, pg_catalog.quote_ident(m.name), w.priv, '', false
from roles r join want w on w.access = r.access and w.kind <> 'd' cross join maker m
where m.name <> r.name
	and not exists (select from defaults h where h.name = r.name and h.kind = 'd' || w.kind and h.owner = m.name and h.schema = '' and h.priv = w.priv)
union all
select false, h.name, h.kind, h.ident, h.priv, h.detail, h.wanted
from (select *, scope and exists (select from want w where w.access = have.access and w.kind = have.kind and w.priv = have.priv) as wanted from have) h
where not h.wanted or h.is_grantable
union all
select false, h.name, h.kind, pg_catalog.quote_ident(h.owner), h.priv, case when h.schema = '' then '' else pg_catalog.quote_ident(h.schema) end, h.wanted
from (select *, schema = '' and exists (select from want w where w.access = defaults.access and 'd' || w.kind = defaults.kind and w.priv = defaults.priv) as wanted from defaults) h
where not h.wanted or h.is_grantable
order by 1, 2, 3, 4, 5`

// parameterObjects are there since version 15.
const parameterObjects = `union all
	select 'P', oid, 0, pg_catalog.quote_ident(parname), '', 10, paracl, false from pg_catalog.pg_parameter_acl where paracl is not null`

const roleQuery = `
select r.rolname, r.oid,
	pg_catalog.array_remove(array[case when r.rolsuper then 'SUPERUSER' end, case when r.rolcreatedb then 'CREATEDB' end,
		case when r.rolcreaterole then 'CREATEROLE' end, case when r.rolreplication then 'REPLICATION' end,
		case when r.rolbypassrls then 'BYPASSRLS' end], null),
	r.rolinherit, r.rolcanlogin, r.rolconnlimit <> -1 or coalesce(r.rolvaliduntil, 'infinity') <> 'infinity',
	coalesce(pg_catalog.shobj_description(r.oid, 'pg_authid'), ''), pg_catalog.pg_has_role(r.oid, 'USAGE')
from pg_catalog.pg_roles r where r.rolname = any($1)`

const memberQuery = `
select g.rolname, m.rolname, a.admin_option, %s
from pg_catalog.pg_auth_members a join pg_catalog.pg_roles g on g.oid = a.roleid join pg_catalog.pg_roles m on m.oid = a.member
	left join pg_catalog.pg_roles b on b.oid = a.grantor
where g.rolname = any($1) or m.rolname = any($1)
order by 1, 2`

const configQuery = `
select coalesce(d.datname, ''), pg_catalog.substr(c, 6)
from pg_catalog.pg_db_role_setting s join pg_catalog.pg_roles r on r.oid = s.setrole left join pg_catalog.pg_database d on d.oid = s.setdatabase,
	unnest(s.setconfig) c
where r.rolname = $1 and c like 'role=%'`

// Default privileges count as owned in the catalogue; they are none. Temporary
// objects go with their session.
const dependQuery = `
select r.rolname, case when d.dbid in (0, this.oid) then '' else db.datname end, d.deptype = 'o',
	case when d.dbid in (0, this.oid) then coalesce(pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid), '') else '' end,
	case when d.dbid <> this.oid then ''
		when d.classid = 'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass then 'foreign data wrapper ' || (select pg_catalog.quote_ident(fdwname) from pg_catalog.pg_foreign_data_wrapper where oid = d.objid)
		when d.classid = 'pg_catalog.pg_event_trigger'::pg_catalog.regclass then 'event trigger ' || (select pg_catalog.quote_ident(evtname) from pg_catalog.pg_event_trigger where oid = d.objid)
		else '' end,
	case when d.dbid in (0, this.oid) then '' when db.datconnlimit = -2 then 'invalid' when not db.datallowconn then 'closed'
		when db.datconnlimit = 0 and not (select me.rolsuper from pg_catalog.pg_roles me where me.rolname = current_user) then 'limited' else '' end
from pg_catalog.pg_shdepend d join pg_catalog.pg_roles r on r.oid = d.refobjid
	join pg_catalog.pg_database this on this.datname = pg_catalog.current_database()
	left join pg_catalog.pg_database db on db.oid = d.dbid
where d.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass and r.rolname = any($1)
	and (d.deptype = 'o' or d.deptype = 'a' and d.dbid not in (0, this.oid))
	and d.classid <> 'pg_catalog.pg_default_acl'::pg_catalog.regclass
	and (d.dbid = 0 or db.oid is not null)
	and not (d.dbid = this.oid and d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and exists (
		select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = d.objid and n.nspname ~ '^pg_(toast_)?temp_'))
group by 1, 2, 3, 4, 5, 6
order by 1, 2, 3, 4`

const serverQuery = `
select pg_catalog.current_database(), r.rolsuper, r.rolname,
	(select count(*) from pg_catalog.pg_stat_activity a join pg_catalog.pg_roles p on p.oid = a.usesysid where p.rolname = $1 and coalesce(a.backend_type, 'client backend') in ('client backend', 'walsender')),
	array(select pg_catalog.format('%s in database %s', gid, database) from pg_catalog.pg_prepared_xacts where owner = $1 order by 1)
from pg_catalog.pg_roles r where r.rolname = current_user`

// queries read everything about the login and the groups of a database of
// that name, which is the session's own unless it is gone. Groups of the
// accesses in needed are treated as if they were there.
func (c *catalogue) queries(login, database string, version int, needed []patchbay.Access) *pgx.Batch {
	*c = catalogue{version: version, roles: map[string]*role{}, roleConfig: map[string]string{}}
	names := []string{login}
	asked := []string{""}
	for _, a := range accesses {
		names = append(names, groupName(a, database))
		asked = append(asked, string(a))
	}
	b := &pgx.Batch{}
	b.Queue(serverQuery, login).QueryRow(func(row pgx.Row) error {
		return row.Scan(&c.database, &c.super, &c.admin, &c.sessions, &c.prepared)
	})
	b.Queue(roleQuery, names).Query(func(rows pgx.Rows) error {
		return each(rows, func() error {
			r := &role{}
			err := rows.Scan(&r.name, &r.oid, &r.flags, &r.inherit, &r.login, &r.limited, &r.comment, &r.usable)
			c.roles[r.name] = r
			return err
		})
	})
	options := "true, true, ''"
	parameters := ""
	if version >= 16 {
		options = "a.inherit_option, a.set_option, coalesce(b.rolname, '')"
	}
	if version >= 15 {
		parameters = parameterObjects
	}
	b.Queue(fmt.Sprintf(memberQuery, options), names).Query(func(rows pgx.Rows) error {
		return each(rows, func() error {
			var m membership
			err := rows.Scan(&m.group, &m.member, &m.admin, &m.inherit, &m.set, &m.grantor)
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
			err := rows.Scan(&d.role, &d.database, &d.owns, &d.what, &d.reserved, &d.shut)
			c.depends = append(c.depends, d)
			return err
		})
	})
	var wantAccess, wantKind, wantRight, neededNames []string
	for _, w := range wantedRights(version) {
		wantAccess, wantKind, wantRight = append(wantAccess, string(w.access)), append(wantKind, w.kind), append(wantRight, w.name)
	}
	for _, a := range needed {
		neededNames = append(neededNames, string(a))
	}
	b.Queue(strings.Replace(objectQuery, "{parameters}", parameters, 1), names, asked, neededNames, wantAccess, wantKind, wantRight).Query(func(rows pgx.Rows) error {
		return each(rows, func() error {
			var d difference
			err := rows.Scan(&d.missing, &d.role, &d.kind, &d.object, &d.right, &d.detail, &d.grantable)
			c.differs = append(c.differs, d)
			return err
		})
	})
	return b
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
