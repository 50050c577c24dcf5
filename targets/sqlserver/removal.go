package sqlserver

import (
	"context"
	"slices"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// RemoveLogin keeps the login from signing in, ends its sessions, hands over what it
// owns, and drops it. Each step finds done what an earlier call did.
func (t *target) RemoveLogin(ctx context.Context, r driver.LoginRequest) error {
	if err := check(r, false); err != nil {
		return err
	}
	s, release, err := t.enter(ctx, r.Sub)
	if patchbay.CodeOf(err) == patchbay.ChildMissing {
		return t.removeAlone(ctx, r)
	}
	if err != nil {
		return err
	}
	defer release()
	return t.explained(ctx, s, s.locked(ctx, r.Name, func() error { return s.remove(ctx, r) }))
}

func (s *session) remove(ctx context.Context, r driver.LoginRequest) error {
	found, err := s.look(ctx, r)
	switch {
	case err != nil:
		return err
	case found.user == nil && found.login == nil && found.foreign == nil:
		return s.sweep(ctx, found)
	case found.user != nil && !found.user.mark.of(r), found.user == nil && found.login == nil:
		return notOurs(s.server.address(), r, found)
	case s.product.readOnly:
		return s.server.readOnly()
	}
	// Nobody knows the password of a user from here on; a login is told apart.
	if u := found.user; u != nil && u.auth == byDatabase {
		if err := s.exec(ctx, "alter user "+ident(r.Name)+" with password = "+literal(driver.NewPassword().Reveal())); err != nil {
			return err
		}
	}
	if l := found.login; l != nil && !l.disabled {
		if err := s.exec(ctx, "alter login "+ident(l.name)+" disable"); err != nil {
			return err
		}
	}
	if err := s.endSessions(ctx, r); err != nil {
		return err
	}
	if found.user != nil {
		if err := s.handOver(ctx, r, found); err != nil {
			return err
		}
	}
	if err := s.drop(ctx, r, found); err != nil {
		return err
	}
	return s.sweep(ctx, found)
}

// drop drops a user and its login, as one. A user that modules run as stays, as that.
func (s *session) drop(ctx context.Context, r driver.LoginRequest, found *state) error {
	var steps []string
	if found.user != nil {
		steps = append(steps, "drop user "+ident(r.Name))
	}
	if l := found.login; l != nil {
		steps = append(steps, "drop login "+ident(l.name))
	}
	err := s.exec(ctx, together(steps))
	if numberOf(err) != errRunsModules {
		return err
	}
	steps = []string{markStatements(markOf(r, kindKept), changeMark)}
	if l := found.login; l != nil {
		steps = append(steps, "drop login "+ident(l.name))
	}
	return s.exec(ctx, together(steps))
}

// dropUser drops the user alone, to make it anew.
func (s *session) dropUser(ctx context.Context, r driver.LoginRequest, found *state) error {
	if err := s.handOver(ctx, r, found); err != nil {
		return err
	}
	return s.exec(ctx, "drop user "+ident(r.Name))
}

// handOver makes what a user owns the property of one of ours. It goes to a user and not
// to a role, because modules that run as their owner run as a single user; and not to
// dbo, because they would run as that then.
func (s *session) handOver(ctx context.Context, r driver.LoginRequest, found *state) error {
	of := func(class, schema, name, from, where string) string {
		return "select cast(N'" + class + "' as nvarchar(8)), cast(" + schema + " as nvarchar(128)), cast(" + name + " as nvarchar(128)) from " + from +
			" join sys.database_principals p on p.principal_id = o.principal_id where p.name = " + literal(r.Name) + where
	}
	all, err := s.ask(ctx, of("schema", "o.name", "N''", "sys.schemas o", "")+" union all "+
		of("object", "s.name", "o.name", "sys.objects o join sys.schemas s on s.schema_id = o.schema_id", " and o.parent_object_id = 0")+" union all "+
		of("type", "s.name", "o.name", "sys.types o join sys.schemas s on s.schema_id = o.schema_id", " and o.is_user_defined = 1"), 3)
	if err != nil || len(all[0]) == 0 {
		return err
	}
	if found.owner != nil && (found.owner.mark == nil || found.owner.mark.Kind != kindOwner) {
		return patchbay.Errorf(patchbay.Conflict, "the login %s owns a part of the database on %s, and the user [%s] that is to have it is somebody else's", r.Name, s.server.address(), markName).
			WithFix("give that one another name: ALTER USER [%s] WITH NAME = …", markName)
	}
	if found.owner == nil {
		if err := s.exec(ctx, together([]string{"create user [" + markName + "] without login with default_schema = [dbo]", markStatements(mark{Kind: kindOwner, Database: r.Sub}, addMark)})); err != nil {
			return err
		}
		found.owner = &user{name: markName, mark: &mark{Kind: kindOwner}}
	}
	for _, row := range all[0] {
		statement := "alter authorization on " + row[0] + "::" + ident(row[1])
		if row[0] == "schema" {
			statement += " to [" + markName + "]"
		} else {
			statement += "." + ident(row[2]) + " to schema owner"
		}
		if err := s.exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// sweep drops the users of the database that were kept for what they owned or ran, and
// do so no more.
func (s *session) sweep(ctx context.Context, found *state) error {
	if s.product.readOnly {
		return nil
	}
	all, err := s.marked(ctx, "")
	if err != nil {
		return err
	}
	for _, m := range all {
		name := m.Name
		switch m.Kind {
		case kindKept:
		case kindOwner:
			name = markName
		default:
			continue
		}
		if err := s.exec(ctx, "drop user "+ident(name)); err != nil && !slices.Contains(errsInUse, numberOf(err)) {
			return err
		}
	}
	return nil
}

// removeAlone removes the login of the server whose database is gone, and its user with
// it.
func (t *target) removeAlone(ctx context.Context, r driver.LoginRequest) error {
	s, release, err := t.acquire(ctx, "")
	if err != nil {
		return t.adminError(ctx, err)
	}
	defer release()
	found, err := s.lookAlone(ctx, r)
	if err != nil || found.login == nil {
		return t.adminError(ctx, err)
	}
	who := ident(found.login.name)
	if err = s.exec(ctx, "alter login "+who+" disable"); err == nil {
		if err = s.endSessions(ctx, r); err == nil {
			err = s.exec(ctx, "drop login "+who)
		}
	}
	return t.adminError(ctx, err)
}

// CheckRemoval implements [driver.RemovalChecker].
func (t *target) CheckRemoval(ctx context.Context, r driver.LoginRequest) error {
	if err := check(r, false); err != nil {
		return err
	}
	s, release, err := t.enter(ctx, r.Sub)
	if patchbay.CodeOf(err) == patchbay.ChildMissing {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	return t.adminError(ctx, s.checkAdmin(ctx))
}

// endSessions ends the sessions of a login that signs in no more, and returns when they
// are gone, or undo what they did: that takes as long as it took, and nothing can be done
// in one meanwhile.
func (s *session) endSessions(ctx context.Context, r driver.LoginRequest) error {
	wait := time.Millisecond
	killed := map[string]bool{} // once: an id is soon somebody else's
	for {
		all, err := s.ask(ctx, sessionsOf(r), 2)
		if err != nil {
			return err
		}
		var found state
		found.readSessions(all[0])
		if len(found.sessions) == 0 {
			return nil
		}
		for _, id := range found.sessions {
			if strings.Trim(id, "0123456789") != "" {
				return s.server.misbehaved()
			}
			if killed[id] {
				continue
			}
			killed[id] = true
			if err := s.exec(ctx, "kill "+id); err != nil && !slices.Contains(errsNoSession, numberOf(err)) {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
			wait = min(2*wait, 50*time.Millisecond)
		}
	}
}
