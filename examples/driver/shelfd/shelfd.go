// Package shelfd is Shelf, a small key-value server, so that the example has something to
// administer. Yours is where your product is.
//
// Everybody signs in with a name and a password, on every request (HTTP basic
// authentication). A user has a right on each of some shelves: to read what is on it; to
// write, which is to put and delete too; or to own, which is to empty it as well. What a
// user may not do is 403, whether it is there or not.
//
//	GET    /version                        what runs here; nobody has to sign in
//	GET    /shelves                        the shelves that one may read
//	GET    /shelves/{shelf}/keys           the keys on a shelf
//	DELETE /shelves/{shelf}/keys           empties it
//	GET    /shelves/{shelf}/keys/{key}     a value; PUT and DELETE too
//	PUT    /shelves/{shelf}                makes a shelf; the rest is for administrators too
//	GET    /admin/users                    all users
//	GET    /admin/users/{name}             a user, with the version of it as its ETag
//	PUT    /admin/users/{name}             makes or replaces it, in one piece
//	DELETE /admin/users/{name}
//
// If-Match and If-None-Match: * are looked at after the rights, and 412 where they do not
// hold.
package shelfd

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
)

// Version is the server's.
const Version = "1.4.2"

const (
	maxBody = 1 << 20 // bytes of a request
	maxName = 200     // bytes of a user's, a shelf's or a key's name
	maxNote = 4 << 10 // bytes
	rounds  = 1000    // of the hash of a password: few, because the tests sign in thousands of times
)

// Right is what a user may do with a shelf. Each includes the ones before it.
type Right string

// The rights.
const (
	Read  Right = "read"
	Write Right = "write"
	Own   Right = "own"
)

var rights = []Right{Read, Write, Own}

// User is one, as the server is told and tells it. It never tells a password.
type User struct {
	Name     string           `json:"name"`
	Password string           `json:"password,omitempty"`
	Note     string           `json:"note,omitempty"` // for whoever administers the server
	Admin    bool             `json:"admin,omitempty"`
	Rights   map[string]Right `json:"rights,omitempty"` // by shelf
}

// record is a user as it is kept.
type record struct {
	User
	Salt    []byte `json:"salt"`
	Hash    []byte `json:"hash"`
	Version int64  `json:"version"`
}

// Server is one. It is all in memory, and in a file.
type Server struct {
	mux  *http.ServeMux
	file string

	mu   sync.Mutex
	data data
}

type data struct {
	Shelves map[string]map[string]string `json:"shelves"`
	Users   map[string]record            `json:"users"`
	Changes int64                        `json:"changes"` // that were made; no two users have the same version
}

// Open reads the file, "" for none, and makes the administrator if nobody is there yet.
func Open(file, admin, password string) (*Server, error) {
	s := &Server{file: file, data: data{Shelves: map[string]map[string]string{}, Users: map[string]record{}}}
	if file != "" {
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &s.data)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the shelves: %w", err)
		}
	}
	if len(s.data.Users) == 0 {
		if err := s.put(User{Name: admin, Password: password, Admin: true}); err != nil {
			return nil, err
		}
	}
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, map[string]string{"product": "shelf", "version": Version})
	})
	for pattern, h := range map[string]handler{
		"GET /shelves":                       s.shelves,
		"PUT /shelves/{shelf}":               asAdmin(s.putShelf),
		"GET /shelves/{shelf}/keys":          on(Read, s.keys),
		"DELETE /shelves/{shelf}/keys":       on(Own, s.empty),
		"GET /shelves/{shelf}/keys/{key}":    on(Read, s.value),
		"PUT /shelves/{shelf}/keys/{key}":    on(Write, s.putValue),
		"DELETE /shelves/{shelf}/keys/{key}": on(Write, s.deleteValue),
		"GET /admin/users":                   asAdmin(s.users),
		"GET /admin/users/{name}":            asAdmin(s.user),
		"PUT /admin/users/{name}":            asAdmin(s.putUser),
		"DELETE /admin/users/{name}":         asAdmin(s.deleteUser),
	} {
		s.mux.HandleFunc(pattern, s.signedIn(h))
	}
	return s, nil
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// request is one whose user has signed in, while nobody else has the server.
type request struct {
	*http.Request
	user record
	body []byte
}

// handler answers with a status, and what is told as JSON.
type handler func(w http.ResponseWriter, r request) (status int, body any)

func fault(text string) map[string]string { return map[string]string{"error": text} }

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if body != nil {
		_ = json.NewEncoder(w).Encode(body) // whoever asked is gone
	}
}

func (s *Server) signedIn(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			answer(w, 400, fault("the body can't be read"))
			return
		}
		name, password, _ := r.BasicAuth()
		s.mu.Lock()
		user, known := s.data.Users[name]
		s.mu.Unlock()
		if !known || !user.has(password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="shelf"`)
			answer(w, 401, fault("nobody of that name has that password"))
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.data.Users[name].Version != user.Version { // since the password was looked at
			answer(w, 401, fault("the user has changed"))
			return
		}
		status, told := h(w, request{r, user, body})
		answer(w, status, told)
	}
}

func asAdmin(h handler) handler {
	return func(w http.ResponseWriter, r request) (int, any) {
		if !r.user.Admin {
			return 403, fault("that is for administrators")
		}
		return h(w, r)
	}
}

func on(right Right, h handler) handler {
	return func(w http.ResponseWriter, r request) (int, any) {
		if !r.user.may(right, r.PathValue("shelf")) {
			return 403, fault("the user has no right to that")
		}
		return h(w, r)
	}
}

func (u record) may(right Right, shelf string) bool {
	return u.Admin || slices.Index(rights, u.Rights[shelf]) >= slices.Index(rights, right)
}

func (u record) has(password string) bool {
	hash, err := hashed(password, u.Salt)
	return err == nil && subtle.ConstantTimeCompare(hash, u.Hash) == 1
}

func hashed(password string, salt []byte) ([]byte, error) {
	return pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
}

// holds reports whether what a request demands of a thing is so. version is "" where
// there is none.
func (r request) holds(version string) bool {
	if match := r.Header.Get("If-Match"); match != "" && match != version {
		return false
	}
	return r.Header.Get("If-None-Match") != "*" || version == ""
}

func (s *Server) shelves(_ http.ResponseWriter, r request) (int, any) {
	names := []string{}
	for _, name := range slices.Sorted(maps.Keys(s.data.Shelves)) {
		if r.user.may(Read, name) {
			names = append(names, name)
		}
	}
	return 200, names
}

func (s *Server) putShelf(_ http.ResponseWriter, r request) (int, any) {
	name := r.PathValue("shelf")
	if len(name) > maxName {
		return 400, fault("the name is too long")
	}
	if s.data.Shelves[name] == nil {
		s.data.Shelves[name] = map[string]string{}
	}
	return s.kept(204, nil)
}

func (s *Server) keys(_ http.ResponseWriter, r request) (int, any) {
	shelf := s.data.Shelves[r.PathValue("shelf")]
	if shelf == nil {
		return 404, fault("there is no such shelf")
	}
	return 200, append([]string{}, slices.Sorted(maps.Keys(shelf))...)
}

func (s *Server) empty(_ http.ResponseWriter, r request) (int, any) {
	shelf := s.data.Shelves[r.PathValue("shelf")]
	switch {
	case shelf == nil:
		return 404, fault("there is no such shelf")
	case !r.holds("*"):
		return 412, fault("it is not as you say")
	}
	clear(shelf)
	return s.kept(204, nil)
}

func (s *Server) value(_ http.ResponseWriter, r request) (int, any) {
	value, there := s.data.Shelves[r.PathValue("shelf")][r.PathValue("key")]
	if !there {
		return 404, fault("there is no such key")
	}
	return 200, value
}

func (s *Server) putValue(_ http.ResponseWriter, r request) (int, any) {
	shelf := s.data.Shelves[r.PathValue("shelf")]
	switch {
	case shelf == nil:
		return 404, fault("there is no such shelf")
	case !r.holds("*"):
		return 412, fault("it is not as you say")
	case len(r.PathValue("key")) > maxName:
		return 400, fault("the key is too long")
	}
	shelf[r.PathValue("key")] = string(r.body)
	return s.kept(204, nil)
}

func (s *Server) deleteValue(_ http.ResponseWriter, r request) (int, any) {
	delete(s.data.Shelves[r.PathValue("shelf")], r.PathValue("key"))
	return s.kept(204, nil)
}

func (s *Server) users(http.ResponseWriter, request) (int, any) {
	all := []User{}
	for _, name := range slices.Sorted(maps.Keys(s.data.Users)) {
		all = append(all, s.data.Users[name].User)
	}
	return 200, all
}

func (s *Server) user(w http.ResponseWriter, r request) (int, any) {
	user, there := s.data.Users[r.PathValue("name")]
	if !there {
		return 404, fault("there is no such user")
	}
	w.Header().Set("ETag", user.tag())
	return 200, user.User
}

func (s *Server) putUser(_ http.ResponseWriter, r request) (int, any) {
	var u User
	if err := json.Unmarshal(r.body, &u); err != nil {
		return 400, fault("the user is no JSON")
	}
	if u.Name = r.PathValue("name"); len(u.Name) > maxName || len(u.Note) > maxNote {
		return 400, fault("the name or the note is too long")
	}
	for shelf, right := range u.Rights {
		switch {
		case !slices.Contains(rights, right):
			return 400, fault("there is no such right")
		case s.data.Shelves[shelf] == nil:
			return 422, fault("there is no such shelf")
		}
	}
	was, there := s.data.Users[u.Name]
	if there && !r.holds(was.tag()) || !there && !r.holds("") {
		return 412, fault("the user is not as you say")
	}
	if err := s.put(u); err != nil {
		return 500, fault("the file can't be written")
	}
	return 204, nil
}

func (s *Server) deleteUser(_ http.ResponseWriter, r request) (int, any) {
	was, there := s.data.Users[r.PathValue("name")]
	switch {
	case !there:
		return 404, fault("there is no such user")
	case !r.holds(was.tag()):
		return 412, fault("the user is not as you say")
	}
	delete(s.data.Users, was.Name)
	return s.kept(204, nil)
}

func (u record) tag() string { return strconv.Quote(strconv.FormatInt(u.Version, 10)) }

// put makes or replaces a user. One that is given no password keeps its own.
func (s *Server) put(u User) error {
	kept := s.data.Users[u.Name]
	if u.Password != "" || kept.Salt == nil {
		var err error
		kept.Salt = make([]byte, 16)
		_, _ = rand.Read(kept.Salt) // never fails
		if kept.Hash, err = hashed(u.Password, kept.Salt); err != nil {
			return err
		}
	}
	s.data.Changes++
	u.Password = ""
	kept.User, kept.Version = u, s.data.Changes
	s.data.Users[u.Name] = kept
	return s.save()
}

// kept is the answer to a change, once it is in the file.
func (s *Server) kept(status int, body any) (int, any) {
	if err := s.save(); err != nil {
		return 500, fault("the file can't be written")
	}
	return status, body
}

func (s *Server) save() error {
	if s.file == "" {
		return nil
	}
	text, err := json.MarshalIndent(s.data, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.file+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(s.file+".new", s.file)
}
