package postgres

import (
	"context"
	"maps"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/pgconnect"
)

// NewAdmin implements [driver.AdminRotator]. It signs in, to see that the server itself
// asks for the password and keeps it.
func (t *target) NewAdmin(ctx context.Context) (driver.Secrets, error) {
	admin, at := t.settings.Admin, t.settings.Address()
	if admin.Password.IsZero() {
		return nil, patchbay.Errorf(patchbay.NotSupported, "the administrator %q signs in to %s without a password, so there is none to replace", admin.Username, at).
			WithFix("give it one (\\password %s), and register the server again with it", ident(admin.Username))
	}
	s, release, err := t.acquire(ctx, "", false)
	if err != nil {
		return nil, err
	}
	defer release()
	var standby bool
	b := &pgx.Batch{}
	b.Queue("select pg_catalog.pg_is_in_recovery()").QueryRow(func(row pgx.Row) error { return row.Scan(&standby) })
	if err := s.ask(ctx, b); err != nil {
		return nil, err
	}
	const byHand = "set it by hand, and register the server again with it"
	switch way := pgconnect.Asked(s.conn); {
	case link(t.link.Load()) == pooler:
		return nil, patchbay.Errorf(patchbay.NotSupported, "there is a connection pooler at %s, and it may keep the administrator's password too (PgBouncer: auth_file)", at).
			WithFix("register the server itself; or %s", byHand)
	case way == "":
		return nil, patchbay.Errorf(patchbay.NotSupported, "%s lets the administrator %q in without its password, so nothing would show that a new one works", at, admin.Username).
			WithFix("have it asked for, in pg_hba.conf: host all %s <address> scram-sha-256, then: SELECT pg_reload_conf()", ident(admin.Username))
	case way == pgconnect.AuthClear:
		return nil, patchbay.Errorf(patchbay.NotSupported, "%s asks for the administrator's password in the clear, so it may be kept elsewhere (LDAP, RADIUS, PAM)", at).
			WithFix("where it is the role's own, use scram-sha-256 in pg_hba.conf, then: SELECT pg_reload_conf(); otherwise %s", byHand)
	case standby:
		return nil, patchbay.Errorf(patchbay.NotSupported, "%s is a standby, where nothing can be changed", at).
			WithFix("register the primary")
	}
	next := maps.Clone(t.admin)
	next["password"] = driver.NewPassword()
	return next, nil
}

// RotateAdmin implements [driver.AdminRotator]. The statement has the password's
// verifier, which is computed here: a server that wants to see the password refuses it.
// Whoever comes later waits for the lock, so that what comes later is what stays.
func (t *target) RotateAdmin(ctx context.Context, next driver.Secrets) error {
	login, err := next.UserPassword()
	switch {
	case err != nil:
		return err
	case login.Username != t.settings.Admin.Username:
		return invalid("the administrator's name stays as it is")
	case login.Password.IsZero():
		return invalid("the administrator's next password is empty")
	}
	hash, err := verifier(login.Password)
	if err != nil {
		return err
	}
	return t.change(ctx, "", func(s *session) (string, error) {
		if err := s.begin(ctx, true, &pgx.Batch{}); err != nil {
			return "", err
		}
		return "alter role " + ident(login.Username) + " password " + literal(hash.Reveal()) + ";", nil
	})
}
