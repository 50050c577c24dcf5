package redis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/failpoint"
)

var loginName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

// check refuses a request that can't be carried out whatever the server says. A removal
// needs less than a making.
func check(r driver.LoginRequest, making bool) (scope, error) {
	switch {
	case !loginName.MatchString(r.Name) || r.Name == defaultUser:
		return scope{}, invalid("the login's name %.60q is not of lower-case letters, digits and underscores, at most 40", r.Name)
	case r.Mark.UID == "":
		return scope{}, invalid("the login has no mark")
	case !making:
		return scope{}, nil
	case r.Auth != patchbay.AuthSecret:
		return scope{}, patchbay.Errorf(patchbay.NotSupported, "a Redis login signs in with a secret, not by %s", r.Auth)
	case len(r.Roles) > 0:
		return scope{}, patchbay.Errorf(patchbay.NotSupported, "Redis has no roles").WithFix("ask for access reader, writer or owner")
	case !slices.Contains(accesses, r.Access):
		return scope{}, invalid("access %q is not one of reader, writer, owner", r.Access)
	case len(r.Sources) > 0:
		return scope{}, patchbay.Errorf(patchbay.NotSupported, "a Redis login is not bound to addresses").WithFix("guard the server: --guard")
	}
	if err := databaseOf(r.Sub); err != nil {
		return scope{}, err
	}
	return scopeOf(r.Sub, r.Options)
}

// NewCredential implements [driver.Administrator].
func (t *target) NewCredential(ctx context.Context, r driver.LoginRequest) (driver.Credential, error) {
	if _, err := check(r, true); err != nil {
		return driver.Credential{}, err
	}
	return driver.Credential{
		Public: map[string]string{"username": r.Name},
		Secret: driver.Secrets{"password": driver.NewPassword()},
	}, ctx.Err()
}

// wanted is what a login should be on one node.
type wanted struct {
	scope    scope
	access   patchbay.Access
	mark     string
	password string // SHA-256, in hex; "" when it is not known
	have     commands
}

func (w wanted) commands() []string { return w.scope.commandRules(w.access, w.have) }

// rules are what ACL SETUSER is told to make a user exactly that, in one instant.
func (w wanted) rules() []any {
	// reset leaves the channels that new users have (acl-pubsub-default).
	all := []any{"reset", "resetchannels", "on", "#" + w.password}
	for _, rule := range slices.Concat(w.scope.keyRules(w.access), w.scope.channelRules(), w.commands()) {
		all = append(all, rule)
	}
	return append(all, selector{keys: w.mark, commands: nothing}.String())
}

// compare says what a user lacks, and has beyond it, in the server's words.
func (w wanted) compare(u *user) (missing, excess []string) {
	lacks := func(format string, args ...any) { missing = append(missing, fmt.Sprintf(format, args...)) }
	exceeds := func(format string, args ...any) { excess = append(excess, fmt.Sprintf(format, args...)) }
	if !u.has("on") {
		lacks("on: it is off")
	}
	if u.has("nopass") {
		exceeds("nopass: it signs in with any password")
	}
	if u.has("skip-sanitize-payload") {
		exceeds("skip-sanitize-payload")
	}
	if len(u.passwords) == 0 && !u.has("nopass") {
		lacks("a password")
	}
	if len(u.passwords) > 1 {
		exceeds("%d passwords, of which one is its own", len(u.passwords))
	}
	for _, part := range []struct {
		want []string
		have string
	}{{w.scope.keyRules(w.access), u.root.keys}, {w.scope.channelRules(), u.root.channels}} {
		have := strings.Fields(part.have)
		for _, rule := range part.want {
			if !slices.Contains(have, rule) && !slices.Contains(have, strings.Replace(rule, "%R~", "~", 1)) {
				lacks("%s", rule)
			}
		}
		for _, rule := range have {
			if !slices.Contains(part.want, rule) {
				exceeds("%s", rule)
			}
		}
	}
	want, have := w.have.effective(w.commands()), w.have.effective(strings.Fields(u.root.commands))
	for _, name := range less(want, have) {
		lacks("+%s", name)
	}
	for _, name := range less(have, want) {
		exceeds("+%s", name)
	}
	marked := false
	for _, s := range u.selectors {
		if m, ok := parseMark(markPrefix, s.keys); ok && !marked && s.commands == nothing && s.channels == "" && markOf(markPrefix, m) == w.mark {
			marked = true
			continue
		}
		exceeds("%s", s)
	}
	if !marked {
		lacks("its mark in whole")
	}
	return missing, excess
}

// exact reports whether a user is as it should be, its password too.
func (w wanted) exact(u *user) bool {
	if u == nil {
		return false
	}
	missing, excess := w.compare(u)
	return len(missing)+len(excess) == 0 && slices.Equal(u.passwords, []string{w.password})
}

// user asks the node for one; nil when there is none.
func (n *node) user(ctx context.Context, name string) (*user, error) {
	told, err := n.must(ctx, "look at the user", command{"ACL", "GETUSER", name})
	if err != nil {
		return nil, err
	}
	return n.userOf(told[0])
}

func (n *node) userOf(value any) (*user, error) {
	u, err := userOf(value)
	if err != nil {
		return nil, n.strange("a user")
	}
	return u, nil
}

// strange is an answer that no Redis gives.
func (n *node) strange(what string) error {
	return patchbay.Errorf(patchbay.TargetMisbehaved, "%s tells %s in a form that Redis does not have", n.at, what).
		WithFix("see what listens on %s", n.at)
}

// commands asks the node what it has.
func (n *node) commands(ctx context.Context) (commands, error) {
	const what = "list the commands"
	told, err := n.must(ctx, what, command{"ACL", "CAT"})
	if err != nil {
		return commands{}, err
	}
	categories, err := redis.Strings(told[0], nil)
	if err != nil {
		return commands{}, n.strange("its commands")
	}
	ask := make([]command, len(categories))
	for i, name := range categories {
		ask[i] = command{"ACL", "CAT", name}
	}
	lists, err := n.must(ctx, what, ask...)
	if err != nil {
		return commands{}, err
	}
	all, err := commandsOf(categories, lists)
	if err != nil {
		return commands{}, n.strange("its commands")
	}
	return all, nil
}

// notOurs is said of a user that has the login's name and not its mark.
func (n *node) notOurs(name string) error {
	return patchbay.Errorf(patchbay.NotOurs, "the user %s is there on %s and does not bear this connection's mark", name, n.at).
		WithFix("look at it: ACL GETUSER %s", name)
}

// EnsureLogin implements [driver.Administrator]. Nothing is changed before every node
// was seen, and seen to let us.
func (t *target) EnsureLogin(ctx context.Context, r driver.LoginRequest) error {
	s, err := check(r, true)
	if err != nil {
		return err
	}
	password := r.Credential.Secret["password"]
	if password.IsZero() {
		return invalid("the login %s has no password to sign in with", r.Name)
	}
	sum := sha256.Sum256([]byte(password.Reveal()))
	nodes, err := t.everywhere(ctx)
	if err != nil {
		return err
	}
	defer closeAll(nodes)
	had, keeps := make([]*user, len(nodes)), make([]keeping, len(nodes))
	wants := make([]wanted, len(nodes))
	err = onEach(nodes, func(i int, n *node) (err error) {
		if err = n.hasDatabase(ctx, r.Sub); err != nil {
			return err
		}
		if keeps[i], err = n.mayAdminister(ctx, t.admin.Username); err != nil {
			return err
		}
		wants[i] = wanted{scope: s, access: r.Access, mark: markOf(markPrefix, r.Mark), password: hex.EncodeToString(sum[:])}
		if wants[i].have, err = n.commands(ctx); err != nil {
			return err
		}
		if had[i], err = n.user(ctx, r.Name); err != nil {
			return err
		}
		if had[i] != nil && !had[i].bears(r.Mark) {
			return n.notOurs(r.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return onEach(nodes, func(i int, n *node) error {
		if !wants[i].exact(had[i]) {
			if err := n.make(ctx, r, wants[i], had[i] == nil); err != nil {
				return err
			}
		}
		if err := failpoint.Hit(ctx, "redis/ensure/before-save"); err != nil {
			return err
		}
		return n.keep(ctx, keeps[i])
	})
}

// make makes the user what it should be.
func (n *node) make(ctx context.Context, r driver.LoginRequest, w wanted, anew bool) error {
	if anew {
		if err := n.claim(ctx, r); err != nil {
			return err
		}
	}
	const what = "make the user"
	told, err := n.must(ctx, what, append(command{"ACL", "SETUSER", r.Name}, w.rules()...), command{"ACL", "GETUSER", r.Name})
	if err != nil {
		if e := patchbay.AsError(err); e.Code == patchbay.TargetUnreachable && e.Said != "" {
			return patchbay.Errorf(patchbay.NotSupported, "%s does not take the rules of a login", n.at).WithSaid(e.Said).
				WithFix("if it is no Redis or Valkey, but something that speaks like it, register it as external")
		}
		return err
	}
	u, err := n.userOf(told[1])
	switch {
	case err != nil:
		return err
	case u == nil:
		return patchbay.Errorf(patchbay.Conflict, "somebody removed %s from %s in the same moment", r.Name, n.at).AsTransient()
	case w.exact(u):
		return nil
	}
	missing, excess := w.compare(u)
	return patchbay.Errorf(patchbay.NotSupported, "%s makes something else of a login than it was told: lacks %s; has besides %s", n.at, few(missing), few(excess))
}

// claim marks a name that nobody has, without touching what anybody else makes of it
// meanwhile: SETUSER would take over a user of that name. What was there before is told
// in the same instant.
func (n *node) claim(ctx context.Context, r driver.LoginRequest) error {
	const what = "claim the user's name"
	claim := selector{keys: markOf(claimPrefix, r.Mark), commands: nothing}
	told, err := n.must(ctx, what, command{"MULTI"}, command{"ACL", "GETUSER", r.Name},
		command{"ACL", "SETUSER", r.Name, claim.String()}, command{"EXEC"})
	if err != nil {
		return err
	}
	both, err := redis.Values(told[3], nil)
	if err != nil || len(both) != 2 {
		return n.strange("what it did")
	}
	for _, one := range both {
		if e, refused := one.(redis.Error); refused {
			return n.fault(ctx, what, e)
		}
	}
	before, err := n.userOf(both[0])
	if err != nil || before == nil || before.bears(r.Mark) {
		return err
	}
	// Somebody was faster: back to what they made.
	back := command{"ACL", "SETUSER", r.Name, "clearselectors"}
	for _, s := range before.selectors {
		back = append(back, s.String())
	}
	if _, err := n.must(ctx, "take the claim back", back); err != nil {
		return err
	}
	return n.notOurs(r.Name)
}

// few are the first of what differs.
func few(all []string) string {
	const most = 8
	if len(all) == 0 {
		return "nothing"
	}
	text := strings.Join(all[:min(len(all), most)], " ")
	if len(all) > most {
		text += fmt.Sprintf(" and %d more", len(all)-most)
	}
	return driver.Quoted(text)
}

// InspectLogin implements [driver.Administrator].
func (t *target) InspectLogin(ctx context.Context, r driver.LoginRequest) (driver.LoginState, error) {
	s, err := check(r, true)
	if err != nil {
		return driver.LoginState{}, err
	}
	nodes, err := t.everywhere(ctx)
	if err != nil {
		return driver.LoginState{}, err
	}
	defer closeAll(nodes)
	found := make([]driver.LoginState, len(nodes))
	err = onEach(nodes, func(i int, n *node) (err error) {
		found[i], err = n.inspect(ctx, r, s)
		return err
	})
	if err != nil {
		return driver.LoginState{}, err
	}
	all := driver.LoginState{}
	for _, one := range found {
		all.Exists = all.Exists || one.Exists
	}
	all.Ours = all.Exists
	for i, one := range found {
		where := ""
		if len(nodes) > 1 {
			where = " (on " + nodes[i].at + ")"
		}
		if all.Exists && !one.Exists {
			one.Missing = []string{"the user"}
		} else if !one.Ours {
			all.Ours = false
		}
		for _, text := range one.Missing {
			all.Missing = append(all.Missing, text+where)
		}
		for _, text := range one.Excess {
			all.Excess = append(all.Excess, text+where)
		}
		all.Sessions += one.Sessions
		if one.LastUse.After(all.LastUse) {
			all.LastUse = one.LastUse
		}
	}
	return all, nil
}

func (n *node) inspect(ctx context.Context, r driver.LoginRequest, s scope) (driver.LoginState, error) {
	u, err := n.user(ctx, r.Name)
	if err != nil || u == nil {
		return driver.LoginState{}, err
	}
	if !u.bears(r.Mark) {
		return driver.LoginState{Exists: true}, nil
	}
	w := wanted{scope: s, access: r.Access, mark: markOf(markPrefix, r.Mark)}
	if w.have, err = n.commands(ctx); err != nil {
		return driver.LoginState{}, err
	}
	state := driver.LoginState{Exists: true, Ours: true}
	state.Missing, state.Excess = w.compare(u)
	state.Sessions, state.LastUse, err = n.sessions(ctx, r.Name)
	return state, err
}

// sessions counts who is signed in as the user, and says when one of them last asked
// for something.
func (n *node) sessions(ctx context.Context, name string) (open int, last time.Time, err error) {
	told, err := n.must(ctx, "list the connections", command{"CLIENT", "LIST"})
	if err != nil {
		return 0, time.Time{}, err
	}
	text, err := redis.String(told[0], nil)
	if err != nil {
		return 0, time.Time{}, n.strange("its connections")
	}
	now := time.Now()
	for line := range strings.Lines(text) {
		words := strings.Fields(line) // no name has a space
		if !slices.Contains(words, "user="+name) {
			continue
		}
		open++
		for _, w := range words {
			if seconds, ok := strings.CutPrefix(w, "idle="); ok {
				if idle, err := strconv.ParseUint(seconds, 10, 31); err == nil {
					if at := now.Add(-time.Duration(idle) * time.Second); at.After(last) {
						last = at
					}
				}
			}
		}
	}
	return open, last, nil
}

// RemoveLogin implements [driver.Administrator]. The server ends the sessions of a user
// that it deletes in the same instant. Where it is gone already, that is kept once more:
// whoever deleted it may have died before.
func (t *target) RemoveLogin(ctx context.Context, r driver.LoginRequest) error {
	if _, err := check(r, false); err != nil {
		return err
	}
	nodes, missing, err := t.survey(ctx)
	if err != nil {
		return err
	}
	defer closeAll(nodes)
	err = onEach(nodes, func(_ int, n *node) error { return n.remove(ctx, t.admin.Username, r) })
	if err == nil && len(missing) > 0 {
		err = missing[0].error()
	}
	return err
}

func (n *node) remove(ctx context.Context, admin string, r driver.LoginRequest) error {
	how, err := n.mayAdminister(ctx, admin)
	if err != nil {
		return err
	}
	u, err := n.user(ctx, r.Name)
	if err != nil {
		return err
	}
	if u != nil {
		if !u.bears(r.Mark) {
			return n.notOurs(r.Name)
		}
		if _, err := n.must(ctx, "delete the user", command{"ACL", "DELUSER", r.Name}); err != nil {
			return err
		}
		if err := failpoint.Hit(ctx, "redis/remove/before-save"); err != nil {
			return err
		}
	}
	return n.keep(ctx, how)
}

// CheckRemoval implements [driver.RemovalChecker].
func (t *target) CheckRemoval(ctx context.Context, r driver.LoginRequest) error {
	if _, err := check(r, false); err != nil {
		return err
	}
	nodes, err := t.everywhere(ctx)
	if err == nil {
		defer closeAll(nodes)
		err = onEach(nodes, func(_ int, n *node) error {
			_, err := n.mayAdminister(ctx, t.admin.Username)
			return err
		})
	}
	if patchbay.CodeOf(err) != patchbay.AdminRights {
		return nil // what else is in the way may be gone when it is removed
	}
	return err
}

// ourName is what a login of ours is called. Nobody else's user is looked at.
var ourName = regexp.MustCompile(`^pb_[a-z0-9]+_g[0-9]+$`)

// Owned implements [driver.Administrator].
func (t *target) Owned(ctx context.Context) ([]driver.Owned, error) {
	nodes, err := t.everywhere(ctx)
	if err != nil {
		return nil, err
	}
	defer closeAll(nodes)
	found := make([][]driver.Owned, len(nodes))
	err = onEach(nodes, func(i int, n *node) (err error) {
		found[i], err = n.owned(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	var all []driver.Owned
	there := map[string]bool{}
	for _, one := range slices.Concat(found...) {
		if !there[one.Name] {
			there[one.Name] = true
			all = append(all, one)
		}
	}
	return all, nil
}

func (n *node) owned(ctx context.Context) ([]driver.Owned, error) {
	const what = "list the users"
	told, err := n.must(ctx, what, command{"ACL", "USERS"})
	if err != nil {
		return nil, err
	}
	names, err := redis.Strings(told[0], nil)
	if err != nil {
		return nil, n.strange("its users")
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !ourName.MatchString(name) })
	var all []driver.Owned
	const batch = 256 // what is sent is read before more is asked
	for some := range slices.Chunk(names, batch) {
		ask := make([]command, len(some))
		for i, name := range some {
			ask[i] = command{"ACL", "GETUSER", name}
		}
		users, err := n.must(ctx, what, ask...)
		if err != nil {
			return nil, err
		}
		for i, value := range users {
			u, err := n.userOf(value)
			if err != nil {
				return nil, err
			}
			if u == nil {
				continue
			}
			m, ok := u.mark(markPrefix)
			if claim, claimed := u.mark(claimPrefix); !ok && claimed && u.newborn() {
				m, ok = claim, true
			}
			if ok && fmt.Sprintf("pb_%s_g%d", m.UID, m.Generation) == some[i] {
				all = append(all, driver.Owned{Mark: m, Name: some[i]})
			}
		}
	}
	return all, nil
}

// Beyond implements [driver.WarnedLogins].
func (t *target) Beyond(_ context.Context, r driver.LoginRequest) ([]string, error) {
	s, err := check(driver.LoginRequest{Name: "any", Mark: driver.Mark{UID: "any"}, Sub: r.Sub, Auth: r.Auth, Access: r.Access, Roles: r.Roles, Options: r.Options}, true)
	if err != nil {
		return nil, err
	}
	var all []string
	if s.database != "0" {
		all = append(all, "every connection begins in database 0, so it may do there, to keys of its patterns, what it may do in database "+s.database)
	}
	if whole(s.channels) {
		all = append(all, "channels are the server's: it hears those of applications in other databases")
	}
	return all, nil
}
