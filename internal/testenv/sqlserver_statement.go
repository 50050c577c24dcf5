package testenv

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// sqlToken is a piece of a statement: w a word, s a string, i a name in brackets, n a
// number, x one in hexadecimal, v a variable, or a sign.
type sqlToken struct {
	kind byte
	text string
}

func (t sqlToken) String() string {
	switch t.kind {
	case 's', 'x':
		return "?"
	case 'w':
		return strings.ToLower(t.text)
	case 'i':
		return "[" + t.text + "]"
	}
	return t.text
}

func sqlTokens(text string) ([]sqlToken, error) {
	var all []sqlToken
	r := []rune(text)
	// until reads to an end that is not doubled.
	until := func(at int, end rune) (string, int, error) {
		var b strings.Builder
		for ; at < len(r); at++ {
			if r[at] == end {
				if at+1 == len(r) || r[at+1] != end {
					return b.String(), at + 1, nil
				}
				at++
			}
			b.WriteRune(r[at])
		}
		return "", 0, fmt.Errorf("%w: %c without an end", errUnknown, end)
	}
	for at := 0; at < len(r); {
		c := r[at]
		from := at
		var err error
		switch {
		case unicode.IsSpace(c):
			at++
		case c == '\'' || (c == 'N' || c == 'n') && at+1 < len(r) && r[at+1] == '\'':
			if c != '\'' {
				at++
			}
			var s string
			if s, at, err = until(at+1, '\''); err != nil {
				return nil, err
			}
			all = append(all, sqlToken{'s', s})
		case c == '[':
			var s string
			if s, at, err = until(at+1, ']'); err != nil {
				return nil, err
			}
			all = append(all, sqlToken{'i', s})
		case unicode.IsLetter(c) || c == '_' || c == '@' || unicode.IsDigit(c):
			for at < len(r) && (unicode.IsLetter(r[at]) || unicode.IsDigit(r[at]) || strings.ContainsRune("_@$#", r[at])) {
				at++
			}
			word := string(r[from:at])
			kind := byte('w')
			switch {
			case c == '@':
				kind = 'v'
			case strings.HasPrefix(word, "0x"):
				kind = 'x'
			case unicode.IsDigit(c):
				kind = 'n'
			}
			all = append(all, sqlToken{kind, word})
		case c == ';':
			at++
			all = append(all, sqlToken{';', ";"})
		default:
			at++
			all = append(all, sqlToken{'p', string(c)})
		}
	}
	return all, nil
}

// sqlRun runs the statements of a batch.
type sqlRun struct {
	server    *SQLServer
	as        *sqlSession
	rest      []sqlToken // of the statement
	variables map[string]string
}

// accept takes words and signs when they come next.
func (q *sqlRun) accept(words ...string) bool {
	if len(q.rest) < len(words) {
		return false
	}
	for i, w := range words {
		if t := q.rest[i]; t.kind != 'w' && t.kind != 'p' && t.kind != 'v' || !strings.EqualFold(t.text, w) {
			return false
		}
	}
	q.rest = q.rest[len(words):]
	return true
}

// name takes a name.
func (q *sqlRun) name() (string, bool) {
	if len(q.rest) == 0 || q.rest[0].kind != 'w' && q.rest[0].kind != 'i' {
		return "", false
	}
	t := q.rest[0]
	q.rest = q.rest[1:]
	return t.text, true
}

// value takes a string, a number or a variable.
func (q *sqlRun) value() (string, bool) {
	if len(q.rest) == 0 {
		return "", false
	}
	t := q.rest[0]
	switch t.kind {
	case 's', 'n', 'x':
	case 'v':
		v, ok := q.variables[t.text]
		if !ok {
			return "", false
		}
		t.text = v
	default:
		return "", false
	}
	q.rest = q.rest[1:]
	return t.text, true
}

func (q *sqlRun) skip() { q.rest = nil }

func (q *sqlRun) unknown() error {
	var words []string
	for _, t := range q.rest {
		words = append(words, t.String())
	}
	return fmt.Errorf("%w: %s", errUnknown, strings.Join(words, " "))
}

// thing takes [schema].[name] or name, of dbo then.
func (q *sqlRun) thing() (*sqlThing, bool) {
	name, ok := q.name()
	if !ok {
		return nil, false
	}
	schema := "dbo"
	if q.accept(".") {
		schema = name
		if name, ok = q.name(); !ok {
			return nil, false
		}
	}
	return &sqlThing{schema: schema, name: name}, true
}

func (d *sqlDatabase) object(t *sqlThing) *sqlThing {
	for _, o := range d.objects {
		if strings.EqualFold(o.schema, t.schema) && strings.EqualFold(o.name, t.name) {
			return o
		}
	}
	return nil
}

func one(values ...any) *rowSet { return &rowSet{columns: len(values), rows: [][]any{values}} }

var procedure = []*rowSet{nil} // what a procedure gives

// statement runs one.
func (q *sqlRun) statement() ([]*rowSet, error) {
	switch {
	case q.accept("set"):
		q.skip()
		return nil, nil
	case q.accept("use"): // which some libraries say of the database that they are in
		name, ok := q.name()
		if !ok || q.as.database == nil || !strings.EqualFold(name, q.as.database.name) {
			return nil, q.unknown()
		}
		return nil, nil
	case q.accept("declare"):
		return nil, q.declare()
	case q.accept("execute", "as", "user", "="):
		name, _ := q.value()
		if !q.server.may(q.as, "CONTROL", nil) {
			return nil, refused(15517, "Cannot execute as the database principal because the principal \"%s\" does not exist, this type of principal cannot be impersonated, or you do not have permission.", name)
		}
		return nil, q.unknown()
	case q.accept("exec"), q.accept("execute"):
		return q.execute()
	case q.accept("create"):
		return nil, q.writes(q.create)
	case q.accept("alter"):
		return nil, q.writes(q.alter)
	case q.accept("drop"):
		return nil, q.writes(q.drop)
	case q.accept("grant"):
		return nil, q.writes(func() error { return q.grant("grant") })
	case q.accept("deny"):
		return nil, q.writes(func() error { return q.grant("deny") })
	case q.accept("revoke"):
		return nil, q.writes(func() error { return q.grant("revoke") })
	case q.accept("kill"):
		return nil, q.kill()
	case q.accept("insert", "into"):
		return nil, q.touch("INSERT")
	case q.accept("update"):
		return nil, q.touch("UPDATE")
	case q.accept("delete", "from"):
		return nil, q.touch("DELETE")
	case q.accept("backup", "database"):
		if !q.server.may(q.as, "BACKUP DATABASE", nil) {
			return nil, refused(262, "BACKUP DATABASE permission denied in database '%s'.", q.as.database.name)
		}
		return nil, q.unknown()
	}
	if len(q.rest) > 0 && strings.EqualFold(q.rest[0].text, "select") {
		return q.selects()
	}
	return nil, q.unknown()
}

// writes is for what changes a database.
func (q *sqlRun) writes(f func() error) error {
	if d := q.as.database; d != nil && d.readOnly {
		return refused(3906, "Failed to update database \"%s\" because the database is read-only.", d.name)
	}
	return f()
}

func (q *sqlRun) declare() error {
	if len(q.rest) == 0 || q.rest[0].kind != 'v' {
		return q.unknown()
	}
	name := q.rest[0].text
	q.rest = q.rest[1:]
	q.variables[name] = ""
	if q.accept("int") {
		return nil
	}
	if !q.accept("nvarchar", "(") {
		return q.unknown()
	}
	q.rest = q.rest[1:]
	if !q.accept(")", "=") {
		return q.unknown()
	}
	text, ok := q.value()
	if !ok || !q.accept("+", "(") {
		return q.unknown()
	}
	q.rest = q.rest[:len(q.rest)-1]
	sets, err := q.selects()
	if err != nil {
		return err
	}
	if len(sets[0].rows) == 1 {
		q.variables[name] = text + fmt.Sprint(sets[0].rows[0][0])
	}
	return nil
}

// arguments are those of a procedure, by name.
func (q *sqlRun) arguments() (map[string]string, error) {
	all := map[string]string{}
	for len(q.rest) > 0 {
		name := q.rest[0].text
		if q.rest[0].kind != 'v' {
			return nil, q.unknown()
		}
		q.rest = q.rest[1:]
		if !q.accept("=") {
			return nil, q.unknown()
		}
		value, ok := q.value()
		if !ok {
			return nil, q.unknown()
		}
		all[name] = value
		if !q.accept(",") && len(q.rest) > 0 {
			return nil, q.unknown()
		}
	}
	return all, nil
}

func (q *sqlRun) execute() ([]*rowSet, error) {
	result := ""
	if len(q.rest) > 2 && q.rest[0].kind == 'v' && q.rest[1].text == "=" {
		result = q.rest[0].text
		q.rest = q.rest[2:]
	}
	if q.accept("master", ".", "sys", ".", "sp_executesql") {
		text, ok := q.value()
		if !ok {
			return nil, q.unknown()
		}
		there := *q.as
		there.database, there.user = nil, nil
		_, err := q.server.batch(&there, text)
		return procedure, err
	}
	if !q.accept("sys", ".") {
		on, ok := q.thing()
		if !ok || len(q.rest) > 0 {
			return nil, q.unknown()
		}
		o := q.as.database.object(on)
		if o == nil {
			return nil, refused(2812, "Could not find stored procedure '%s'.", on.name)
		}
		if !q.server.may(q.as, "EXECUTE", o) {
			return nil, refused(229, "The EXECUTE permission was denied on the object '%s'", o.name)
		}
		return procedure, nil
	}
	name, _ := q.name()
	a, err := q.arguments()
	if err != nil {
		return nil, err
	}
	d := q.as.database
	if d == nil {
		return nil, q.unknown()
	}
	switch name {
	case "sp_getapplock":
		q.variables[result] = strconv.Itoa(q.lock(a))
		return procedure, nil
	case "sp_releaseapplock":
		if d.locks[a["@Resource"]] != q.as {
			return nil, refused(1223, "Cannot release the application lock because it is not currently held.")
		}
		delete(d.locks, a["@Resource"])
		q.server.changed.Broadcast()
		return procedure, nil
	case "sp_addextendedproperty", "sp_updateextendedproperty":
		if d.readOnly {
			return nil, refused(3906, "Failed to update database \"%s\" because the database is read-only.", d.name)
		}
		p := d.principal(a["@level0name"])
		if p == nil || a["@level0type"] != "USER" || a["@name"] != "patchbay" {
			return nil, refused(15135, "Object is invalid. Extended properties are not permitted on '%s', or the object does not exist.", a["@level0name"])
		}
		if !q.server.may(q.as, "ALTER ANY USER", nil) {
			return nil, refused(15247, "User does not have permission to perform this action.")
		}
		if add := name == "sp_addextendedproperty"; add == p.marked {
			return nil, refused(map[bool]int{true: 15233, false: 15217}[add], "Property cannot be added or updated.")
		}
		p.mark, p.marked = a["@value"], true
		return procedure, nil
	}
	return nil, fmt.Errorf("%w: the procedure %s", errUnknown, name)
}

// lock waits for an application's lock.
func (q *sqlRun) lock(a map[string]string) int {
	d, s := q.as.database, q.server
	if a["@LockOwner"] != "Session" || a["@LockMode"] != "Exclusive" || a["@DbPrincipal"] != "db_owner" || !q.server.may(q.as, "CONTROL", nil) {
		return -999
	}
	patience, _ := strconv.Atoi(a["@LockTimeout"])
	deadline := time.Now().Add(time.Duration(patience) * time.Millisecond)
	wake := time.AfterFunc(time.Until(deadline), s.changed.Broadcast)
	defer wake.Stop()
	waited := 0
	for {
		by := d.locks[a["@Resource"]]
		if by == nil || by == q.as {
			d.locks[a["@Resource"]] = q.as
			return waited
		}
		if s.ended || s.sessions[q.as.id] != q.as || !time.Now().Before(deadline) {
			return -1
		}
		waited = 1
		s.changed.Wait()
	}
}

// options are name = value, with commas between them.
func (q *sqlRun) options() (map[string]string, error) {
	all := map[string]string{}
	for {
		name, ok := q.name()
		if !ok || !q.accept("=") {
			return nil, q.unknown()
		}
		value, ok := q.value()
		if !ok {
			if value, ok = q.name(); !ok {
				return nil, q.unknown()
			}
		}
		all[strings.ToLower(name)] = value
		if q.accept("unlock") {
			all["unlock"] = "yes"
		}
		if !q.accept(",") {
			return all, nil
		}
	}
}

// checkPassword is the policy of a server: three of four kinds of signs, and not the name.
func checkPassword(name, password string) error {
	kinds := map[string]bool{}
	for _, r := range password {
		switch {
		case unicode.IsUpper(r):
			kinds["upper"] = true
		case unicode.IsLower(r):
			kinds["lower"] = true
		case unicode.IsDigit(r):
			kinds["digit"] = true
		default:
			kinds["sign"] = true
		}
	}
	switch {
	case len(password) < 8:
		return refused(15116, "Password validation failed. The password does not meet the operating system policy requirements because it is too short.")
	case len(password) > 128:
		return refused(15117, "Password validation failed. The password does not meet the operating system policy requirements because it is too long.")
	case len(kinds) < 3, strings.Contains(strings.ToLower(password), strings.ToLower(name)):
		return refused(15118, "Password validation failed. The password does not meet the operating system policy requirements because it is not complex enough.")
	}
	return nil
}

func (q *sqlRun) create() error {
	s, as, d := q.server, q.as, q.as.database
	switch {
	case q.accept("login"):
		name, ok := q.name()
		if !ok || !q.accept("with") {
			return q.unknown()
		}
		o, err := q.options()
		if err != nil {
			return err
		}
		if s.azure {
			return refused(5001, "User must be in the master database.")
		}
		if !s.mayServer(as, "ALTER ANY LOGIN") {
			return refused(15247, "User does not have permission to perform this action.")
		}
		if s.logins[strings.ToLower(name)] != nil {
			return refused(15025, "The server principal '%s' already exists.", name)
		}
		for _, l := range s.logins {
			if o["sid"] == l.sid {
				return refused(15433, "Supplied parameter sid is in use.")
			}
		}
		if err := checkPassword(name, o["password"]); err != nil && o["check_policy"] != "off" {
			return err
		}
		sid := o["sid"]
		if sid == "" {
			sid = newSID()
		}
		s.logins[strings.ToLower(name)] = &sqlLogin{name: name, password: o["password"], sid: sid, rights: []sqlGrant{{right: "CONNECT SQL", state: "G"}}}
		return nil
	case q.accept("user"):
		return q.createUser()
	case q.accept("role"):
		name, ok := q.name()
		if !ok {
			return q.unknown()
		}
		if !s.may(as, "CREATE ROLE", nil) {
			return refused(15247, "User does not have permission to perform this action.")
		}
		if d.principal(name) != nil {
			return refused(15023, "User, group, or role '%s' already exists in the current database.", name)
		}
		d.add(name, "R", 0, newSID())
		return nil
	case q.accept("schema"):
		name, ok := q.name()
		if !ok {
			return q.unknown()
		}
		if !s.may(as, "CREATE SCHEMA", nil) {
			return refused(2760, "The specified schema name \"%s\" either does not exist or you do not have permission to use it.", name)
		}
		if d.schemas[strings.ToLower(name)] != nil {
			return refused(2714, "There is already an object named '%s' in the database.", name)
		}
		d.schemas[strings.ToLower(name)] = &sqlThing{name: name, schema: name, owner: as.user.id}
		return nil
	case q.accept("database"):
		if !s.mayServer(as, "CREATE ANY DATABASE") {
			return refused(262, "CREATE DATABASE permission denied in database 'master'.")
		}
		return q.unknown()
	}
	kind, _ := q.name()
	kind = strings.ToLower(kind)
	right := "CREATE " + strings.ToUpper(kind)
	on, ok := q.thing()
	if !ok {
		return q.unknown()
	}
	schema := d.schemas[strings.ToLower(on.schema)]
	switch kind {
	case "table", "view", "procedure", "function", "type", "synonym":
		if !s.may(as, right, nil) {
			return refused(262, "%s permission denied in database '%s'.", right, d.name)
		}
		if schema == nil || !s.may(as, "ALTER", on) {
			return refused(2760, "The specified schema name \"%s\" either does not exist or you do not have permission to use it.", on.schema)
		}
	case "trigger":
		if !q.accept("on") {
			return q.unknown()
		}
		if q.accept("database") {
			if !s.may(as, "ALTER ANY DATABASE DDL TRIGGER", nil) {
				return refused(297, "The user does not have permission to perform this action.")
			}
			return q.unknown()
		}
		table, ok := q.thing()
		if !ok || d.object(table) == nil || !s.may(as, "ALTER", d.object(table)) {
			return refused(8197, "The object does not exist or is invalid for this operation.")
		}
	default:
		return q.unknown()
	}
	if d.object(on) != nil {
		return refused(2714, "There is already an object named '%s' in the database.", on.name)
	}
	on.kind = kind
	if q.accept("with", "execute", "as", "self") {
		on.runsAs = as.user.id
	}
	q.skip()
	d.objects[strings.ToLower(on.schema+"."+on.name)] = on
	return nil
}

func (q *sqlRun) createUser() error {
	s, as, d := q.server, q.as, q.as.database
	name, ok := q.name()
	if !ok || d == nil {
		return q.unknown()
	}
	var o map[string]string
	var l *sqlLogin
	var err error
	without := false
	switch {
	case q.accept("without", "login"):
		without = true
	case q.accept("for", "login"):
		login, ok := q.name()
		if !ok {
			return q.unknown()
		}
		if l = s.logins[strings.ToLower(login)]; l == nil {
			return refused(15007, "'%s' is not a valid login or you do not have permission.", login)
		}
	}
	if q.accept("with") {
		if o, err = q.options(); err != nil {
			return err
		}
	}
	switch {
	case !s.may(as, "ALTER ANY USER", nil):
		return refused(15247, "User does not have permission to perform this action.")
	case d.principal(name) != nil:
		return refused(15023, "User, group, or role '%s' already exists in the current database.", name)
	case without:
		d.add(name, "S", 0, newSID())
	case l != nil:
		if d.of(l) != nil {
			return refused(15063, "The login already has an account under a different user name.")
		}
		d.add(name, "S", 1, l.sid)
	case o["password"] != "":
		if !d.contained && !s.azure {
			return refused(33233, "You can only create a user with a password in a contained database.")
		}
		if err := checkPassword(name, o["password"]); err != nil {
			return err
		}
		d.add(name, "S", 2, newSID()).password = o["password"]
	default:
		return q.unknown()
	}
	return nil
}

func (q *sqlRun) alter() error {
	s, as, d := q.server, q.as, q.as.database
	switch {
	case q.accept("login"):
		name, ok := q.name()
		if !ok {
			return q.unknown()
		}
		l := s.logins[strings.ToLower(name)]
		if l == nil || !s.mayServer(as, "ALTER ANY LOGIN") || slices.Contains(l.roles, "sysadmin") && !s.mayServer(as, "CONTROL SERVER") {
			return refused(15151, "Cannot alter the login '%s', because it does not exist or you do not have permission.", name)
		}
		switch {
		case q.accept("enable"):
			l.disabled = false
		case q.accept("disable"):
			l.disabled = true
		case q.accept("with", "name", "="):
			to, ok := q.name()
			if !ok {
				return q.unknown()
			}
			delete(s.logins, strings.ToLower(name))
			l.name = to
			s.logins[strings.ToLower(to)] = l
		case q.accept("with"):
			o, err := q.options()
			if err != nil {
				return err
			}
			if err := checkPassword(l.name, o["password"]); err != nil {
				return err
			}
			l.password, l.locked = o["password"], l.locked && o["unlock"] == ""
		default:
			return q.unknown()
		}
		return nil
	case q.accept("user"):
		name, ok := q.name()
		if !ok || !q.accept("with") {
			return q.unknown()
		}
		o, err := q.options()
		if err != nil {
			return err
		}
		p := d.principal(name)
		if p == nil || !s.may(as, "ALTER ANY USER", nil) {
			return refused(15151, "Cannot alter the user '%s', because it does not exist or you do not have permission.", name)
		}
		if p.auth != 2 {
			return refused(33234, "The parameter PASSWORD cannot be provided for users that cannot authenticate in a database.")
		}
		if err := checkPassword(name, o["password"]); err != nil {
			return err
		}
		p.password = o["password"]
		return nil
	case q.accept("role"):
		return q.alterRole()
	case q.accept("server", "role"):
		role, _ := q.name()
		add := q.accept("add", "member")
		if !add && !q.accept("drop", "member") {
			return q.unknown()
		}
		name, _ := q.name()
		l := s.logins[strings.ToLower(name)]
		if l == nil || !s.mayServer(as, "CONTROL SERVER") {
			return refused(15151, "Cannot alter the server role '%s', because it does not exist or you do not have permission.", role)
		}
		if add {
			l.roles = append(l.roles, role)
		} else {
			l.roles = slices.DeleteFunc(slices.Clone(l.roles), func(r string) bool { return r == role })
		}
		return nil
	case q.accept("authorization", "on"):
		return q.authorize()
	case q.accept("table"):
		on, ok := q.thing()
		if !ok {
			return q.unknown()
		}
		o := d.object(on)
		if o == nil || !s.may(as, "ALTER", o) {
			return refused(1088, "Cannot find the object \"%s\" because it does not exist or you do not have permissions.", on.name)
		}
		q.skip()
		return nil
	case q.accept("database"):
		q.skip()
		if !s.may(as, "ALTER", nil) {
			return refused(5011, "User does not have permission to alter database.")
		}
		return nil
	}
	return q.unknown()
}

func (q *sqlRun) alterRole() error {
	s, as, d := q.server, q.as, q.as.database
	role, ok := q.name()
	if !ok {
		return q.unknown()
	}
	add := q.accept("add", "member")
	if !add && !q.accept("drop", "member") {
		return q.unknown()
	}
	name, ok := q.name()
	if !ok {
		return q.unknown()
	}
	p := d.principal(role)
	right := "ALTER ANY ROLE"
	if p != nil && p.id >= 16384 { // a fixed one takes a db_owner
		right = "CONTROL"
	}
	if p == nil || p.kind != "R" || !s.may(as, right, nil) {
		return refused(15151, "Cannot alter the role '%s', because it does not exist or you do not have permission.", role)
	}
	member := d.principal(name)
	if member == nil {
		return refused(15151, "Cannot add the principal '%s', because it does not exist or you do not have permission.", name)
	}
	pair := [2]int{p.id, member.id}
	d.members = slices.DeleteFunc(slices.Clone(d.members), func(m [2]int) bool { return m == pair })
	if add {
		d.members = append(d.members, pair)
	}
	return nil
}

func (q *sqlRun) authorize() error {
	s, as, d := q.server, q.as, q.as.database
	class, _ := q.name()
	if !q.accept(":", ":") {
		return q.unknown()
	}
	name, ok := q.name()
	if !ok {
		return q.unknown()
	}
	if !s.may(as, "CONTROL", nil) {
		return refused(15151, "Cannot find the %s '%s', because it does not exist or you do not have permission.", class, name)
	}
	if strings.EqualFold(class, "schema") {
		if !q.accept("to") {
			return q.unknown()
		}
		owner, _ := q.name()
		p, schema := d.principal(owner), d.schemas[strings.ToLower(name)]
		if p == nil || schema == nil {
			return refused(15151, "Cannot find the schema '%s', because it does not exist or you do not have permission.", name)
		}
		schema.owner = p.id
		// What was granted on what is in it goes.
		d.grants = slices.DeleteFunc(slices.Clone(d.grants), func(g sqlGrant) bool { return g.class != "DATABASE" && strings.EqualFold(g.schema, name) })
		return nil
	}
	if !q.accept(".") {
		return q.unknown()
	}
	thing, _ := q.name()
	o := d.object(&sqlThing{schema: name, name: thing})
	if o == nil || !q.accept("to") {
		return q.unknown()
	}
	if q.accept("schema", "owner") {
		o.owner = 0
		return nil
	}
	owner, _ := q.name()
	if p := d.principal(owner); p != nil {
		o.owner = p.id
		return nil
	}
	return q.unknown()
}

func (q *sqlRun) drop() error {
	s, as, d := q.server, q.as, q.as.database
	switch {
	case q.accept("login"):
		name, ok := q.name()
		if !ok {
			return q.unknown()
		}
		l := s.logins[strings.ToLower(name)]
		if l == nil || !s.mayServer(as, "ALTER ANY LOGIN") {
			return refused(15151, "Cannot drop the login '%s', because it does not exist or you do not have permission.", name)
		}
		for _, session := range s.sessions {
			if session.server == l || session.server != nil && session.server.sid == l.sid {
				return refused(15434, "Could not drop login '%s' as the user is currently logged in.", name)
			}
		}
		delete(s.logins, strings.ToLower(name))
		return nil
	case q.accept("user"):
		name, ok := q.name()
		if !ok {
			return q.unknown()
		}
		p := d.principal(name)
		if p == nil || p.kind != "S" || !s.may(as, "ALTER ANY USER", nil) {
			return refused(15151, "Cannot drop the user '%s', because it does not exist or you do not have permission.", name)
		}
		for _, schema := range d.schemas {
			if schema.owner == p.id {
				return refused(15138, "The database principal owns a schema in the database, and cannot be dropped.")
			}
		}
		for _, o := range d.objects {
			switch {
			case o.owner == p.id:
				return refused(15183, "The database principal owns objects in the database and cannot be dropped.")
			case o.runsAs == p.id:
				return refused(15136, "The database principal is set as the execution context of one or more procedures, functions, or event notifications and cannot be dropped.")
			}
		}
		for _, g := range d.grants {
			if g.by == p.id {
				return refused(15284, "The database principal has granted or denied permissions to objects in the database and cannot be dropped.")
			}
		}
		d.principals = slices.DeleteFunc(slices.Clone(d.principals), func(o *sqlPrincipal) bool { return o == p })
		d.grants = slices.DeleteFunc(slices.Clone(d.grants), func(g sqlGrant) bool { return g.to == p.id })
		d.members = slices.DeleteFunc(slices.Clone(d.members), func(m [2]int) bool { return m[1] == p.id })
		return nil
	case q.accept("role"):
		name, _ := q.name()
		p := d.principal(name)
		if p == nil || p.kind != "R" || !s.may(as, "ALTER ANY ROLE", nil) {
			return refused(15151, "Cannot drop the role '%s', because it does not exist or you do not have permission.", name)
		}
		d.principals = slices.DeleteFunc(slices.Clone(d.principals), func(o *sqlPrincipal) bool { return o == p })
		d.members = slices.DeleteFunc(slices.Clone(d.members), func(m [2]int) bool { return m[0] == p.id })
		d.grants = slices.DeleteFunc(slices.Clone(d.grants), func(g sqlGrant) bool { return g.to == p.id })
		return nil
	case q.accept("schema"):
		name, _ := q.name()
		schema := d.schemas[strings.ToLower(name)]
		if schema == nil || !s.may(as, "ALTER ANY SCHEMA", nil) && schema.owner != as.user.id {
			return refused(15151, "Cannot drop the schema '%s', because it does not exist or you do not have permission.", name)
		}
		delete(d.schemas, strings.ToLower(name))
		return nil
	}
	kind, _ := q.name()
	on, ok := q.thing()
	if !ok {
		return q.unknown()
	}
	o := d.object(on)
	if o == nil || !s.may(as, "ALTER", o) {
		return refused(3701, "Cannot drop the %s '%s', because it does not exist or you do not have permission.", kind, on.name)
	}
	maps.DeleteFunc(d.objects, func(_ string, v *sqlThing) bool { return v == o })
	return nil
}

// grant is GRANT, DENY and REVOKE.
func (q *sqlRun) grant(verb string) error {
	s, as, d := q.server, q.as, q.as.database
	var rights []string
	var words []string
	for len(q.rest) > 0 && !strings.EqualFold(q.rest[0].text, "on") && !strings.EqualFold(q.rest[0].text, "to") && !strings.EqualFold(q.rest[0].text, "from") {
		if q.accept(",") {
			rights, words = append(rights, strings.ToUpper(strings.Join(words, " "))), nil
			continue
		}
		words = append(words, q.rest[0].text)
		q.rest = q.rest[1:]
	}
	rights = append(rights, strings.ToUpper(strings.Join(words, " ")))
	g := sqlGrant{class: "DATABASE", by: 1}
	if q.accept("on") {
		switch {
		case q.accept("schema", ":", ":"):
			g.class = "SCHEMA"
			g.schema, _ = q.name()
		case q.accept("user", ":", ":"), q.accept("role", ":", ":"):
			g.class = "DATABASE_PRINCIPAL"
			g.object, _ = q.name()
		case q.accept("object", ":", ":"):
			on, ok := q.thing()
			if !ok {
				return q.unknown()
			}
			g.class, g.schema, g.object = "OBJECT_OR_COLUMN", on.schema, on.name
			if q.accept("(") {
				g.column, _ = q.name()
				if !q.accept(")") {
					return q.unknown()
				}
			}
		default:
			return q.unknown()
		}
	}
	if !q.accept("to") && !q.accept("from") {
		return q.unknown()
	}
	name, ok := q.name()
	if !ok {
		return q.unknown()
	}
	g.state = map[string]string{"grant": "G", "deny": "D"}[verb]
	if q.accept("with", "grant", "option") {
		g.state = "W"
	}
	q.accept("cascade")
	if q.accept("as") {
		by, _ := q.name()
		p := d.principal(by)
		if p == nil {
			return q.unknown()
		}
		g.by = p.id
	}
	if g.class == "DATABASE" && len(rights) == 1 && slices.Contains([]string{"CONNECT SQL", "VIEW SERVER STATE", "ALTER ANY LOGIN", "ALTER ANY CONNECTION"}, rights[0]) {
		return q.grantServer(verb, name, rights[0], g.state)
	}
	if d == nil {
		return q.unknown()
	}
	on := (*sqlThing)(nil)
	if g.schema != "" {
		on = &sqlThing{schema: g.schema, name: g.object}
	}
	owns := on != nil && d.schemas[strings.ToLower(g.schema)] != nil && as.user != nil && d.schemas[strings.ToLower(g.schema)].owner == as.user.id
	if !s.may(as, "CONTROL", nil) && !owns {
		return refused(15151, "Cannot find the object, because it does not exist or you do not have permission.")
	}
	if owns && g.by == 1 {
		g.by = as.user.id
	}
	p := d.principal(name)
	if p == nil {
		return refused(15151, "Cannot find the user '%s', because it does not exist or you do not have permission.", name)
	}
	g.to = p.id
	for _, right := range rights {
		g.right = right
		d.grants = slices.DeleteFunc(slices.Clone(d.grants), func(o sqlGrant) bool {
			// Nobody takes back what another gave.
			o.state = g.state
			return o == g
		})
		if verb != "revoke" {
			d.grants = append(d.grants, g)
		}
	}
	return nil
}

func (q *sqlRun) grantServer(verb, name, right, state string) error {
	if q.as.database != nil {
		return refused(4621, "Permissions at the server scope can only be granted when the current database is master")
	}
	l := q.server.logins[strings.ToLower(name)]
	if l == nil || !q.server.mayServer(q.as, "CONTROL SERVER") {
		return refused(15151, "Cannot find the login '%s', because it does not exist or you do not have permission.", name)
	}
	l.rights = slices.DeleteFunc(slices.Clone(l.rights), func(g sqlGrant) bool { return g.right == right })
	if verb != "revoke" {
		l.rights = append(l.rights, sqlGrant{right: right, state: state})
	}
	return nil
}

func (q *sqlRun) kill() error {
	text, ok := q.value()
	id, err := strconv.Atoi(text)
	if !ok || err != nil {
		return q.unknown()
	}
	may := q.server.mayServer(q.as, "ALTER ANY CONNECTION")
	if q.server.azure {
		may = q.server.may(q.as, "KILL DATABASE CONNECTION", nil)
	}
	if !may {
		return refused(6102, "User does not have permission to use the KILL statement.")
	}
	session := q.server.sessions[id]
	if session == nil {
		return refused(6106, "Process ID %d is not an active process ID.", id)
	}
	q.server.end(session)
	return nil
}

// touch is what changes the rows of a table.
func (q *sqlRun) touch(right string) error {
	on, ok := q.thing()
	if !ok || q.as.database == nil {
		return q.unknown()
	}
	o := q.as.database.object(on)
	if o == nil {
		return refused(208, "Invalid object name '%s'.", on.name)
	}
	if !q.server.may(q.as, right, o) {
		return refused(229, "The %s permission was denied on the object '%s'", right, o.name)
	}
	if q.as.database.readOnly {
		return refused(3906, "Failed to update database \"%s\" because the database is read-only.", q.as.database.name)
	}
	q.skip()
	return nil
}
