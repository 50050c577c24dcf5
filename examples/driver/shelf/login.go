package shelf

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// user is one as Shelf has it.
type user struct {
	Name     string            `json:"name"`
	Password string            `json:"password,omitempty"` // never told
	Note     string            `json:"note,omitempty"`
	Admin    bool              `json:"admin,omitempty"`
	Rights   map[string]string `json:"rights,omitempty"` // by shelf
}

// rights are what each access is called there.
var rights = map[patchbay.Access]string{patchbay.Reader: "read", patchbay.Writer: "write", patchbay.Owner: "own"}

// noteBegins is before the mark in a note.
const noteBegins = "patchbay login "

// mark is what the note of a login holds: all that its removal needs.
type mark struct {
	driver.Mark
	Shelf string `json:"shelf"`
}

func note(r driver.LoginRequest) (string, error) {
	text, err := json.Marshal(mark{r.Mark, r.Sub})
	return noteBegins + string(text), err
}

// parseNote is the mark in a note; ok is false of what is not ours.
func parseNote(note string) (m mark, ok bool) {
	text, ours := strings.CutPrefix(note, noteBegins)
	ours = ours && json.Unmarshal([]byte(text), &m) == nil
	return m, ours && m.UID != "" && m.Generation > 0
}

// is reports whether the user is the login of the request.
func (u user) is(r driver.LoginRequest) bool {
	m, ok := parseNote(u.Note)
	return ok && m.UID == r.Mark.UID && m.Generation == r.Mark.Generation
}

// differs says what the user lacks of a request, and what it has beyond.
func (u user) differs(r driver.LoginRequest) (missing, excess []string) {
	want := rights[r.Access]
	for shelf, has := range u.Rights {
		if shelf != r.Sub || has != want {
			excess = append(excess, has+" on "+driver.Quoted(shelf))
		}
	}
	if u.Rights[r.Sub] != want {
		missing = append(missing, want+" on "+driver.Quoted(r.Sub))
	}
	if u.Admin {
		excess = append(excess, "administers the server")
	}
	slices.Sort(excess)
	return missing, excess
}

var nameForm = regexp.MustCompile(`^pb_[a-z0-9_]{1,37}$`)

// checkIdentity is what can be checked of what a login is found by, which is all that a
// removal may have.
func checkIdentity(r driver.LoginRequest) error {
	switch {
	case !nameForm.MatchString(r.Name):
		return patchbay.Errorf(patchbay.InvalidArgument, "%.60q is not the name of a login", r.Name)
	case r.Mark.UID == "" || r.Mark.Generation <= 0:
		return patchbay.Errorf(patchbay.InvalidArgument, "the login %s has no connection or generation", r.Name)
	}
	return nil
}

// check is what can be checked besides of a login that is to be made.
func check(r driver.LoginRequest) error {
	if err := checkIdentity(r); err != nil {
		return err
	}
	switch {
	case r.Sub == "":
		return patchbay.Errorf(patchbay.InvalidArgument, "a login is for one shelf: name it behind the server, as SERVER/SHELF")
	case r.Auth != patchbay.AuthSecret || len(r.Roles) > 0 || len(r.Sources) > 0:
		return patchbay.Errorf(patchbay.NotSupported, "a login of Shelf has a password, an access, and nothing else")
	case rights[r.Access] == "":
		return patchbay.Errorf(patchbay.NotSupported, "a login of Shelf can't be %.40q", string(r.Access))
	}
	return nil
}

// NewCredential implements [driver.Administrator].
func (t *target) NewCredential(_ context.Context, r driver.LoginRequest) (driver.Credential, error) {
	if err := check(r); err != nil {
		return driver.Credential{}, err
	}
	return driver.Credential{
		Public: map[string]string{"username": r.Name},
		Secret: driver.Secrets{"password": driver.NewPassword()},
	}, nil
}

// look is the user of a request's name, with the ETag that changes it; found is false
// when there is none.
func (t *target) look(ctx context.Context, what string, r driver.LoginRequest) (u user, tag string, found bool, err error) {
	if err := checkIdentity(r); err != nil {
		return user{}, "", false, err
	}
	a, err := t.ask(ctx, what, question{path: path("admin", "users", r.Name)})
	if err != nil || a.status == 404 {
		return user{}, "", false, err
	}
	if err := a.read(200, &u); err != nil {
		return user{}, "", false, during(what, err)
	}
	return u, a.tag, true, nil
}

// ours is look, where somebody else's user is an error.
func (t *target) ours(ctx context.Context, what string, r driver.LoginRequest) (tag string, found bool, err error) {
	u, tag, found, err := t.look(ctx, what, r)
	if err == nil && found && !u.is(r) {
		err = patchbay.Errorf(patchbay.NotOurs, "%s: there is a user %s that does not bear the mark of this connection", what, r.Name).
			WithFix("see whose it is, and remove it if it is nobody's")
	}
	return tag, found, err
}

// EnsureLogin implements [driver.Administrator]. What is there already is written once
// more: nobody can see whether its password is the right one.
func (t *target) EnsureLogin(ctx context.Context, r driver.LoginRequest) error {
	what := "make the login " + r.Name
	if err := check(r); err != nil {
		return err
	}
	password := r.Credential.Secret["password"]
	tag, _, err := t.ours(ctx, what, r)
	if err != nil {
		return err
	}
	if r.Credential.Public["username"] != r.Name || password.IsZero() {
		return patchbay.Errorf(patchbay.InvalidArgument, "the credential is not the one that was made for %s", r.Name)
	}
	u := user{Password: password.Reveal(), Rights: map[string]string{r.Sub: rights[r.Access]}}
	if u.Note, err = note(r); err != nil {
		return err
	}
	a, err := t.ask(ctx, what, question{method: http.MethodPut, path: path("admin", "users", r.Name), match: tag, body: u})
	switch {
	case err != nil:
		return err
	case a.status == 412:
		return changed(what)
	case a.status == 422:
		return noShelf(r.Sub)
	case a.status != 204:
		return during(what, a.strange())
	}
	return nil
}

func changed(what string) error {
	return patchbay.Errorf(patchbay.Conflict, "%s: somebody else changes it at the same moment", what).AsTransient()
}

// InspectLogin implements [driver.Administrator].
func (t *target) InspectLogin(ctx context.Context, r driver.LoginRequest) (driver.LoginState, error) {
	u, _, found, err := t.look(ctx, "look at the login "+r.Name, r)
	if err != nil || !found {
		return driver.LoginState{}, err
	}
	state := driver.LoginState{Exists: true, Ours: u.is(r)}
	if state.Ours {
		state.Missing, state.Excess = u.differs(r)
	}
	return state, nil
}

// RemoveLogin implements [driver.Administrator]. A user signs in with every request, so
// there is no session to end.
func (t *target) RemoveLogin(ctx context.Context, r driver.LoginRequest) error {
	what := "remove the login " + r.Name
	tag, found, err := t.ours(ctx, what, r)
	if err != nil || !found {
		return err
	}
	a, err := t.ask(ctx, what, question{method: http.MethodDelete, path: path("admin", "users", r.Name), match: tag})
	switch {
	case err != nil:
		return err
	case a.status == 412:
		return changed(what)
	case a.status != 204 && a.status != 404:
		return during(what, a.strange())
	}
	return nil
}

// Owned implements [driver.Administrator].
func (t *target) Owned(ctx context.Context) ([]driver.Owned, error) {
	const what = "list the logins"
	a, err := t.ask(ctx, what, question{path: "/admin/users"})
	if err != nil {
		return nil, err
	}
	var users []user
	if err := a.read(200, &users); err != nil {
		return nil, during(what, err)
	}
	var owned []driver.Owned
	for _, u := range users {
		if m, ok := parseNote(u.Note); ok && nameForm.MatchString(u.Name) {
			owned = append(owned, driver.Owned{Mark: m.Mark, Name: u.Name, Sub: m.Shelf})
		}
	}
	return owned, nil
}
