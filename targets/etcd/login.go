package etcd

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// checkRequest checks everything of a request that can be checked without the cluster.
func (t *target) checkRequest(r driver.LoginRequest) (mark, []permission, error) {
	m, err := markOf(r)
	switch {
	case err != nil:
		return mark{}, nil, err
	case r.Auth != patchbay.AuthSecret:
		return mark{}, nil, patchbay.Errorf(patchbay.NotSupported, "an etcd login signs in with a secret, not with %.40q", r.Auth)
	case len(r.Roles) > 0:
		return mark{}, nil, patchbay.Errorf(patchbay.NotSupported, "a login has a role of its own and no other: use access and the option %s", optionPrefixes)
	case len(r.Sources) > 0:
		return mark{}, nil, patchbay.Errorf(patchbay.NotSupported, "etcd can't bind a login to source addresses")
	}
	scope, err := t.scopeOf(r.Access, r.Options)
	return m, scope, err
}

// NewCredential implements [driver.Administrator].
func (t *target) NewCredential(ctx context.Context, r driver.LoginRequest) (driver.Credential, error) {
	if e := over(ctx); e != nil {
		return driver.Credential{}, e
	}
	_, scope, err := t.checkRequest(r)
	if err != nil {
		return driver.Credential{}, err
	}
	return driver.Credential{
		Public: map[string]string{"username": r.Name, "prefixes": prefixesOf(scope)},
		Secret: driver.Secrets{"password": driver.NewPassword()},
	}, nil
}

// seen is what the cluster says of a login.
type seen struct {
	user  bool     // there is one of its name
	roles []string // that it has
	// role is the login's own: the one that its user has, or the one that it will have.
	role   string
	made   bool // it is there
	grants bool // the user has it
	may    []permission
}

// look reads a login. It asks for what it names, and lists nothing.
func (s session) look(ctx context.Context, m mark) (seen, error) {
	found := seen{role: m.role()}
	user, err := ask(ctx, s.link, s.auth.UserGet, &pb.AuthUserGetRequest{Name: m.login})
	switch {
	case err == nil:
		found.user, found.roles = true, user.GetRoles()
	case !said(err, rpctypes.ErrGRPCUserNotFound):
		return seen{}, err
	}
	if at := slices.IndexFunc(found.roles, m.marks); at >= 0 {
		found.role, found.grants = found.roles[at], true
	}
	role, err := ask(ctx, s.link, s.auth.RoleGet, &pb.AuthRoleGetRequest{Role: found.role})
	switch {
	case err == nil:
		found.made = true
		for _, p := range role.GetPerm() {
			found.may = append(found.may, permissionOf(p))
		}
	case !said(err, rpctypes.ErrGRPCRoleNotFound):
		return seen{}, err
	}
	return found, nil
}

// marked reports whether the user bears our mark: it has the login's role; or that role
// is there and has permissions, which it gets when the user was proven to be ours.
func (f seen) marked() bool { return f.grants || f.made && len(f.may) > 0 }

// ours reports whether the user is the login's. One that was not finished, or that
// somebody took the role from, shows it by its password.
func (s session) ours(ctx context.Context, m mark, f seen, password patchbay.Secret) (bool, error) {
	if f.marked() {
		return true, nil
	}
	if !password.IsZero() {
		if ok, err := s.signsIn(ctx, m.login, password.Reveal()); ok || err != nil {
			return ok, err
		}
	}
	if !f.made {
		return false, nil
	}
	return s.signsIn(ctx, m.login, m.firstPassword())
}

func notOurs(m mark) *patchbay.Error {
	return patchbay.Errorf(patchbay.NotOurs, "there is a user %s that does not bear the mark of this connection", m.login).
		WithFix("see whose it is: etcdctl user get %s; if it is nobody's: etcdctl user delete %s", m.login, m.login)
}

// EnsureLogin implements [driver.Administrator].
func (t *target) EnsureLogin(ctx context.Context, r driver.LoginRequest) error {
	m, scope, err := t.checkRequest(r)
	if err != nil {
		return err
	}
	password := r.Credential.Secret["password"]
	if r.Credential.Public["username"] != r.Name || password.IsZero() {
		return patchbay.Errorf(patchbay.InvalidArgument, "the credential is not the one that was made for %s", r.Name)
	}
	return t.admin.use(ctx, "make the login "+r.Name, func(ctx context.Context, s session) error {
		if err := s.ensure(ctx, m, scope, password); err != nil {
			return err
		}
		found, err := s.look(ctx, m)
		if err != nil {
			return err
		}
		if missing, excess := found.differs(scope); !found.user || len(missing)+len(excess) > 0 {
			return patchbay.Errorf(patchbay.TargetUnreachable, "%s took every change to the login %s and has not kept it: somebody else changes it, or the cluster forgets", s.server.Address(), r.Name).AsTransient()
		}
		return nil
	})
}

func (s session) ensure(ctx context.Context, m mark, scope []permission, password patchbay.Secret) error {
	found, err := s.look(ctx, m)
	if err != nil {
		return err
	}
	if found.user {
		ours, err := s.ours(ctx, m, found, password)
		if err != nil {
			return err
		}
		if !ours {
			return notOurs(m)
		}
	}
	if !found.made {
		_, err := ask(ctx, s.link, s.auth.RoleAdd, &pb.AuthRoleAddRequest{Name: found.role})
		if err != nil && !said(err, rpctypes.ErrGRPCRoleAlreadyExist) {
			return err
		}
	}
	if found.user {
		err = s.ownPassword(ctx, m, password)
	} else {
		err = s.addUser(ctx, m, found, password)
	}
	if err != nil {
		return err
	}
	// What is too much goes before anything is given.
	for _, role := range found.roles {
		if role == found.role {
			continue
		}
		_, err := ask(ctx, s.link, s.auth.UserRevokeRole, &pb.AuthUserRevokeRoleRequest{Name: m.login, Role: role})
		if err != nil && !said(err, rpctypes.ErrGRPCRoleNotGranted) {
			return err
		}
	}
	for _, p := range found.may {
		if slices.ContainsFunc(scope, func(want permission) bool { return want.key == p.key && want.end == p.end }) {
			continue
		}
		_, err := ask(ctx, s.link, s.auth.RoleRevokePermission, &pb.AuthRoleRevokePermissionRequest{Role: found.role, Key: []byte(p.key), RangeEnd: []byte(p.end)})
		if err != nil && !said(err, rpctypes.ErrGRPCPermissionNotGranted) {
			return err
		}
	}
	for _, p := range scope {
		if slices.Contains(found.may, p) {
			continue
		}
		if _, err := ask(ctx, s.link, s.auth.RoleGrantPermission, &pb.AuthRoleGrantPermissionRequest{Name: found.role, Perm: p.wire()}); err != nil {
			return err
		}
	}
	return nil
}

// addUser makes the user and gives it its role. Nobody can sign in with a password
// that is not the credential's and do anything: the role has no permission until the
// password is that, or the user is made with it.
func (s session) addUser(ctx context.Context, m mark, found seen, password patchbay.Secret) error {
	first := m.firstPassword()
	if len(found.may) > 0 {
		first = password.Reveal()
	}
	_, err := ask(ctx, s.link, s.auth.UserAdd, &pb.AuthUserAddRequest{Name: m.login, Password: first})
	raced := said(err, rpctypes.ErrGRPCUserAlreadyExist)
	if err != nil && !raced {
		return err
	}
	if raced {
		if err := s.proveRaced(ctx, m, password); err != nil {
			return err
		}
	}
	if err := s.grant(ctx, m, found.role); err != nil {
		return err
	}
	if raced {
		return s.ownPassword(ctx, m, password)
	}
	if first == password.Reveal() {
		return nil
	}
	_, err = ask(ctx, s.link, s.auth.UserChangePassword, &pb.AuthUserChangePasswordRequest{Name: m.login, Password: password.Reveal()})
	return err
}

// proveRaced is for a user that appeared between looking and making: of another call of
// ours for the same login, or somebody else's. What was made for the latter goes.
func (s session) proveRaced(ctx context.Context, m mark, password patchbay.Secret) error {
	// The other call may be at any of its steps, and a step on when the look is over.
	for range 2 {
		found, err := s.look(ctx, m)
		if err != nil {
			return err
		}
		ours, err := s.ours(ctx, m, found, password)
		if err != nil || ours {
			return err
		}
	}
	if _, err := ask(ctx, s.link, s.auth.RoleDelete, &pb.AuthRoleDeleteRequest{Role: m.role()}); err != nil && !said(err, rpctypes.ErrGRPCRoleNotFound) {
		return err
	}
	return notOurs(m)
}

func (s session) grant(ctx context.Context, m mark, role string) error {
	_, err := ask(ctx, s.link, s.auth.UserGrantRole, &pb.AuthUserGrantRoleRequest{User: m.login, Role: role})
	return err
}

// ownPassword gives a user that is ours its role and the credential's password, where it
// has not. One that somebody made anew without any can't be given one.
func (s session) ownPassword(ctx context.Context, m mark, password patchbay.Secret) error {
	has, err := s.signsIn(ctx, m.login, password.Reveal())
	if err != nil {
		return err
	}
	if !has {
		if _, err := ask(ctx, s.link, s.auth.UserChangePassword, &pb.AuthUserChangePasswordRequest{Name: m.login, Password: password.Reveal()}); err != nil {
			return err
		}
		if has, err = s.signsIn(ctx, m.login, password.Reveal()); err != nil {
			return err
		}
	}
	if !has {
		if err := s.dropUser(ctx, m); err != nil {
			return err
		}
		if _, err := ask(ctx, s.link, s.auth.UserAdd, &pb.AuthUserAddRequest{Name: m.login, Password: password.Reveal()}); err != nil {
			return err
		}
	}
	found, err := s.look(ctx, m)
	if err != nil || found.grants {
		return err
	}
	return s.grant(ctx, m, found.role)
}

func (s session) dropUser(ctx context.Context, m mark) error {
	_, err := ask(ctx, s.link, s.auth.UserDelete, &pb.AuthUserDeleteRequest{Name: m.login})
	if said(err, rpctypes.ErrGRPCUserNotFound) {
		return nil
	}
	return err
}

// differs says what the login lacks of a scope, and what it has beyond.
func (f seen) differs(scope []permission) (missing, excess []string) {
	if f.grants {
		missing, excess = compare(scope, f.may)
	} else {
		missing, _ = compare(scope, nil)
	}
	for _, role := range f.roles {
		if role != f.role {
			excess = append(excess, "the role "+driver.Quoted(role))
		}
	}
	return missing, excess
}

// InspectLogin implements [driver.Administrator].
func (t *target) InspectLogin(ctx context.Context, r driver.LoginRequest) (driver.LoginState, error) {
	m, scope, err := t.checkRequest(r)
	if err != nil {
		return driver.LoginState{}, err
	}
	var state driver.LoginState
	err = t.admin.use(ctx, "look at the login "+r.Name, func(ctx context.Context, s session) error {
		found, err := s.look(ctx, m)
		if err != nil || !found.user {
			return err
		}
		state.Exists = true
		if state.Ours, err = s.ours(ctx, m, found, patchbay.Secret{}); err != nil || !state.Ours {
			return err
		}
		state.Missing, state.Excess = found.differs(scope)
		return nil
	})
	return state, err
}

// RemoveLogin implements [driver.Administrator]. The keys that the login put are
// nobody's, and stay.
func (t *target) RemoveLogin(ctx context.Context, r driver.LoginRequest) error {
	m, err := markOf(r)
	if err != nil {
		return err
	}
	return t.admin.use(ctx, "remove the login "+r.Name, func(ctx context.Context, s session) error {
		found, err := s.look(ctx, m)
		if err != nil {
			return err
		}
		ours := true
		if found.user {
			if ours, err = s.ours(ctx, m, found, patchbay.Secret{}); err != nil {
				return err
			}
		}
		if found.user && ours {
			if err := s.dropUser(ctx, m); err != nil {
				return err
			}
		}
		// The role is ours, whosever the user is.
		for _, role := range append(slices.DeleteFunc(found.roles, func(role string) bool { return role == found.role || !m.marks(role) }), found.role) {
			if role == found.role && !found.made {
				continue
			}
			if _, err := ask(ctx, s.link, s.auth.RoleDelete, &pb.AuthRoleDeleteRequest{Role: role}); err != nil && !said(err, rpctypes.ErrGRPCRoleNotFound) {
				return err
			}
		}
		if !ours {
			return notOurs(m)
		}
		return nil
	})
}

// Owned implements [driver.Administrator].
func (t *target) Owned(ctx context.Context) ([]driver.Owned, error) {
	var owned []driver.Owned
	err := t.admin.use(ctx, "list the logins", func(ctx context.Context, s session) error {
		all, err := ask(ctx, s.link, s.auth.RoleList, &pb.AuthRoleListRequest{})
		if err != nil {
			return err
		}
		for _, role := range all.GetRoles() {
			if m, ok := parseMark(role); ok {
				owned = append(owned, driver.Owned{Mark: m.Mark, Name: m.login})
			}
		}
		return nil
	})
	return owned, err
}

// Beyond implements [driver.WarnedLogins].
func (t *target) Beyond(_ context.Context, r driver.LoginRequest) ([]string, error) {
	scope, err := t.scopeOf(r.Access, r.Options)
	if err != nil {
		return nil, err
	}
	list := []string{"etcd asks for rights when a watch begins, and not again: a watch that is open when this login is removed is told of changes until its connection ends"}
	for _, p := range scope {
		if last := p.key[len(p.key)-1]; strings.IndexByte("/.:-_|#", last) < 0 {
			list = append(list, fmt.Sprintf("the prefix %s does not end with a separator: this login reaches every key that begins so, as %s2 and what is below that", p.key, p.key))
		}
	}
	return list, nil
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_.@%+=:,/-]+$`)

// quoted is a word for a shell.
func quoted(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
