package mysql

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// MariaDB keeps nothing beside an account that we could say. The marks are in a table,
// each bound to its account by a grant that the account has no use for: it goes with the
// account, whoever drops it. An account that has not got its grant yet is known by what
// it signs in with, of which the mark has a digest.
const (
	markSchema  = "patchbay"
	markTable   = "logins"
	markComment = "Patchbay: who the accounts are whose names begin with pb_; do not edit"
)

func markPlace() string { return ident(markSchema) + "." + ident(markTable) }

// accountsMariaDB is where accounts stand.
func (s *session) accountsMariaDB(found *state) []asked {
	return []asked{{"User, Host, Priv", "mysql.global_priv", "User", func(row map[string]string) error {
		var p struct {
			Access  uint64            `json:"access"`
			Plugin  string            `json:"plugin"`
			Kept    string            `json:"authentication_string"`
			Others  []json.RawMessage `json:"auth_or"`
			Locked  bool              `json:"account_locked"`
			SSL     int               `json:"ssl_type"`
			Default string            `json:"default_role"`
			Changed *int64            `json:"password_last_changed"`
		}
		if err := json.Unmarshal([]byte(row["priv"]), &p); err != nil {
			return s.misbehaved()
		}
		a := &accountState{host: row["host"], plugin: p.Plugin, locked: p.Locked, proof: proof(p.Kept), expired: p.Changed != nil && *p.Changed == 0}
		// What was the first way stands there as {}, also when it is the only one left.
		a.another = slices.ContainsFunc(p.Others, func(o json.RawMessage) bool { return string(o) != "{}" })
		if p.SSL > 0 {
			a.ssl = cmp.Or(map[int]string{1: "ANY", 2: "X509"}[p.SSL], "SPECIFIED")
		}
		if p.Access != 0 {
			a.add("*.*", "global rights")
		}
		if p.Default != "" {
			a.defaults = []string{p.Default}
		}
		found.accounts = append(found.accounts, a)
		return nil
	}}}
}

// kept is a mark as the table has it.
type kept struct {
	mark
	proof string
}

const markColumns = "user, host, kind, name, uid, generation, connection, db, proof"

func markQuery(name string) string {
	return "select " + markColumns + " from " + markPlace() + " where user = " + literal(name)
}

// bindMarks gives the accounts the marks that are theirs.
func (s *state) bindMarks(rows []map[string]string) {
	s.marks = map[string]*mark{}
	for _, row := range rows {
		k := keptOf(row)
		s.marks[row["host"]] = &k.mark
		if a := s.at(row["host"]); a != nil && (a.bound || a.proof == k.proof) {
			a.mark = &k.mark
		}
	}
}

func keptOf(row map[string]string) *kept {
	return &kept{mark{driver.Mark{UID: row["uid"], Generation: number(row["generation"]), Connection: patchbay.ID(row["connection"])},
		row["kind"], row["name"], row["db"]}, row["proof"]}
}

func markTableQuery() string {
	return "select table_type, table_comment from information_schema.tables where table_schema = " + literal(markSchema) + " and table_name = " + literal(markTable)
}

// ourTable says whether there is a table of marks. One that is not ours is NotOurs.
func (s *session) ourTable(a answer) (bool, error) {
	if len(a.rows) == 0 {
		return false, nil
	}
	if a.rows[0][0] != "BASE TABLE" || a.rows[0][1] != markComment {
		return false, patchbay.Errorf(patchbay.NotOurs, "%s has a table %s.%s that is not Patchbay's, which keeps there who its logins are", s.server.address(), markSchema, markTable).
			WithFix("rename it: RENAME TABLE %s TO %s.%s", markPlace(), ident(markSchema), ident(markTable+"_before"))
	}
	return true, nil
}

// makeMarkTable makes it.
func (s *session) makeMarkTable(ctx context.Context) error {
	schema, err := s.database(ctx, markSchema)
	if err != nil {
		return err
	}
	if schema == "" {
		if err := s.exec(ctx, "create database if not exists %s character set utf8mb4 collate utf8mb4_bin", ident(markSchema)); err != nil {
			return err
		}
	}
	return s.exec(ctx, `create table if not exists %s (user varchar(80) not null, host varchar(64) not null, kind varchar(20) not null, name varchar(80) not null,
		uid varchar(80) not null, generation bigint not null, connection text not null, db varchar(64) not null, proof char(64) not null, primary key (user, host), key (db, kind)
		) engine = InnoDB character set utf8mb4 collate utf8mb4_bin comment = %s`, markPlace(), literal(markComment))
}

// putMark writes the mark of an account, before the account is made.
func (s *session) putMark(ctx context.Context, user, host string, m mark, proof string) error {
	values := []string{user, host, m.Kind, m.Name, m.UID, fmt.Sprint(m.Generation), string(m.Connection), m.Database, proof}
	for i, v := range values {
		values[i] = literal(v)
	}
	return s.exec(ctx, "replace into %s (%s) values (%s)", markPlace(), markColumns, strings.Join(values, ", "))
}

// bind gives an account the grant that belongs to its mark.
func (s *session) bind(ctx context.Context, user, host string) error {
	return s.exec(ctx, "grant references (user) on %s to %s", markPlace(), at(user, host))
}

// isBinding reports whether a right on columns is the grant that belongs to a mark.
func isBinding(database, table, right string) bool {
	return database == markSchema && table == markTable && strings.EqualFold(right, "References")
}

// dropMark forgets the mark of an account that is not there any more.
func (s *session) dropMark(ctx context.Context, user, host string) error {
	return s.exec(ctx, "delete from %s where user = %s and host = %s", markPlace(), literal(user), literal(host))
}

// markedMariaDB lists the accounts of that kind that bear a mark: those of which the
// account is there, and is the one that was marked. database may be "".
func (s *session) markedMariaDB(ctx context.Context, kind, database string) ([]marked, error) {
	where := " and l.kind = " + literal(kind)
	if database != "" {
		where += " and l.db = " + literal(database)
	}
	all, err := s.ask(ctx, markTableQuery(), `select l.user, l.host, l.kind, l.name, l.uid, l.generation, l.connection, l.db, l.proof
		from `+markPlace()+` l join mysql.global_priv g on cast(g.User as binary) = cast(l.user as binary) and cast(g.Host as binary) = cast(l.host as binary)
		left join mysql.tables_priv p on p.User = g.User and p.Host = g.Host and p.Db = `+literal(markSchema)+` and p.Table_name = `+literal(markTable)+` and find_in_set('References', p.Column_priv)
		where (p.User is not null or sha2(json_value(g.Priv, '$.authentication_string'), 256) = l.proof)`+where+` order by 1, 2`)
	if len(all) > 0 {
		if there, ours := s.ourTable(all[0]); !there {
			return nil, ours
		}
	}
	if err != nil || len(all) < 2 {
		return nil, err
	}
	var found []marked
	for _, row := range all[1].rows {
		m := map[string]string{}
		for i, c := range all[1].columns {
			m[c] = row[i]
		}
		found = append(found, marked{m["user"], m["host"], keptOf(m).mark})
	}
	return found, nil
}
