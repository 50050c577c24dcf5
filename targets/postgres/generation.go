package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// kin is another generation of a connection's login.
type kin struct {
	*role
	marked
	groups []string
}

const kinQuery = `
select r.rolname, r.oid, '{}'::text[], r.rolinherit, r.rolcanlogin, false, d.description, pg_catalog.pg_has_role(r.oid, 'USAGE'), %s,
	array(select g.rolname::text from pg_catalog.pg_auth_members a join pg_catalog.pg_roles g on g.oid = a.roleid where a.member = r.oid)
from pg_catalog.pg_shdescription d join pg_catalog.pg_roles r on r.oid = d.objoid
where d.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass and pg_catalog.starts_with(d.description, $1) and pg_catalog.strpos(d.description, $2) > 0`

// kin are the other generations of a login that are there, the newest first.
func (s *session) kin(ctx context.Context, r driver.LoginRequest) ([]kin, error) {
	rows, err := s.conn.Query(ctx, fmt.Sprintf(kinQuery, administrationColumns(s.version())), loginMark, r.Mark.UID)
	if err != nil {
		return nil, s.failed(ctx, "", err)
	}
	var all []kin
	err = each(rows, func() error {
		k := kin{role: &role{}}
		err := rows.Scan(&k.name, &k.oid, &k.flags, &k.inherit, &k.login, &k.shut, &k.comment, &k.usable, &k.administered, &k.remedy, &k.groups)
		var ok bool
		if k.marked, ok = parseLogin(k.comment); ok && k.UID == r.Mark.UID && k.Generation != r.Mark.Generation {
			all = append(all, k)
		}
		return err
	})
	slices.SortFunc(all, func(a, b kin) int { return int(b.Generation - a.Generation) })
	return all, s.failed(ctx, "", err)
}

// access is that of a login to its database, "" when it has none any more.
func (k kin) access() patchbay.Access {
	for _, a := range slices.Backward(accesses) {
		if slices.Contains(k.groups, groupName(a, k.Database)) {
			return a
		}
	}
	return ""
}

// follows reports whether a login of access to may have what one of access from
// made. What an owner's logins make is the owner role's already, and in their
// sessions they are that role and nobody else.
func follows(from, to patchbay.Access) bool {
	i, j := slices.Index(accesses, from), slices.Index(accesses, to)
	return i >= 0 && i <= j && from != patchbay.Owner && to != patchbay.Owner
}

// heir is the generation that gets what a login made when it goes, nil for none.
func (s *session) heir(ctx context.Context, c *catalogue, r driver.LoginRequest) (*kin, error) {
	all, err := s.kin(ctx, r)
	if err != nil || c.database != r.Sub {
		return nil, err
	}
	mine := kin{marked: marked{Database: r.Sub}}
	for _, m := range c.members {
		if m.member == r.Name {
			mine.groups = append(mine.groups, m.group)
		}
	}
	for _, k := range all {
		if k.Database == r.Sub && follows(mine.access(), k.access()) {
			return &k, nil
		}
	}
	return nil, nil
}

// elders are the generations before a login whose things it uses while they are
// there: it is a member of them.
func elders(all []kin, r driver.LoginRequest, super bool) (names []string) {
	for _, k := range all {
		if k.Database == r.Sub && k.Generation < r.Mark.Generation && follows(k.access(), r.Access) && (super || k.administered) {
			names = append(names, k.name)
		}
	}
	return names
}

// isElder reports whether m is a membership in an earlier generation of the login.
func (m membership) isElder(r driver.LoginRequest) bool {
	k, ok := parseLogin(m.comment)
	return ok && m.member == r.Name && k.UID == r.Mark.UID && k.Generation < r.Mark.Generation && !m.admin
}

// keepsake is something that a database's administrator gave to one login by name,
// and the statement that gives it to the next.
type keepsake struct {
	what, statement string
	// able says that the administrator may; fix what helps when it may not.
	able bool
	fix  string
}

// keepsakeQuery lists them, of the login $1 for the login $2. What they say they can't
// be read of stays in the server: a user mapping has a password.
const keepsakeQuery = `
with old as (
	select r.oid, r.rolname, r.rolconnlimit, r.rolvaliduntil, pg_catalog.quote_ident($2) as new, pg_catalog.quote_ident(me.rolname) as admin, me.rolsuper as super
	from pg_catalog.pg_roles r, pg_catalog.pg_roles me where r.rolname = $1 and me.rolname = current_user
)
select 1, 'its connection limit', pg_catalog.format('alter role %s connection limit %s', new, rolconnlimit), true, ''
from old where rolconnlimit > 0
union all
select 1, 'the date until which it is valid', pg_catalog.format('alter role %s valid until %L', new, rolvaliduntil), true, ''
from old where rolvaliduntil > pg_catalog.now() and rolvaliduntil <> 'infinity'
union all
select 2, pg_catalog.format('the row-level policy %I on %I.%I', p.polname, n.nspname, c.relname),
	pg_catalog.format('alter policy %I on %I.%I to %s, %s', p.polname, n.nspname, c.relname,
		(select pg_catalog.string_agg(case when m = 0 then 'public' else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(m)) end, ', ') from unnest(p.polroles) m), new),
	pg_catalog.pg_has_role(c.relowner, 'USAGE'),
	case when o.rolsuper then 'register a superuser as the administrator'
		else pg_catalog.format('GRANT %I TO %s', o.rolname, admin) || $4 end
from old, pg_catalog.pg_policy p join pg_catalog.pg_class c on c.oid = p.polrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
	join pg_catalog.pg_roles o on o.oid = c.relowner
where old.oid = any(p.polroles) and $3
union all
select 3, pg_catalog.format('the security label of %s', l.provider), pg_catalog.format('security label for %I on role %s is %L', l.provider, new, l.label), true, ''
from old join pg_catalog.pg_shseclabel l on l.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass and l.objoid = old.oid
union all
select 4, pg_catalog.format('the user mapping for server %I', m.srvname), pg_catalog.format($q$do $do$ begin
	execute (select pg_catalog.format('create user mapping for %%s server %%I', %L::text, srvname) || coalesce((
		select ' options (' || pg_catalog.string_agg(pg_catalog.format('%%I %%L', option_name, option_value), ', ') || ')' from pg_catalog.pg_options_to_table(umoptions)), '')
		from pg_catalog.pg_user_mappings where umid = %s);
	end $do$ $q$, new, m.umid), super,
	pg_catalog.format('register a superuser as the administrator, or: DROP USER MAPPING FOR %I SERVER %I', rolname, m.srvname)
from old join pg_catalog.pg_user_mappings m on m.umuser = old.oid and $3
union all
select 5, 'default privileges of what it makes',
	pg_catalog.format('alter default privileges for role %s%s %s', new, case when n.nspname is not null then pg_catalog.format(' in schema %I', n.nspname) end,
		case when a.given then 'grant ' else 'revoke ' end || a.privilege_type || ' on ' ||
		case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences' when 'f' then 'routines' when 'T' then 'types' when 'n' then 'schemas' else 'large objects' end ||
		case when a.given then ' to ' else ' from ' end ||
		case a.grantee when 0 then 'public' when old.oid then new else pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end ||
		case when a.given and a.is_grantable then ' with grant option' else '' end), true, ''
from old join pg_catalog.pg_default_acl d on d.defaclrole = old.oid and $3 left join pg_catalog.pg_namespace n on n.oid = d.defaclnamespace,
	lateral (select case when d.defaclnamespace = 0 then pg_catalog.acldefault(case d.defaclobjtype when 'S' then 's' else d.defaclobjtype end, old.oid) end as acl) b,
	lateral (
		select true as given, h.* from pg_catalog.aclexplode(d.defaclacl) h
		where not exists (select from pg_catalog.aclexplode(b.acl) w where (w.grantee, w.privilege_type, w.is_grantable) = (h.grantee, h.privilege_type, h.is_grantable))
		union all
		select false, w.* from pg_catalog.aclexplode(b.acl) w
		where not exists (select from pg_catalog.aclexplode(d.defaclacl) h where (h.grantee, h.privilege_type) = (w.grantee, w.privilege_type))) a
order by 1, 2, 3`

// settingQuery lists what ALTER ROLE … SET says of a login; as which role it works is
// not somebody else's to say.
const settingQuery = `
select coalesce(d.datname, ''), c
from pg_catalog.pg_db_role_setting s join pg_catalog.pg_roles r on r.oid = s.setrole left join pg_catalog.pg_database d on d.oid = s.setdatabase, unnest(s.setconfig) c
where r.rolname = $1 and c not like 'role=%' and (s.setdatabase = 0 or d.datname = $2)`

// keepsakes of a login for the one that follows it.
func (s *session) keepsakes(ctx context.Context, old kin, r driver.LoginRequest) ([]keepsake, error) {
	here := old.Database == r.Sub
	var all []keepsake
	b := &pgx.Batch{}
	inherit := ""
	if s.version() >= 16 { // before, there is no such option
		inherit = " WITH INHERIT TRUE"
	}
	b.Queue(keepsakeQuery, old.name, r.Name, here, inherit).Query(func(rows pgx.Rows) error {
		return each(rows, func() error {
			var k keepsake
			var order int
			err := rows.Scan(&order, &k.what, &k.statement, &k.able, &k.fix)
			all = append(all, k)
			return err
		})
	})
	b.Queue(settingQuery, old.name, r.Sub).Query(func(rows pgx.Rows) error {
		return each(rows, func() error {
			var database, setting string
			err := rows.Scan(&database, &setting)
			name, value, _ := strings.Cut(setting, "=")
			in := ""
			if database != "" {
				in = " in database " + ident(database)
			}
			all = append(all, keepsake{
				what: "its setting " + name, able: true, fix: s.mayNotSet(name),
				statement: fmt.Sprintf("alter role %s%s set %s = %s", ident(r.Name), in, settingName(name), settingValue(name, value)),
			})
			return err
		})
	})
	return all, s.failed(ctx, "", s.conn.SendBatch(ctx, b).Close())
}

// mayNotSet is what helps when the server does not let the administrator give a
// parameter.
func (s *session) mayNotSet(name string) string {
	if s.version() < 15 {
		return "register a superuser as the administrator"
	}
	return fmt.Sprintf("GRANT SET ON PARAMETER %s TO %s", settingName(name), ident(s.t.settings.Admin.Username))
}

// settingName quotes each part of a parameter's name.
func settingName(name string) string {
	return pgx.Identifier(strings.Split(name, ".")).Sanitize()
}

// listSettings are the parameters that hold a list of names: PostgreSQL keeps such a
// list as one text, and as one text it would be one name.
var listSettings = []string{"search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries", "shared_preload_libraries", "unix_socket_directories"}

// settingValue writes a value as ALTER ROLE … SET takes it.
func settingValue(name, value string) string {
	if !slices.Contains(listSettings, strings.ToLower(name)) {
		return literal(value)
	}
	var names []string
	for rest := value; ; {
		rest = strings.TrimLeft(rest, " \t\n\r\f\v,")
		if rest == "" {
			break
		}
		var one string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			var b strings.Builder
			for {
				before, after, found := strings.Cut(quoted, `"`)
				b.WriteString(before)
				quoted = after
				if again, ok := strings.CutPrefix(after, `"`); found && ok {
					b.WriteByte('"')
					quoted = again
					continue
				}
				break
			}
			one, rest = b.String(), quoted
		} else {
			one, rest, _ = strings.Cut(rest, ",")
			one = strings.TrimSpace(one)
		}
		names = append(names, literal(one))
	}
	if len(names) == 0 {
		return "''"
	}
	return strings.Join(names, ", ")
}

// inherit gives a login that was just made what was given by name to the generation
// before it. What can't be given ends the making: an application that sees no
// rows, or none but all of them, would be told of by nobody.
func (s *session) inherit(ctx context.Context, c *catalogue, all []kin, r driver.LoginRequest) error {
	if len(all) == 0 {
		return nil
	}
	old := all[0]
	given, err := s.keepsakes(ctx, old, r)
	if err != nil {
		return err
	}
	lacks := func(k keepsake) *patchbay.Error {
		fix := k.fix
		if fix == "" {
			fix = "register a superuser as the administrator, or take it from " + old.name
		}
		return patchbay.Errorf(patchbay.AdminRights, "the administrator %q can't give %s what %s has: %s", c.admin, r.Name, old.name, driver.Quoted(k.what)).WithFix("%s", driver.Quoted(fix))
	}
	var b script
	b.join(c, r.Name)
	for _, k := range given {
		if !k.able {
			return lacks(k)
		}
		b.add("%s", k.statement)
		err := s.exec(ctx, b.String())
		b = script{}
		if e := patchbay.AsError(err); err != nil && (e.Code == patchbay.AdminRights || e.Code == patchbay.Internal) {
			return lacks(k).WithSaid(e.Said)
		} else if err != nil {
			return err
		}
	}
	return nil
}
