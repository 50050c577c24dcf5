package mosquitto

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/mqttconnect"
)

// NewCredential implements [driver.Administrator].
func (t *target) NewCredential(ctx context.Context, r driver.LoginRequest) (driver.Credential, error) {
	if err := ctx.Err(); err != nil {
		return driver.Credential{}, err
	}
	if _, err := t.checkRequest(r); err != nil {
		return driver.Credential{}, err
	}
	return driver.Credential{
		Public: map[string]string{"username": r.Name},
		Secret: driver.Secrets{"password": driver.NewPassword()},
	}, nil
}

// markPrefix makes a description ours.
const markPrefix = "patchbay "

func markText(m driver.Mark) string {
	text, _ := json.Marshal(m) // texts and a number
	return markPrefix + string(text)
}

// parseMark is the mark in a description, false where there is none.
func parseMark(description string) (driver.Mark, bool) {
	text, ours := strings.CutPrefix(description, markPrefix)
	var m driver.Mark
	if !ours || json.Unmarshal([]byte(text), &m) != nil {
		return driver.Mark{}, false
	}
	return m, m.UID != "" && m.Generation > 0
}

// bears reports whether a description has the mark. The connection in it is for people.
func bears(description string, m driver.Mark) bool {
	has, ok := parseMark(description)
	return ok && has.UID == m.UID && has.Generation == m.Generation
}

// title is what people see of a login.
func title(m driver.Mark) string { return fmt.Sprintf("Patchbay, generation %d", m.Generation) }

// client and role are what the plugin says of one.
type client struct {
	ClientID    string `json:"clientid"`
	Title       string `json:"textname"`
	Description string `json:"textdescription"`
	Disabled    bool   `json:"disabled"`
	Roles       []struct {
		Name string `json:"rolename"`
	} `json:"roles"`
	Groups []struct {
		Name string `json:"groupname"`
	} `json:"groups"`
}

// has reports whether the client has the role.
func (c *client) has(role string) bool {
	for _, r := range c.Roles {
		if r.Name == role {
			return true
		}
	}
	return false
}

type role struct {
	Title       string `json:"textname"`
	Description string `json:"textdescription"`
	ACLs        []acl  `json:"acls"`
}

// login is what the broker has under a name, nil for what it has not.
type login struct {
	client *client
	role   *role
}

// look are the commands whose answers read takes.
func look(name string) []command {
	return []command{do("getClient", "username", name), do("getRole", "rolename", name)}
}

// read takes the answers to look.
func read(answers []answer) (login, error) {
	var l login
	var c struct {
		Client *client `json:"client"`
	}
	var r struct {
		Role *role `json:"role"`
	}
	for i, into := range []any{&c, &r} {
		switch a := answers[i]; {
		case a.absent():
		case a.Error != "":
			return l, a.refuse()
		case json.Unmarshal(a.Data, into) != nil:
			return l, unreadable()
		}
	}
	l.client, l.role = c.Client, r.Role
	return l, nil
}

// change carries out commands, and looks at what the name has afterwards. What the plugin
// refuses may be what another administrator has done meanwhile: refused is nil when all
// was done.
func (s *session) change(name string, commands ...command) (has login, refused, err error) {
	answers, err := s.run(append(commands, look(name)...)...)
	if err != nil {
		return login{}, nil, err
	}
	for _, a := range answers[:len(commands)] {
		if a.Error != "" {
			refused = a.refuse()
		}
	}
	has, err = read(answers[len(commands):])
	return has, refused, err
}

// ourRole is the role of a name when it bears the mark.
func ourRole(l login, m driver.Mark) *role {
	if l.role != nil && bears(l.role.Description, m) {
		return l.role
	}
	return nil
}

// notOurs is an error when what has the name does not bear the mark. A role of ours that
// waited for its client goes: it is of no use to anybody.
func (s *session) notOurs(has login, r driver.LoginRequest) error {
	var what string
	name := r.Name
	switch {
	case has.client != nil && !bears(has.client.Description, r.Mark):
		what = "client"
		if ourRole(has, r.Mark) != nil && !has.client.has(name) {
			if _, _, err := s.change(name, do("deleteRole", "rolename", name)); err != nil {
				return err
			}
		}
	case has.role != nil && !bears(has.role.Description, r.Mark):
		what = "role"
	default:
		return nil
	}
	return patchbay.Errorf(patchbay.NotOurs, "the broker has a %s %s that does not bear the mark of this connection, and is left alone", what, name).
		WithFix("see whose it is: mosquitto_ctrl dynsec get%s%s %s", strings.ToUpper(what[:1]), what[1:], name)
}

// repair is the next that has to be done so that the name has what is wanted; nothing when
// it has. Each of its commands leaves nothing half done, and what refers to something is done
// when that is seen to be ours.
func (l login) repair(r driver.LoginRequest, want []acl) []command {
	named := func(name, kind string, more ...any) command {
		return do(name, append([]any{kind, r.Name}, more...)...)
	}
	text := []any{"textname", title(r.Mark), "textdescription", markText(r.Mark)}
	if l.role == nil {
		return []command{named("createRole", "rolename", append(text, "acls", want)...)}
	}
	if missing, excess := compare(want, l.role.ACLs); len(missing)+len(excess) > 0 || l.role.Title != title(r.Mark) || l.role.Description != markText(r.Mark) {
		return []command{named("modifyRole", "rolename", append(text, "acls", want)...)}
	}
	c := l.client
	if c == nil {
		// The role comes after it: a client that is somebody else's by then gets none.
		return []command{named("createClient", "username", append(text, "password", r.Credential.Secret["password"].Reveal())...)}
	}
	var list []command
	if c.Title != title(r.Mark) || c.Description != markText(r.Mark) {
		list = append(list, named("modifyClient", "username", text...))
	}
	if c.ClientID != "" {
		list = append(list, named("setClientId", "username", "clientid", ""))
	}
	for _, has := range c.Roles {
		if has.Name != r.Name {
			list = append(list, named("removeClientRole", "username", "rolename", has.Name))
		}
	}
	for _, has := range c.Groups {
		list = append(list, do("removeGroupClient", "groupname", has.Name, "username", r.Name))
	}
	if !c.has(r.Name) {
		list = append(list, named("addClientRole", "username", "rolename", r.Name, "priority", 1))
	}
	if c.Disabled {
		list = append(list, named("enableClient", "username"))
	}
	return list
}

// turns bounds how often what is there is looked at and put right.
const turns = 8

// EnsureLogin implements [driver.Administrator].
func (t *target) EnsureLogin(ctx context.Context, r driver.LoginRequest) error {
	scope, err := t.checkRequest(r)
	if err != nil {
		return err
	}
	l, err := loginOf(r.Credential)
	if err != nil || l.Username != r.Name || l.Password == "" {
		return invalid("the credential is not the one that was made for %s", r.Name)
	}
	want := scope.acls()
	return t.administer(ctx, "make the login "+r.Name, func(s *session) error {
		has, refused, err := s.change(r.Name)
		for range turns {
			if err == nil {
				err = s.notOurs(has, r)
			}
			if err != nil {
				return err
			}
			next := has.repair(r, want)
			if len(next) == 0 {
				return t.hold(ctx, s, r.Name, l)
			}
			has, refused, err = s.change(r.Name, next...)
		}
		if refused != nil {
			return refused
		}
		return patchbay.Errorf(patchbay.Conflict, "%w", errChanged).AsTransient()
	})
}

// hold sees that the login has its password, which the plugin does not tell, by signing in
// with it: to set it anew would end the application's sessions.
func (t *target) hold(ctx context.Context, s *session, name string, l mqttconnect.Login) error {
	for again := range 2 {
		conn, _, err := t.connect(ctx, t.dialer, s.budget, l)
		if err == nil {
			conn.Close()
			return nil
		}
		var no *mqttconnect.Refusal
		if !errors.As(err, &no) || !no.OfLogin() {
			return err
		}
		if again > 0 {
			break
		}
		answers, err := s.run(do("setClientPassword", "username", name, "password", l.Password))
		if err != nil {
			return err
		}
		if answers[0].Error != "" {
			return answers[0].refuse()
		}
	}
	return patchbay.Errorf(patchbay.LoginRefused, "the plugin took the password, and the broker refuses it").
		WithFix("see whether another plugin or a password_file in mosquitto.conf decides before the dynamic security plugin does")
}

// InspectLogin implements [driver.Administrator].
func (t *target) InspectLogin(ctx context.Context, r driver.LoginRequest) (driver.LoginState, error) {
	scope, err := t.checkRequest(r)
	if err != nil {
		return driver.LoginState{}, err
	}
	var state driver.LoginState
	err = t.administer(ctx, "look at the login "+r.Name, func(s *session) error {
		has, _, err := s.change(r.Name)
		if err == nil && has.client != nil {
			state = has.state(r, scope.acls())
		}
		return err
	})
	return state, err
}

func (l login) state(r driver.LoginRequest, want []acl) driver.LoginState {
	state := driver.LoginState{Exists: true, Ours: bears(l.client.Description, r.Mark)}
	if !state.Ours {
		return state
	}
	var acls []acl
	switch {
	case l.role == nil || !l.client.has(r.Name): // it has nothing of what is given, and nothing to deny it by
	case !bears(l.role.Description, r.Mark):
		state.Excess = append(state.Excess, "the role of its name, which is somebody else's")
	default:
		acls = l.role.ACLs
	}
	missing, excess := compare(want, acls)
	state.Missing = append(state.Missing, missing...)
	if acls != nil { // without a role only a broker's defaults give it something
		state.Excess = append(state.Excess, excess...)
	}
	for _, has := range l.client.Roles {
		if has.Name != r.Name {
			state.Excess = append(state.Excess, "the rights of the role "+driver.Quoted(has.Name))
		}
	}
	for _, has := range l.client.Groups {
		state.Excess = append(state.Excess, "the rights of the group "+driver.Quoted(has.Name))
	}
	if l.client.Disabled {
		state.Missing = append(state.Missing, "sign in: it is disabled")
	}
	if l.client.ClientID != "" {
		state.Missing = append(state.Missing, "sign in with another client id than "+driver.Quoted(l.client.ClientID))
	}
	return state
}

// RemoveLogin implements [driver.Administrator]. The plugin ends the sessions of a client
// that it deletes. The client goes first: a role that goes before it leaves some versions with a
// client that still points at it.
func (t *target) RemoveLogin(ctx context.Context, r driver.LoginRequest) error {
	if err := checkIdentity(r); err != nil {
		return err
	}
	return t.administer(ctx, "remove the login "+r.Name, func(s *session) error {
		has, _, err := s.change(r.Name)
		if err != nil {
			return err
		}
		var commands []command
		if has.client != nil {
			if err := s.notOurs(login{client: has.client, role: ourRole(has, r.Mark)}, r); err != nil {
				return err
			}
			commands = append(commands, do("deleteClient", "username", r.Name))
		}
		if has.role != nil && bears(has.role.Description, r.Mark) {
			commands = append(commands, do("deleteRole", "rolename", r.Name))
		}
		if len(commands) == 0 {
			return nil
		}
		left, refused, err := s.change(r.Name, commands...)
		if err == nil && (left.client != nil && bears(left.client.Description, r.Mark) || left.role != nil && bears(left.role.Description, r.Mark)) {
			if refused != nil {
				return refused
			}
			err = patchbay.Errorf(patchbay.Conflict, "%w", errChanged).AsTransient()
		}
		return err
	})
}

// batch is how many names are looked at with one message.
const batch = 200

// Owned implements [driver.Administrator]. A role without its client is what a crash left.
func (t *target) Owned(ctx context.Context) ([]driver.Owned, error) {
	var owned []driver.Owned
	err := t.administer(ctx, "list the logins", func(s *session) error {
		names, err := s.names()
		if err != nil {
			return err
		}
		for some := range slices.Chunk(names, batch) {
			var commands []command
			for _, name := range some {
				commands = append(commands, look(name)...)
			}
			answers, err := s.run(commands...)
			if err != nil {
				return err
			}
			for i, name := range some {
				has, err := read(answers[2*i : 2*i+2])
				if err != nil {
					return err
				}
				if m, ok := has.mark(); ok {
					owned = append(owned, driver.Owned{Mark: m, Name: name})
				}
			}
		}
		return nil
	})
	return owned, err
}

// mark is the login's, or that of the role that is left of it.
func (l login) mark() (driver.Mark, bool) {
	if l.client != nil {
		return parseMark(l.client.Description)
	}
	if l.role != nil {
		return parseMark(l.role.Description)
	}
	return driver.Mark{}, false
}

// names are those of clients and roles that may be logins of ours.
func (s *session) names() ([]string, error) {
	answers, err := s.run(do("listClients", "verbose", false), do("listRoles", "verbose", false))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, a := range answers {
		var list struct {
			Clients []string `json:"clients"`
			Roles   []string `json:"roles"`
		}
		switch {
		case a.Error != "":
			return nil, a.refuse()
		case json.Unmarshal(a.Data, &list) != nil:
			return nil, unreadable()
		}
		names = append(append(names, list.Clients...), list.Roles...)
	}
	return sorted(slices.DeleteFunc(names, func(name string) bool { return !nameForm.MatchString(name) })), nil
}
