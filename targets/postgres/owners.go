package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// lacksRights is advice for an administrator of whom no more is known than that the
// server refused what it did.
const lacksRights = "give it the right that the server's own log names for that moment, or register a superuser"

// advised is err with what lets the administrator give rights in that database, when
// that is what it may not: the statement that is missing, not a list of what may be.
func (t *target) advised(ctx context.Context, database string, err error) error {
	e := patchbay.AsError(err)
	if e == nil || e.Code != patchbay.AdminRights || e.Fix != lacksRights {
		return err
	}
	told := *e
	s, release, err := t.acquire(ctx, database, false)
	switch {
	case patchbay.CodeOf(err) == patchbay.AdminRights:
		told.Fix = driver.Quoted("GRANT CONNECT ON DATABASE " + ident(database) + " TO " + ident(t.settings.Admin.Username))
	case err == nil:
		defer release()
		defer s.rollback(ctx)
		if s.begin(ctx, false, &pgx.Batch{}) != nil { // names are looked up in no path of somebody else's
			return &told
		}
		if fix, err := s.ownersFix(ctx, &catalogue{admin: t.settings.Admin.Username, version: s.version()}); err == nil {
			told.Fix = fix
		}
	}
	return &told
}
