package mysql

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

var (
	loginName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)
	accesses  = []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}
)

// maxAccount is how long an account's name may be on MySQL.
const maxAccount = 32

// account is the name of a login's accounts: the login's, or where that is too long for
// the server its beginning and a digest of it.
func account(name string) string {
	if len(name) <= maxAccount {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	digest := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:12]
	return name[:maxAccount-1-len(digest)] + "_" + digest
}

// check refuses a request that can't be carried out whatever the server says. A
// removal needs less than a making.
func check(r driver.LoginRequest, making bool) error {
	switch {
	case !loginName.MatchString(r.Name):
		return invalid("the login's name %.60q is not of lower-case letters, digits and underscores, at most 40", r.Name)
	case r.Sub == "" || strings.ContainsRune(r.Sub, 0) || len([]rune(r.Sub)) > 64:
		return invalid("the database's name %.80q can't be one of MySQL", r.Sub)
	case slices.Contains([]string{"mysql", "information_schema", "performance_schema", "sys", markSchema}, strings.ToLower(r.Sub)) && making:
		return invalid("the database %q is the server's or Patchbay's own: nobody gets a login to it", r.Sub)
	case r.Mark.UID == "":
		return invalid("the login has no mark")
	case !making:
		return nil
	case r.Auth != patchbay.AuthSecret:
		return patchbay.Errorf(patchbay.NotSupported, "a MySQL login signs in with a secret, not by %s", r.Auth)
	case len(r.Roles) == 0 && !slices.Contains(accesses, r.Access):
		return invalid("access %q is not one of reader, writer, owner", r.Access)
	}
	for _, role := range r.Roles {
		if role == "" || len(role) > 128 || strings.ContainsFunc(role, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }) {
			return invalid("the role %.80q can't be one of MySQL", role)
		}
	}
	for name := range r.Options {
		return invalid("MySQL logins have no option %q", name)
	}
	_, err := hosts(r.Sources)
	return err
}

// hosts are those of a login's accounts, in order: from where it may sign in.
func hosts(sources []netip.Prefix) ([]string, error) {
	if len(sources) == 0 {
		return []string{"%"}, nil
	}
	var all []string
	for _, p := range sources {
		a, bits := p.Addr(), p.Bits()
		if a.Is4In6() && bits >= 96 {
			a, bits = a.Unmap(), bits-96
		}
		switch {
		case !p.IsValid() || a.Zone() != "":
			return nil, invalid("%.60q is no network that a login could be bound to", p.String())
		case bits == 0:
			return []string{"%"}, nil // of either kind: the server has no word for all of one
		case bits == a.BitLen():
			all = append(all, a.String())
		case a.Is4():
			mask := net.IP(net.CIDRMask(bits, 32)).String()
			all = append(all, netip.PrefixFrom(a, bits).Masked().Addr().String()+"/"+mask)
		default:
			return nil, patchbay.Errorf(patchbay.NotSupported, "a MySQL login can't be bound to the network %s: the server knows single IPv6 addresses alone", p).
				WithFix("register the source with the addresses that it speaks from, each with /128 (--egress), or let it speak IPv4 to the server")
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// mark is what an account of ours bears.
type mark struct {
	driver.Mark
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	Database string `json:"database"`
}

// The kinds of accounts.
const (
	kindLogin = "login"
	// kindDefiner is one whose login has gone, and that views or the like still run as.
	kindDefiner = "definer"
)

func markOf(r driver.LoginRequest, kind string) mark {
	return mark{Mark: r.Mark, Kind: kind, Name: r.Name, Database: r.Sub}
}

// of reports whether the mark is the request's.
func (m *mark) of(r driver.LoginRequest) bool {
	return m != nil && m.UID == r.Mark.UID && m.Generation == r.Mark.Generation
}

// right is one that an account has.
type right struct {
	on   string // as statements name it: *.*, `shop`.*, TABLE `shop`.`items`, ROLE…
	what string
}

func (r right) String() string { return driver.Quoted(r.what + " on " + r.on) }

// accountState is one account, as the server knows it.
type accountState struct {
	host    string
	mark    *mark // nil: not ours
	plugin  string
	another bool // there is another way to sign in
	locked  bool
	expired bool
	ssl     string // "" or what is required of its TLS, in the server's word
	proof   string // of what it signs in with; "" where the mark needs none
	rights  []right
	bound   bool // it has the grant that belongs to its mark
	// defaults are the roles that it begins with.
	defaults []string
}

// proof is a digest of what the server keeps of a password.
func proof(kept string) string {
	sum := sha256.Sum256([]byte(kept))
	return hex.EncodeToString(sum[:])
}

// state is all that a server knows of the accounts of one name.
type state struct {
	accounts []*accountState
	database string // in the server's spelling; "" when it is not there
	// Of MariaDB: whether the table of marks is there, and what it has, by host.
	marked   bool
	marks    map[string]*mark
	sessions int
}

func (s *state) at(host string) *accountState {
	for _, a := range s.accounts {
		if a.host == host {
			return a
		}
	}
	return nil
}

// logins are the accounts that one signs in with, or could.
func (s *state) logins(r driver.LoginRequest) (ours, foreign []*accountState) {
	for _, a := range s.accounts {
		switch {
		case !a.mark.of(r):
			foreign = append(foreign, a)
		case a.mark.Kind == kindLogin:
			ours = append(ours, a)
		}
	}
	return ours, foreign
}

func notOurs(address string, r driver.LoginRequest, foreign []*accountState) error {
	name := at(account(r.Name), foreign[0].host)
	return patchbay.Errorf(patchbay.NotOurs, "the account %s is on %s and does not bear this connection's mark", driver.Quoted(name), address).
		WithFix("look at it: SHOW GRANTS FOR %s; if nobody needs it: DROP USER %s", driver.Quoted(name), driver.Quoted(name))
}

// asked is a table of which the rows of one name are read, and what they say.
type asked struct {
	columns, table, column string
	read                   func(row map[string]string) error
}

// look reads what the server knows of the login, in one round trip.
func (s *session) look(ctx context.Context, r driver.LoginRequest) (*state, error) {
	name := account(r.Name)
	found := &state{}
	tables := s.accountsMySQL(found)
	if s.product.mariadb {
		tables = s.accountsMariaDB(found)
	}
	tables = append(tables, s.rightTables(found)...)
	statements := []string{databaseQuery(r.Sub), threadQuery(name)}
	for _, t := range tables {
		statements = append(statements, "select "+t.columns+" from "+t.table+" where "+t.column+" = "+literal(name))
	}
	if s.product.mariadb {
		statements = append(statements, markTableQuery(), markQuery(name))
	}
	all, err := s.ask(ctx, statements...)
	last := len(all) == len(statements)-1 && s.product.mariadb
	if last && (numberOf(err) == errNoSuchTable || numberOf(err) == errNoSuchDatabase || numberOf(err) == errNoSuchColumn) {
		all, err = append(all, answer{}), nil // no marks yet, or not ours
	}
	if err != nil {
		return nil, err
	}
	if len(all) != len(statements) {
		return nil, s.misbehaved()
	}
	found.database = s.databaseOf(r.Sub, all[0])
	found.sessions = len(threads(name, all[1]))
	for i, t := range tables {
		for _, row := range all[2+i].of(t.column, name) {
			if err := t.read(row); err != nil {
				return nil, err
			}
		}
	}
	for _, a := range found.accounts {
		slices.Sort(a.defaults)
	}
	if s.product.mariadb {
		there, err := s.ourTable(all[len(all)-2])
		if err != nil {
			return nil, err
		}
		found.marked = there
		found.bindMarks(all[len(all)-1].of("user", name))
	}
	return found, nil
}

func databaseQuery(name string) string {
	return "select schema_name from information_schema.schemata where schema_name = " + literal(name)
}

// databaseOf is a database in the server's spelling, "" when it is not there.
func (s *session) databaseOf(name string, a answer) string {
	for _, row := range a.rows {
		if row[0] == name || s.product.foldsNames && strings.EqualFold(row[0], name) {
			return row[0]
		}
	}
	return ""
}

func (s *session) database(ctx context.Context, name string) (string, error) {
	all, err := s.ask(ctx, databaseQuery(name))
	if err != nil || len(all) == 0 {
		return "", err
	}
	return s.databaseOf(name, all[0]), nil
}

// privileges are those that a row of Y and N says, in the words of GRANT.
func privileges(row map[string]string) []string {
	var all []string
	for column, value := range row {
		name, ok := strings.CutSuffix(column, "_priv")
		if !ok || value != "Y" {
			continue
		}
		switch name {
		case "create_tmp_table":
			name = "create temporary tables"
		case "grant":
			name = "grant option"
		case "repl_slave", "repl_client":
			name = strings.Replace(name, "repl_", "replication ", 1)
		case "show_db":
			name = "show databases"
		}
		all = append(all, strings.ToUpper(strings.ReplaceAll(name, "_", " ")))
	}
	slices.Sort(all)
	return all
}

// onDatabase is a database as grants name it; stored is how they keep it.
func onDatabase(stored string) string { return ident(stored) + ".*" }

// rightTables are where it stands what accounts were given but on the whole server.
func (s *session) rightTables(found *state) []asked {
	split := func(set string) []string {
		if set == "" {
			return nil
		}
		return strings.Split(strings.ToUpper(set), ",")
	}
	// to is of the account that a row is of, in that column.
	to := func(table, column, host string, read func(a *accountState, row map[string]string)) asked {
		return asked{"*", table, column, func(row map[string]string) error {
			if a := found.at(row[host]); a != nil {
				read(a, row)
			}
			return nil
		}}
	}
	tables := []asked{
		to("mysql.db", "User", "host", func(a *accountState, row map[string]string) { a.add(onDatabase(row["db"]), privileges(row)...) }),
		to("mysql.tables_priv", "User", "host", func(a *accountState, row map[string]string) {
			on := "TABLE " + ident(row["db"]) + "." + ident(row["table_name"])
			a.add(on, split(row["table_priv"])...)
			for _, w := range split(row["column_priv"]) {
				if isBinding(row["db"], row["table_name"], w) {
					a.bound = true
				} else {
					a.add(on, w+" of columns")
				}
			}
		}),
		to("mysql.procs_priv", "User", "host", func(a *accountState, row map[string]string) {
			a.add(row["routine_type"]+" "+ident(row["db"])+"."+ident(row["routine_name"]), split(row["proc_priv"])...)
		}),
		to("mysql.proxies_priv", "User", "host", func(a *accountState, row map[string]string) {
			a.add(at(row["proxied_user"], row["proxied_host"]), "PROXY")
		}),
	}
	if s.product.mariadb {
		return append(tables, to("mysql.roles_mapping", "User", "host", func(a *accountState, row map[string]string) {
			a.member(row["role"], row["admin_option"] == "Y")
		}))
	}
	return append(tables, to("mysql.role_edges", "TO_USER", "to_host", func(a *accountState, row map[string]string) {
		a.member(roleName(row["from_user"], row["from_host"]), row["with_admin_option"] == "Y")
	}), to("mysql.default_roles", "USER", "host", func(a *accountState, row map[string]string) {
		a.defaults = append(a.defaults, roleName(row["default_role_user"], row["default_role_host"]))
	}), to("mysql.global_grants", "USER", "host", func(a *accountState, row map[string]string) {
		a.add("*.*", row["priv"])
	}))
}

func (a *accountState) add(on string, what ...string) {
	for _, w := range what {
		a.rights = append(a.rights, right{on, w})
	}
}

// roleName is a role of MySQL as it is usually said.
func roleName(user, host string) string {
	if host == "%" || host == "" {
		return user
	}
	return user + "@" + host
}

func (a *accountState) member(role string, admin bool) {
	a.rights = append(a.rights, right{roleWord + ident(role), "MEMBER"})
	if admin {
		a.rights = append(a.rights, right{roleWord + ident(role), "ADMIN OPTION"})
	}
}

const roleWord = "ROLE "

// rights are those of an access on a database, in the words of GRANT.
func (p product) rights(a patchbay.Access) []string {
	all := []string{"SELECT", "SHOW VIEW"}
	if a == patchbay.Reader {
		return all
	}
	all = append(all, "INSERT", "UPDATE", "DELETE", "EXECUTE", "CREATE TEMPORARY TABLES")
	if a == patchbay.Writer {
		return all
	}
	all = append(all, "CREATE", "DROP", "ALTER", "INDEX", "REFERENCES", "CREATE VIEW", "CREATE ROUTINE", "ALTER ROUTINE", "EVENT", "TRIGGER", "LOCK TABLES")
	if p.mariadb {
		all = append(all, "DELETE HISTORY")
		if p.least(11, 3, 0) {
			all = append(all, "SHOW CREATE ROUTINE")
		}
	}
	return all
}

// wanted are the rights that a request gives.
func (p product) wanted(r driver.LoginRequest, database string) []right {
	var all []right
	if len(r.Roles) > 0 {
		for _, role := range r.Roles {
			all = append(all, right{roleWord + ident(role), "MEMBER"})
		}
		return all
	}
	for _, what := range p.rights(r.Access) {
		all = append(all, right{onDatabase(pattern(database)), what})
	}
	return all
}

// compare says which of the wanted rights an account lacks, and which it has besides.
func (a *accountState) compare(wanted []right) (missing, excess []right) {
	for _, w := range wanted {
		if !slices.Contains(a.rights, w) {
			missing = append(missing, w)
		}
	}
	for _, has := range a.rights {
		if !slices.Contains(wanted, has) {
			excess = append(excess, has)
		}
	}
	return missing, excess
}

// faults say in what an account itself, its rights aside, is not as it has to be.
func (a *accountState) faults(plugin string, insists bool) []string {
	var all []string
	add := func(bad bool, format string, args ...any) {
		if bad {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	add(a.locked, "it is locked")
	add(a.expired, "its password has expired")
	add(a.plugin != plugin, "it signs in by %s, not by %s", driver.Quoted(a.plugin), plugin)
	add(a.another, "there is another way to sign in as it")
	switch a.ssl {
	case "":
		add(insists, "it may sign in without TLS")
	case "ANY":
		add(!insists, "it may sign in with TLS only, and the registration does not insist on it")
	default:
		add(true, "it needs a client certificate (%s)", driver.Quoted(a.ssl))
	}
	return all
}

func number(text string) int64 {
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

// asMark reads a mark that is JSON.
func asMark(data json.RawMessage) *mark {
	var m mark
	if json.Unmarshal(data, &m) != nil || m.UID == "" || m.Kind == "" {
		return nil
	}
	return &m
}
