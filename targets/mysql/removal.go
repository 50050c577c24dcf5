package mysql

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// RemoveLogin keeps the login from signing in, ends its sessions, and drops its accounts
// but for those that something still runs as. Each step finds done what an earlier call
// did.
func (t *target) RemoveLogin(ctx context.Context, r driver.LoginRequest) error {
	if err := check(r, false); err != nil {
		return err
	}
	return t.change(ctx, r, func(s *session) error {
		found, err := s.look(ctx, r)
		if err != nil {
			return err
		}
		ours, foreign := found.logins(r)
		if len(ours) == 0 && len(foreign) > 0 {
			return notOurs(s.server.address(), r, foreign)
		}
		if len(ours) > 0 {
			if s.product.readOnly {
				return s.server.readOnly("")
			}
			var names []string
			for _, a := range ours {
				names = append(names, at(account(r.Name), a.host))
			}
			if err := s.exec(ctx, "alter user "+strings.Join(names, ", ")+" account lock"); err != nil {
				return err
			}
			if err := s.endSessions(ctx, r, ""); err != nil {
				return err
			}
			// The one that the sessions were ended with may be new.
			if found, err = s.look(ctx, r); err != nil {
				return err
			}
			ours, _ = found.logins(r)
		}
		for _, a := range ours {
			if err := s.retire(ctx, r, a); err != nil {
				return err
			}
		}
		if len(ours) == 0 {
			if err := s.forget(ctx, r, found); err != nil {
				return err
			}
		}
		return s.sweepDefiners(ctx, r.Sub)
	})
}

// CheckRemoval implements [driver.RemovalChecker].
func (t *target) CheckRemoval(ctx context.Context, r driver.LoginRequest) error {
	if err := check(r, false); err != nil {
		return err
	}
	s, release, err := t.acquire(ctx)
	if err != nil {
		return err
	}
	defer release()
	return t.adminError(ctx, "", s.checkAdmin(ctx, ""))
}

// forget takes away marks of accounts that are gone.
func (s *session) forget(ctx context.Context, r driver.LoginRequest, found *state) error {
	for host, m := range found.marks {
		if found.at(host) == nil && m.of(r) && !s.product.readOnly {
			if err := s.dropMark(ctx, account(r.Name), host); err != nil {
				return err
			}
		}
	}
	return nil
}

// retire drops a locked account without sessions; one that something runs as stays as
// that.
func (s *session) retire(ctx context.Context, r driver.LoginRequest, a *accountState) error {
	user := account(r.Name)
	defines, err := s.defines(ctx, user, a.host, r.Sub)
	if err != nil {
		return err
	}
	if !defines {
		return s.drop(ctx, user, a.host)
	}
	m := markOf(r, kindDefiner)
	if !s.product.mariadb {
		return s.exec(ctx, "alter user "+at(user, a.host)+" account lock attribute "+m.attribute())
	}
	nobody := password{text: driver.NewPassword().Reveal()}.native()
	if err := s.putMark(ctx, user, a.host, m, proof(nobody)); err != nil {
		return err
	}
	return s.exec(ctx, "alter user "+at(user, a.host)+" identified via "+pluginNative+" using "+literal(nobody)+" account lock")
}

// drop drops an account, and then its mark.
func (s *session) drop(ctx context.Context, user, host string) error {
	// Absent is what is wanted.
	if err := s.exec(ctx, "drop user if exists "+at(user, host)); err != nil {
		return err
	}
	if !s.product.mariadb {
		return nil
	}
	return s.dropMark(ctx, user, host)
}

// defines reports whether a view, a routine, a trigger or an event runs as the account.
// MariaDB opens every table of a database to find its views: there, views and triggers
// are looked for where the login could make some.
func (s *session) defines(ctx context.Context, user, host, database string) (bool, error) {
	who := literal(user + "@" + host)
	in := func(column string) string {
		if s.product.mariadb {
			return " and " + column + " = " + literal(database)
		}
		return ""
	}
	routines, events := "information_schema.routines", "information_schema.events"
	if s.product.mariadb {
		routines, events = "mysql.proc", "mysql.event" // those that nobody else sees, too
	}
	for _, from := range []string{
		routines + " where definer = " + who,
		events + " where definer = " + who,
		"information_schema.views where definer = " + who + in("table_schema"),
		"information_schema.triggers where definer = " + who + in("trigger_schema"),
	} {
		found, err := s.one(ctx, "select 1 from "+from+" limit 1")
		if err != nil || found != "" {
			return found != "", err
		}
	}
	return false, nil
}

// sweepDefiners drops those accounts of a database that were kept for what they
// defined, and define nothing any more.
func (s *session) sweepDefiners(ctx context.Context, database string) error {
	kept, err := s.marked(ctx, kindDefiner, database)
	if err != nil {
		return err
	}
	for _, k := range kept {
		defines, err := s.defines(ctx, k.user, k.host, database)
		if err == nil && !defines {
			err = s.drop(ctx, k.user, k.host)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// thread is a session of the server.
type thread struct {
	id      string
	address netip.Addr // zero where the server says none
}

func threadQuery(user string) string {
	return "select id, user, host from information_schema.processlist where user = " + literal(user)
}

// threads are the sessions of accounts of that name, as far as who asked sees them.
func threads(user string, a answer) []thread {
	var all []thread
	for _, row := range a.rows {
		if row[1] != user {
			continue
		}
		t := thread{id: row[0]}
		host := row[2]
		if before, _, ok := cutLast(host, ':'); ok {
			host = before
		}
		t.address, _ = netip.ParseAddr(strings.Trim(host, "[]"))
		all = append(all, t)
	}
	return all
}

// startLimit is how long a sign-in that has begun is waited for. One that takes longer
// waits for its client, and finds the account locked.
const startLimit = time.Second

// endSessions ends the sessions of a login that is locked, and returns when they are
// gone: all of them, or those of the account for one host.
func (s *session) endSessions(ctx context.Context, r driver.LoginRequest, host string) error {
	sees, err := s.seesOthers(ctx)
	if err != nil {
		return err
	}
	if sees {
		err = killAll(ctx, s, r, host)
		if !mayNot(err) {
			return err
		}
	}
	return s.asLogin(ctx, r, func(own *session) error { return killAll(ctx, own, r, host) })
}

// seesOthers reports whether the administrator is shown the sessions of others. (To
// see this table takes PROCESS, as that does.)
func (s *session) seesOthers(ctx context.Context) (bool, error) {
	err := s.exec(ctx, "select count(*) from information_schema.innodb_trx")
	if mayNot(err) {
		return false, nil
	}
	return true, err
}

// killAll ends sessions by a session that may.
func killAll(ctx context.Context, by *session, r driver.LoginRequest, host string) error {
	own, err := by.one(ctx, "select connection_id()")
	if err != nil {
		return err
	}
	var starting []string // when we first looked
	deadline := time.Now().Add(startLimit)
	wait := time.Millisecond
	for first := true; ; first = false {
		found, err := by.ask(ctx, threadQuery(account(r.Name)), threadQuery("unauthenticated user"))
		if err != nil {
			return err
		}
		if len(found) != 2 {
			return by.misbehaved()
		}
		all, now := threads(account(r.Name), found[0]), threads("unauthenticated user", found[1])
		all = slices.DeleteFunc(all, func(t thread) bool { return t.id == own || host != "" && elsewhere(r, t) })
		for _, t := range all {
			if err := by.exec(ctx, "kill "+t.id); err != nil && numberOf(err) != errNoSuchThread {
				return err
			}
		}
		if first {
			for _, t := range now {
				starting = append(starting, t.id)
			}
		}
		starting = slices.DeleteFunc(starting, func(id string) bool { return !slices.ContainsFunc(now, func(t thread) bool { return t.id == id }) })
		if len(all) == 0 && (len(starting) == 0 || time.Now().After(deadline)) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
			wait = min(2*wait, 50*time.Millisecond)
		}
	}
}

// elsewhere reports whether a session is from where the login may go on speaking.
func elsewhere(r driver.LoginRequest, t thread) bool {
	return t.address.IsValid() && slices.ContainsFunc(r.Sources, func(p netip.Prefix) bool { return p.Contains(t.address.Unmap()) })
}

// asLogin runs f in a session of the login itself: everybody may end the sessions of
// one's own account. It takes one that lets in from where the administrator is.
func (s *session) asLogin(ctx context.Context, r driver.LoginRequest, f func(*session) error) error {
	found, err := s.look(ctx, r)
	if err != nil {
		return err
	}
	_, from, _ := cutLast(s.product.seenAs, '@')
	ours, _ := found.logins(r)
	mayNot := patchbay.Errorf(patchbay.AdminRights, "the administrator %q may not see or end the sessions of %s on %s, which can't sign in any more", s.server.admin.Username, r.Name, s.server.address()).
		WithFix("%s", s.killFix())
	s.broken = true // its rights on the whole server are those that it signed in with
	if len(ours) != 1 || ours[0].host != "%" && ours[0].host != from {
		return mayNot
	}
	host, secret := ours[0].host, driver.NewPassword()
	if err := s.makeAccount(ctx, markOf(r, kindLogin), host, ours[0], password{secret.Reveal(), s.plugin()}); err != nil {
		return err
	}
	own, err := s.server.signIn(ctx, s.server.dialer, driver.UserPassword{Username: account(r.Name), Password: secret}, "", "patchbay")
	if err == nil {
		err = f(own)
		own.close()
	} else if numberOf(err) != 0 {
		err = mayNot
	}
	if locked := s.exec(ctx, "alter user "+at(account(r.Name), host)+" account lock"); err == nil {
		err = locked
	}
	return err
}

// killFix lets the administrator end the sessions of others.
func (s *session) killFix() string {
	name := "CONNECTION_ADMIN"
	if s.product.mariadb {
		name = "CONNECTION ADMIN"
	}
	return fmt.Sprintf("GRANT PROCESS, %s ON *.* TO %s", name, s.adminName())
}

// adminName is the administrator's account, as statements name it.
func (s *session) adminName() string {
	user, host, _ := cutLast(s.product.admin, '@')
	return driver.Quoted(at(user, host))
}

func cutLast(text string, by byte) (before, after string, found bool) {
	if i := strings.LastIndexByte(text, by); i >= 0 {
		return text[:i], text[i+1:], true
	}
	return text, "", false
}
