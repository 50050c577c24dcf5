package mysql

import (
	"context"
	"crypto/sha1" // #nosec G505 -- the server's own digest
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// password is what a login will sign in with.
type password struct {
	text, plugin string
}

// native is what mysql_native_password keeps of it.
func (p password) native() string {
	once := sha1.Sum([]byte(p.text)) // #nosec G401 -- the server's own digest
	twice := sha1.Sum(once[:])       // #nosec G401
	return "*" + strings.ToUpper(hex.EncodeToString(twice[:]))
}

func (t *target) NewCredential(_ context.Context, r driver.LoginRequest) (driver.Credential, error) {
	if err := check(r, true); err != nil {
		return driver.Credential{}, err
	}
	return driver.Credential{
		Public: map[string]string{"username": account(r.Name)},
		Secret: driver.Secrets{"password": driver.NewPassword()},
	}, nil
}

func (t *target) EnsureLogin(ctx context.Context, r driver.LoginRequest) error {
	if err := check(r, true); err != nil {
		return err
	}
	secret := r.Credential.Secret["password"]
	if secret.IsZero() {
		return invalid("the login %s has no password to sign in with", r.Name)
	}
	err := t.change(ctx, r, func(s *session) error { return s.ensure(ctx, r, secret.Reveal()) })
	return redacted(err, secret, patchbay.NewSecret(password{text: secret.Reveal()}.native()))
}

// redacted takes secrets, which the guard does not all know, out of the server's words.
func redacted(err error, secrets ...patchbay.Secret) error {
	if e := patchbay.AsError(err); e != nil {
		for _, s := range secrets {
			e.Said = strings.ReplaceAll(e.Said, s.Reveal(), s.String())
		}
	}
	return err
}

// ensure makes the login whole.
func (s *session) ensure(ctx context.Context, r driver.LoginRequest, secret string) error {
	if s.product.readOnly {
		return s.server.readOnly("")
	}
	found, err := s.look(ctx, r)
	if err != nil {
		return err
	}
	if found.database == "" {
		return s.noDatabase(ctx, r.Sub)
	}
	if err := s.product.checkRoles(r); err != nil {
		return err
	}
	_, foreign := found.logins(r)
	if len(foreign) > 0 {
		return notOurs(s.server.address(), r, foreign)
	}
	if s.product.mariadb && !found.marked {
		if err := s.makeMarkTable(ctx); err != nil {
			return err
		}
	}
	wanted := s.product.wanted(r, found.database)
	all, err := hosts(r.Sources)
	if err != nil {
		return err
	}
	p := password{secret, s.plugin()}
	for _, host := range all {
		if err := s.makeAccount(ctx, markOf(r, kindLogin), host, found.at(host), p); err != nil {
			return err
		}
		if err := s.repair(ctx, r, host, found.at(host), wanted, p); err != nil {
			return err
		}
	}
	if err := s.dropOthers(ctx, r, found, all); err != nil {
		return err
	}
	if err := s.sweepDefiners(ctx, r.Sub); err != nil {
		return err
	}
	// The server may say yes, and do less.
	if found, err = s.look(ctx, r); err != nil {
		return err
	}
	var now driver.LoginState
	s.compare(r, found, &now)
	if len(now.Missing)+len(now.Excess) > 0 {
		return patchbay.Errorf(patchbay.AdminRights, "%s said that it had made the login %s, and did not: %s", s.server.address(), r.Name, strings.Join(append(few("lacks ", now.Missing), few("has ", now.Excess)...), "; ")).
			WithFix("see what it has: SHOW GRANTS FOR %s; and what the administrator may give: SHOW GRANTS", at(account(r.Name), all[0]))
	}
	return nil
}

// few are some of the texts, each with a word before it.
func few(word string, all []string) []string {
	const most = 3
	var some []string
	for i, text := range all {
		if i == most {
			return append(some, fmt.Sprintf("and %d more", len(all)-most))
		}
		some = append(some, word+text)
	}
	return some
}

// checkRoles refuses what a server can't do with roles.
func (p product) checkRoles(r driver.LoginRequest) error {
	if p.mariadb && len(r.Roles) > 1 {
		return patchbay.Errorf(patchbay.NotSupported, "a login of MariaDB works with one role at a time, and %d are asked for", len(r.Roles)).
			WithFix("make one that has them: CREATE ROLE %s; then GRANT each of them TO it, and ask for that one", ident("app_role"))
	}
	return nil
}

// makeAccount makes one account of a login with its mark, or makes the one that is there
// whole but for its rights. Both may come twice, or be cut off.
func (s *session) makeAccount(ctx context.Context, m mark, host string, had *accountState, p password) error {
	user := account(m.Name)
	who := at(user, host)
	require := "none"
	if s.server.insists() {
		require = "ssl"
	}
	verb := "create user " // which fails where somebody was faster
	if had != nil {
		verb = "alter user "
	}
	if !s.product.mariadb {
		// What the server asks of all passwords, to be new say, is for those that people choose.
		how := " by " + literal(p.text)
		switch {
		case p.plugin == pluginNative:
			how = " as " + literal(p.native())
		case !s.secret():
			return patchbay.Errorf(patchbay.CertificateInvalid, "%s has to be told a password to make a login by %s, and the connection is not encrypted; nothing was sent", s.server.address(), p.plugin).
				WithFix("turn TLS on in the server, and register it again with sslmode require or stricter")
		}
		return s.exec(ctx, verb+who+" identified with "+p.plugin+how+" require "+require+
			" password expire never account unlock password history 0 password reuse interval 0 day attribute "+m.attribute())
	}
	if err := s.putMark(ctx, user, host, m, proof(p.native())); err != nil {
		return err
	}
	before, after := verb+who+" identified via "+p.plugin+" using ", " require "+require+" account unlock password expire never"
	err := s.exec(ctx, before+literal(p.native())+after)
	if numberOf(err) == errPasswordPolicy && s.secret() {
		// It takes no digest where it wants to see what that is of.
		err = s.exec(ctx, before+"password("+literal(p.text)+")"+after)
	}
	if err != nil || had != nil && had.bound {
		return err
	}
	return s.bind(ctx, user, host)
}

// repair gives an account the rights that it lacks, and takes the others away.
func (s *session) repair(ctx context.Context, r driver.LoginRequest, host string, had *accountState, wanted []right, p password) error {
	who := at(account(r.Name), host)
	if had == nil {
		had = &accountState{}
	}
	missing, excess := had.compare(wanted)
	// On MariaDB, to say which roles an account begins with takes rights on its own tables.
	anew := s.product.mariadb && len(had.defaults) > 0 && !slices.Equal(had.defaults, r.Roles)
	var all bool
	var err error
	if !anew {
		all, err = s.revoke(ctx, r, host, excess)
	}
	if anew || mayNot(err) || numberOf(err) == 1698 {
		// Somebody gave what the administrator can't take. What an account has goes
		// with it; its sessions and what runs as it stay.
		all = true
		if err = s.exec(ctx, "drop user "+who); err == nil {
			err = s.makeAccount(ctx, markOf(r, kindLogin), host, nil, p)
		}
		had = &accountState{}
	}
	if err != nil {
		return err
	}
	if all {
		missing = wanted
	}
	give := map[string][]string{}
	for _, m := range missing {
		if role, ok := strings.CutPrefix(m.on, roleWord); ok {
			if err := s.exec(ctx, "grant "+role+" to "+who); err != nil {
				return s.roleError(err, role)
			}
			continue
		}
		give[m.on] = append(give[m.on], m.what)
	}
	for on, what := range give {
		if err := s.exec(ctx, "grant "+strings.Join(what, ", ")+" on "+on+" to "+who); err != nil {
			return err
		}
	}
	return s.defaultRoles(ctx, r, host, had)
}

// revoke takes rights from an account; all says that it has none any more. What is not
// on the login's database goes as one with everything else.
func (s *session) revoke(ctx context.Context, r driver.LoginRequest, host string, excess []right) (all bool, err error) {
	who := at(account(r.Name), host)
	own := onDatabase(pattern(r.Sub))
	var here []string
	for _, e := range excess {
		switch {
		case e.what == "PROXY":
			err = s.exec(ctx, "revoke proxy on "+e.on+" from "+who)
		case e.on == own:
			here = append(here, e.what)
		default:
			all = true
		}
		if err != nil {
			return false, err
		}
	}
	switch {
	case all:
		if err = s.exec(ctx, "revoke all privileges, grant option from "+who); err == nil && s.product.mariadb {
			err = s.bind(ctx, account(r.Name), host)
		}
		for _, e := range excess {
			if role, ok := strings.CutPrefix(e.on, roleWord); ok && err == nil && !s.product.mariadb && e.what == "MEMBER" {
				err = s.exec(ctx, "revoke "+role+" from "+who)
			}
		}
	case len(here) > 0:
		err = s.exec(ctx, "revoke "+strings.Join(here, ", ")+" on "+own+" from "+who)
	}
	return all, err
}

// defaultRoles makes the login begin with its roles, and with no others.
func (s *session) defaultRoles(ctx context.Context, r driver.LoginRequest, host string, had *accountState) error {
	want := slices.Sorted(slices.Values(r.Roles))
	if slices.Equal(want, had.defaults) {
		return nil
	}
	names := "none"
	if len(want) > 0 {
		var quoted []string
		for _, role := range want {
			quoted = append(quoted, ident(role))
		}
		names = strings.Join(quoted, ", ")
	}
	if s.product.mariadb {
		err := s.exec(ctx, "set default role "+names+" for "+at(account(r.Name), host))
		if mayNot(err) {
			return patchbay.Errorf(patchbay.AdminRights, "the administrator %q may not say on %s with which role a login begins", s.server.admin.Username, s.server.address()).
				WithFix("GRANT UPDATE ON mysql.* TO %s", s.adminName())
		}
		return err
	}
	return s.exec(ctx, "set default role "+names+" to "+at(account(r.Name), host))
}

// dropOthers drops the accounts of the login for networks that its source does not speak
// from any more, after the sessions from there.
func (s *session) dropOthers(ctx context.Context, r driver.LoginRequest, found *state, wanted []string) error {
	ours, _ := found.logins(r)
	for _, a := range ours {
		if slices.Contains(wanted, a.host) {
			continue
		}
		if err := s.exec(ctx, "alter user "+at(account(r.Name), a.host)+" account lock"); err != nil {
			return err
		}
		if err := s.endSessions(ctx, r, a.host); err != nil {
			return err
		}
		if err := s.retire(ctx, r, a); err != nil {
			return err
		}
	}
	return nil
}

func (t *target) InspectLogin(ctx context.Context, r driver.LoginRequest) (driver.LoginState, error) {
	if err := check(r, false); err != nil {
		return driver.LoginState{}, err
	}
	s, release, err := t.acquire(ctx)
	if err != nil {
		return driver.LoginState{}, err
	}
	defer release()
	found, err := s.look(ctx, r)
	if err != nil {
		return driver.LoginState{}, t.adminError(ctx, "", err)
	}
	ours, foreign := found.logins(r)
	if len(ours)+len(foreign) == 0 {
		return driver.LoginState{}, nil
	}
	state := driver.LoginState{Exists: true, Ours: len(foreign) == 0, Sessions: found.sessions}
	if state.Ours {
		s.compare(r, found, &state)
	}
	return state, nil
}

// compare says in what a login is not as the request has it.
func (s *session) compare(r driver.LoginRequest, found *state, state *driver.LoginState) {
	ours, _ := found.logins(r)
	wanted := s.product.wanted(r, found.database)
	if found.database == "" {
		state.Missing = append(state.Missing, "database "+driver.Quoted(r.Sub))
		wanted = s.product.wanted(r, r.Sub)
	}
	all, err := hosts(r.Sources)
	if err != nil { // no request that was ever carried out
		all = nil
	}
	for _, host := range all {
		if !slices.ContainsFunc(ours, func(a *accountState) bool { return a.host == host }) {
			state.Missing = append(state.Missing, "account "+driver.Quoted(at(account(r.Name), host)))
		}
	}
	several := func(a *accountState, text string) string {
		if len(all) > 1 {
			text += " (from " + driver.Quoted(a.host) + ")"
		}
		return text
	}
	for _, a := range ours {
		if !slices.Contains(all, a.host) {
			state.Excess = append(state.Excess, "sign-in from "+driver.Quoted(a.host))
			continue
		}
		for _, fault := range a.faults(s.plugin(), s.server.insists()) {
			state.Missing = append(state.Missing, several(a, "sign-in: "+fault))
		}
		if s.product.mariadb && !a.bound {
			state.Missing = append(state.Missing, several(a, "the grant that its mark is bound by"))
		}
		missing, excess := a.compare(wanted)
		for _, m := range missing {
			state.Missing = append(state.Missing, several(a, m.String()))
		}
		for _, e := range excess {
			state.Excess = append(state.Excess, several(a, e.String()))
		}
		if !slices.Equal(a.defaults, slices.Sorted(slices.Values(r.Roles))) {
			state.Missing = append(state.Missing, several(a, "it does not begin with its own roles"))
		}
	}
}

// marked is an account that bears a mark.
type marked struct {
	user, host string
	mark       mark
}

// marked lists the accounts of that kind that bear a mark, of one database or, where
// that is "", of all.
func (s *session) marked(ctx context.Context, kind, database string) ([]marked, error) {
	var all []marked
	var err error
	if s.product.mariadb {
		all, err = s.markedMariaDB(ctx, kind, database)
	} else {
		all, err = s.markedMySQL(ctx)
	}
	return slices.DeleteFunc(all, func(m marked) bool {
		return m.mark.Kind != kind || database != "" && m.mark.Database != database
	}), err
}

func (t *target) Owned(ctx context.Context) ([]driver.Owned, error) {
	s, release, err := t.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	all, err := s.marked(ctx, kindLogin, "")
	if err != nil {
		return nil, t.adminError(ctx, "", err)
	}
	var owned []driver.Owned
	for _, m := range all {
		o := driver.Owned{Mark: m.mark.Mark, Name: m.mark.Name, Sub: m.mark.Database}
		if !slices.Contains(owned, o) {
			owned = append(owned, o)
		}
	}
	return owned, nil
}
