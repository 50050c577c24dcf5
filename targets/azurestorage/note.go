package azurestorage

import (
	"bytes"
	"context"
	"encoding/xml"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// noteContainer is the container of the account's in which is noted whose a login is,
// with a blob for each that is called as the login. All of it is in the blob's metadata,
// so that one request lists thousands.
const noteContainer = "patchbay-logins"

// maxNotes is how many logins of ours an account may have.
const maxNotes = 20_000

var (
	nameForm = regexp.MustCompile(`^pb_[a-z0-9_]{1,37}$`)
	uidForm  = regexp.MustCompile(`^[a-z0-9]{1,64}$`)
)

// note is what is noted of a login.
type note struct {
	driver.Mark
	name   string // the login's
	of     child
	policy string // the identifier of its policy
}

// noteOf is the note of a request's login, which may be for no child that is known.
func noteOf(r driver.LoginRequest) (note, error) {
	switch {
	case !nameForm.MatchString(r.Name):
		return note{}, patchbay.Errorf(patchbay.InvalidArgument, "%.60q is not the name of a login", r.Name)
	case !uidForm.MatchString(r.Mark.UID) || r.Mark.Generation <= 0:
		return note{}, patchbay.Errorf(patchbay.InvalidArgument, "the login %s has no connection or generation", r.Name)
	}
	return note{Mark: r.Mark, name: r.Name}, nil
}

// marks reports whether the note is of that login. The connection in it is for people.
func (n note) marks(other note) bool {
	return n.name == other.name && n.UID == other.UID && n.Generation == other.Generation
}

const metadata = "X-Ms-Meta-"

func (n note) headers() map[string]string {
	return map[string]string{
		"X-Ms-Blob-Type": "BlockBlob",
		metadata + "Uid": n.UID, metadata + "Generation": strconv.FormatInt(n.Generation, 10),
		// Headers are ASCII.
		metadata + "Connection": url.QueryEscape(string(n.Connection)),
		metadata + "Service":    n.of.name, metadata + "Child": n.of.id, metadata + "Policy": n.policy,
	}
}

// parseNote reads a note; ok is false of what is none.
func parseNote(name string, of func(string) string) (n note, ok bool) {
	s := serviceNamed(of("Service"))
	id := of("Child")
	generation, err := strconv.ParseInt(of("Generation"), 10, 64)
	connection, err2 := url.QueryUnescape(of("Connection"))
	n = note{Mark: driver.Mark{UID: of("Uid"), Generation: generation, Connection: patchbay.ID(connection)}, name: name, of: child{s, id}, policy: of("Policy")}
	return n, isOf(n.policy, name) && len(n.policy) <= 64 && err == nil && err2 == nil && generation > 0 && s != nil && s.check(id) == nil && nameForm.MatchString(name) && uidForm.MatchString(n.UID)
}

// notes asks the container of notes.
func (t *target) notes(method, name string, query url.Values, header map[string]string, allowed ...int) request {
	path := "/" + noteContainer
	if name != "" {
		path += "/" + strings.ReplaceAll(url.PathEscape(name), "%2F", "/")
	}
	return request{method: method, at: t.at["blob"], path: path, query: query, header: header, allowed: allowed}
}

// noteAt reads the note of a login. there is true of anything of that name.
func (t *target) noteAt(ctx context.Context, what, name string) (n note, there, ok bool, err error) {
	got, err := t.api.do(ctx, what, t.notes(http.MethodHead, name, nil, nil, http.StatusNotFound))
	if err != nil || got.status == http.StatusNotFound {
		return note{}, false, false, err
	}
	n, ok = parseNote(name, func(key string) string { return got.header.Get(metadata + key) })
	return n, true, ok, nil
}

// writeNote makes the note, and the container of notes where it is the first.
func (t *target) writeNote(ctx context.Context, what string, n note) error {
	return t.makeBlob(ctx, what, n.name, n.headers())
}

// makeBlob makes an empty blob among the notes; one that is there is left alone where the headers say so.
func (t *target) makeBlob(ctx context.Context, what, name string, header map[string]string) error {
	for range 2 {
		got, err := t.api.do(ctx, what, t.notes(http.MethodPut, name, nil, header, http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed))
		switch {
		case err != nil:
			return err
		case got.status == http.StatusConflict && got.code() == "ContainerBeingDeleted":
			return patchbay.Errorf(patchbay.Conflict, "%s: the container %s is being deleted, and is needed", what, noteContainer).AsTransient()
		case got.status != http.StatusNotFound:
			return nil
		}
		_, err = t.api.do(ctx, what, t.notes(http.MethodPut, "", url.Values{"restype": {"container"}}, nil, http.StatusConflict))
		if err != nil {
			return err
		}
	}
	return patchbay.Errorf(patchbay.Conflict, "%s: the container %s was made, and is not there", what, noteContainer).AsTransient()
}

func (t *target) dropNote(ctx context.Context, what, name string) error {
	_, err := t.api.do(ctx, what, t.notes(http.MethodDelete, name, nil, nil, http.StatusNotFound))
	return err
}

// Owned implements [driver.Administrator].
func (t *target) Owned(ctx context.Context) ([]driver.Owned, error) {
	const what = "list the logins"
	var owned []driver.Owned
	query := url.Values{"restype": {"container"}, "comp": {"list"}, "prefix": {"pb_"}, "include": {"metadata"}}
	for {
		got, err := t.api.do(ctx, what, t.notes(http.MethodGet, "", query, nil, http.StatusNotFound))
		if err != nil {
			return nil, err
		}
		if got.status == http.StatusNotFound {
			return owned, nil
		}
		var page struct {
			Blobs []struct {
				Name     string `xml:"Name"`
				Metadata struct {
					All []struct {
						XMLName xml.Name
						Value   string `xml:",chardata"`
					} `xml:",any"`
				} `xml:"Metadata"`
			} `xml:"Blobs>Blob"`
			Next string `xml:"NextMarker"`
		}
		if err := xml.Unmarshal(bytes.TrimPrefix(got.body, []byte("\ufeff")), &page); err != nil {
			return nil, patchbay.Errorf(patchbay.TargetMisbehaved, "%s: the answer is no list of blobs", what)
		}
		for _, blob := range page.Blobs {
			n, ok := parseNote(blob.Name, func(key string) string {
				for _, one := range blob.Metadata.All {
					if strings.EqualFold(one.XMLName.Local, key) {
						return one.Value
					}
				}
				return ""
			})
			if ok {
				owned = append(owned, driver.Owned{Mark: n.Mark, Name: n.name, Sub: n.of.sub()})
			}
		}
		switch {
		case page.Next == "":
			return owned, nil
		case page.Next == query.Get("marker"), len(owned) > maxNotes:
			return nil, patchbay.Errorf(patchbay.TargetMisbehaved, "%s: the list has no end", what)
		}
		query.Set("marker", page.Next)
	}
}
