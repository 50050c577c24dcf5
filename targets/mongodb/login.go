package mongodb

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/failpoint"
)

// NewCredential implements [driver.Administrator].
func (t *target) NewCredential(ctx context.Context, r driver.LoginRequest) (driver.Credential, error) {
	if err := check(r, true); err != nil {
		return driver.Credential{}, err
	}
	return driver.Credential{
		Public: map[string]string{"username": r.Name, "authSource": r.Sub},
		Secret: driver.Secrets{"password": driver.NewPassword()},
	}, ctx.Err()
}

// Given implements [driver.GivenLogins]: a user of the connection's database, or with
// its own in front, admin/app.
func (t *target) Given(sub, name string, secret patchbay.Secret) (driver.Credential, error) {
	source := sub
	if database, user, ok := strings.Cut(name, "/"); ok {
		source, name = database, user
	}
	if name == "" || source == "" {
		return driver.Credential{}, invalid("a login to MongoDB has a user name").WithFix("--username NAME, or DATABASE/NAME where it is the user of another database")
	}
	return driver.Credential{Public: map[string]string{"username": name, "authSource": source}, Secret: driver.Secrets{"password": secret}}, nil
}

// notOurs is said of a user that has the login's name and not its mark.
func (l *link) notOurs(r driver.LoginRequest) error {
	return patchbay.Errorf(patchbay.NotOurs, "the user %s of %s is there on %s and does not bear this connection's mark; nothing of it was touched", r.Name, r.Sub, l.at).
		WithFix("look at it: db.getSiblingDB(%q).getUser(%q)", r.Sub, r.Name)
}

// EnsureLogin implements [driver.Administrator].
func (t *target) EnsureLogin(ctx context.Context, r driver.LoginRequest) error {
	if err := check(r, true); err != nil {
		return err
	}
	password := r.Credential.Secret["password"]
	if password.IsZero() {
		return invalid("the login %s has no password to sign in with", r.Name)
	}
	ctx, cancel := within(ctx)
	defer cancel()
	l, err := t.administer(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	w := wantedOf(r)
	if w.custom {
		if err := l.checkRoles(ctx, w.roles, r.Sub); err != nil {
			return err
		}
	}
	// A user that was made between the look and the making is somebody else's, or of
	// another process of ours.
	for range 2 {
		u, err := l.user(ctx, r.Name, r.Sub)
		if err != nil {
			return err
		}
		switch {
		case u == nil:
			err = l.run(ctx, r.Sub, append(bson.D{
				{Key: "createUser", Value: r.Name}, {Key: "customData", Value: dataOf(r)}, {Key: "roles", Value: w.roles}}, w.rest(password)...), nil)
			if is(err, codeUserExists) {
				continue
			}
		case !u.bears(r.Mark):
			return l.notOurs(r)
		default:
			err = l.repair(ctx, r, w, u, password)
			if is(err, codeUserNotFound) {
				continue
			}
		}
		if err != nil {
			return l.makeFault(w, err)
		}
		if err := failpoint.Hit(ctx, "mongodb/ensure/before-look"); err != nil {
			return err
		}
		return l.whole(ctx, r, w)
	}
	return patchbay.Errorf(patchbay.Conflict, "somebody makes and removes the user %s in the same moment", r.Name).AsTransient()
}

// repair makes a user of ours what it should be: what it has too much goes first. Roles
// are taken and given by name, for who sets them all at once (updateUser) has to have the
// right to revoke on every database. The password is not compared; it is made the
// credential's.
func (l *link) repair(ctx context.Context, r driver.LoginRequest, w wanted, u *user, password patchbay.Secret) error {
	excess := slices.DeleteFunc(slices.Clone(u.Roles), func(one role) bool { return slices.Contains(w.roles, one) })
	missing := slices.DeleteFunc(slices.Clone(w.roles), func(one role) bool { return slices.Contains(u.Roles, one) })
	if len(excess) > 0 {
		if err := l.run(ctx, r.Sub, bson.D{{Key: "revokeRolesFromUser", Value: r.Name}, {Key: "roles", Value: excess}, majority()}, nil); err != nil {
			return err
		}
	}
	if err := l.run(ctx, r.Sub, append(bson.D{{Key: "updateUser", Value: r.Name}}, w.rest(password)...), nil); err != nil || len(missing) == 0 {
		return err
	}
	return l.run(ctx, r.Sub, bson.D{{Key: "grantRolesToUser", Value: r.Name}, {Key: "roles", Value: missing}, majority()}, nil)
}

// rest is what a user is made of besides its name, mark and roles.
func (w wanted) rest(password patchbay.Secret) bson.D {
	return bson.D{
		{Key: "pwd", Value: password.Reveal()}, {Key: "mechanisms", Value: []string{sha256Mechanism}},
		{Key: "authenticationRestrictions", Value: w.restrictions()}, majority(),
	}
}

// makeFault says why a user could not be made.
func (l *link) makeFault(w wanted, err error) error {
	if is(err, codeRoleNotFound) {
		return patchbay.Errorf(patchbay.NotSupported, "%s does not know the roles of the login: %s", l.at, fewRoles(w.roles)).
			WithFix("if it is no MongoDB, but something that speaks like it, register it as external")
	}
	return l.fault("make the user", err)
}

func fewRoles(roles []role) string {
	var all []string
	for _, r := range roles {
		all = append(all, r.String())
	}
	return few(all)
}

// whole reads back what was made.
func (l *link) whole(ctx context.Context, r driver.LoginRequest, w wanted) error {
	u, err := l.user(ctx, r.Name, r.Sub)
	switch {
	case err != nil:
		return err
	case u == nil:
		return patchbay.Errorf(patchbay.Conflict, "somebody removed %s from %s in the same moment", r.Name, l.at).AsTransient()
	case !u.bears(r.Mark):
		return patchbay.Errorf(patchbay.NotSupported, "%s does not keep the mark of a login (customData)", l.at).
			WithFix("if it is no MongoDB, but something that speaks like it, register it as external")
	}
	if missing, excess := w.compare(u); len(missing)+len(excess) > 0 {
		return patchbay.Errorf(patchbay.NotSupported, "%s makes something else of a login than it was told: lacks %s; has besides %s", l.at, orNothing(missing), orNothing(excess))
	}
	return nil
}

func orNothing(all []string) string {
	if len(all) == 0 {
		return "nothing"
	}
	return few(all)
}

// checkRoles looks whether the roles that somebody asked for are there, and give nothing
// but rights on the database.
func (l *link) checkRoles(ctx context.Context, roles []role, database string) error {
	var told struct {
		Roles []struct {
			Role       string      `bson:"role"`
			DB         string      `bson:"db"`
			Privileges []privilege `bson:"privileges"`
			Inherited  []privilege `bson:"inheritedPrivileges"`
		} `bson:"roles"`
	}
	err := l.run(ctx, database, bson.D{{Key: "rolesInfo", Value: roles}, {Key: "showPrivileges", Value: true}}, &told)
	if err != nil {
		return l.fault("look at the roles", err)
	}
	for _, asked := range roles {
		found := false
		for _, have := range told.Roles {
			if (role{have.Role, have.DB}) != asked {
				continue
			}
			found = true
			for _, p := range slices.Concat(have.Privileges, have.Inherited) {
				if why := p.beyond(database); why != "" {
					return invalid("the role %s can't be had: it gives %s", asked.Role, why).
						WithFix("ask for a role of the database %s that gives rights on its data alone", database)
				}
			}
		}
		if !found {
			return invalid("the database %s has no role %s", database, driver.Quoted(fmt.Sprintf("%q", asked.Role))).
				WithFix("make it first: db.getSiblingDB(%q).createRole({role: NAME, privileges: […], roles: []})", database)
		}
	}
	return nil
}

// InspectLogin implements [driver.Administrator].
func (t *target) InspectLogin(ctx context.Context, r driver.LoginRequest) (driver.LoginState, error) {
	if err := check(r, true); err != nil {
		return driver.LoginState{}, err
	}
	ctx, cancel := within(ctx)
	defer cancel()
	l, err := t.administer(ctx)
	if err != nil {
		return driver.LoginState{}, err
	}
	defer l.close()
	u, err := l.user(ctx, r.Name, r.Sub)
	if err != nil || u == nil {
		return driver.LoginState{}, err
	}
	if !u.bears(r.Mark) {
		return driver.LoginState{Exists: true}, nil
	}
	state := driver.LoginState{Exists: true, Ours: true}
	state.Missing, state.Excess = wantedOf(r).compare(u)
	state.Sessions, err = t.sessions(ctx, l, r)
	return state, err
}

// RemoveLogin implements [driver.Administrator]. What is under way is ended after the
// drop, so that nothing begins in between; and also when the user is gone already, for an
// earlier call may have come no further.
func (t *target) RemoveLogin(ctx context.Context, r driver.LoginRequest) error {
	if err := check(r, false); err != nil {
		return err
	}
	ctx, cancel := within(ctx)
	defer cancel()
	l, err := t.administer(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	u, err := l.user(ctx, r.Name, r.Sub)
	if err != nil {
		return err
	}
	if u != nil {
		if !u.bears(r.Mark) {
			return l.notOurs(r)
		}
		err := l.run(ctx, r.Sub, bson.D{{Key: "dropUser", Value: r.Name}, majority()}, nil)
		if err != nil && !is(err, codeUserNotFound) {
			return l.fault("remove the user", err)
		}
	}
	if err := failpoint.Hit(ctx, "mongodb/remove/before-sessions"); err != nil {
		return err
	}
	return t.endSessions(ctx, l, r)
}

// Owned implements [driver.Administrator].
func (t *target) Owned(ctx context.Context) ([]driver.Owned, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	l, err := t.administer(ctx)
	if err != nil {
		return nil, err
	}
	defer l.close()
	users, err := l.marked(ctx, adminDatabase, bson.D{{Key: "forAllDBs", Value: true}})
	if is(err, codeUnauthorized) {
		users, err = l.markedInEach(ctx)
	}
	if err != nil {
		return nil, l.fault("list the users", err)
	}
	var all []driver.Owned
	for _, u := range users {
		if m, ok := u.mark(); ok {
			all = append(all, driver.Owned{Mark: m, Name: u.Name, Sub: u.DB})
		}
	}
	return all, nil
}

// marked are the users that have something where our mark would be.
func (l *link) marked(ctx context.Context, database string, which any) ([]user, error) {
	var told struct {
		Users []user `bson:"users"`
	}
	err := l.run(ctx, database, bson.D{{Key: "usersInfo", Value: which},
		{Key: "filter", Value: bson.D{{Key: "customData." + markField + ".uid", Value: bson.D{{Key: "$exists", Value: true}}}}}}, &told)
	return told.Users, err
}

// markedInEach asks each database on its own, for an administrator of some of them.
func (l *link) markedInEach(ctx context.Context) ([]user, error) {
	rights, err := l.rights(ctx)
	if err != nil {
		return nil, err
	}
	names, everywhere := rights.databases("viewUser")
	if everywhere {
		more, err := l.databases(ctx)
		if err != nil {
			return nil, err
		}
		names = append(names, more...)
	}
	slices.Sort(names)
	var all []user
	for _, name := range slices.Compact(names) {
		users, err := l.marked(ctx, name, 1)
		if err != nil {
			return nil, err
		}
		all = append(all, users...)
	}
	return all, nil
}
