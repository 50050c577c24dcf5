package azurestorage_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
)

// model stands in for Azure Files, of which there is no emulator: it has shares with files
// in one directory, lists of policies, and checks signatures as Microsoft's pages say that
// Azure does ("Create a service SAS", "Authorize with Shared Key"). What it shows is
// that the driver does what those pages say, not what Azure does.
type model struct {
	account string
	key     []byte

	mu     sync.Mutex
	shares map[string]*share
}

type share struct {
	list  []byte // of policies, as it was written
	files map[string]bool
}

type modelPolicy struct {
	ID         string `xml:"Id"`
	Start      string `xml:"AccessPolicy>Start"`
	Expiry     string `xml:"AccessPolicy>Expiry"`
	Permission string `xml:"AccessPolicy>Permission"`
}

type modelList struct {
	XMLName xml.Name      `xml:"SignedIdentifiers"`
	All     []modelPolicy `xml:"SignedIdentifier"`
}

func startModel(t *testing.T, s *testenv.AzuriteServer) string {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(s.Key)
	if err != nil {
		t.Fatal(err)
	}
	m := &model{account: s.Account, key: key, shares: map[string]*share{}}
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	return server.URL + "/" + s.Account
}

func (m *model) sum(lines ...string) string {
	h := hmac.New(sha256.New, m.key)
	h.Write([]byte(strings.Join(lines, "\n")))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

func (m *model) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	w.Header().Set("X-Ms-Version", r.Header.Get("X-Ms-Version"))
	w.Header().Set("Server", "Model-File/1.0")
	say := func(status int, code, text string) {
		if code != "" {
			w.Header().Set("X-Ms-Error-Code", code)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}
	name, file, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"+m.account+"/"), "/")
	q := r.URL.Query()
	at := m.shares[name]
	operation, needs := m.operation(r, file)
	if r.Header.Get("Authorization") != "" {
		if !m.knows(r, len(body)) {
			say(http.StatusForbidden, "AuthenticationFailed", "")
			return
		}
	} else if code := m.let(q.Get, name, at, needs); code != "" {
		say(http.StatusForbidden, code, "")
		return
	}
	switch {
	case operation == "list shares":
		var b strings.Builder
		for name := range m.shares {
			fmt.Fprintf(&b, "<Share><Name>%s</Name></Share>", name)
		}
		say(http.StatusOK, "", "<EnumerationResults><Shares>"+b.String()+"</Shares></EnumerationResults>")
	case operation == "create" && at == nil:
		m.shares[name] = &share{list: []byte("<SignedIdentifiers/>"), files: map[string]bool{"there": true}}
		say(http.StatusCreated, "", "")
	case at == nil:
		say(http.StatusNotFound, "ShareNotFound", "")
	case operation == "delete":
		delete(m.shares, name)
		say(http.StatusAccepted, "", "")
	case operation == "read list":
		say(http.StatusOK, "", string(at.list))
	case operation == "write list":
		var list modelList
		if err := xml.Unmarshal(body, &list); err != nil || len(list.All) > 5 {
			say(http.StatusBadRequest, "InvalidXmlDocument", "")
			return
		}
		at.list = body
		say(http.StatusOK, "", "")
	case operation == "list":
		say(http.StatusOK, "", "<EnumerationResults/>")
	case operation == "put":
		at.files[file] = true
		say(http.StatusCreated, "", "")
	case !at.files[file]:
		say(http.StatusNotFound, "ResourceNotFound", "")
	case operation == "remove":
		delete(at.files, file)
		say(http.StatusAccepted, "", "")
	default:
		say(http.StatusOK, "", "content")
	}
}

// operation is what is asked for, and the permissions of which it needs one; "" is for the
// key alone.
func (m *model) operation(r *http.Request, file string) (operation, needs string) {
	q := r.URL.Query()
	switch what := r.Method + " " + q.Get("restype") + " " + q.Get("comp"); {
	case what == "GET  list":
		return "list shares", ""
	case what == "PUT share ":
		return "create", ""
	case what == "DELETE share ":
		return "delete", ""
	case what == "GET share acl":
		return "read list", ""
	case what == "PUT share acl":
		return "write list", ""
	case what == "GET directory list":
		return "list", "l"
	case file != "" && what == "PUT  ":
		return "put", "cw"
	case file != "" && r.Method == http.MethodPut:
		return "change", "w"
	case file != "" && what == "DELETE  ":
		return "remove", "d"
	case file != "" && what == "GET  ":
		return "read", "r"
	}
	return "unknown", ""
}

// knows reports whether the account's key signed the request.
func (m *model) knows(r *http.Request, length int) bool {
	size := ""
	if length > 0 {
		size = fmt.Sprint(length)
	}
	lines := []string{r.Method, "", "", size, "", r.Header.Get("Content-Type"), "", r.Header.Get("If-Modified-Since"), r.Header.Get("If-Match"), r.Header.Get("If-None-Match"), r.Header.Get("If-Unmodified-Since"), ""}
	for _, name := range []string{"x-ms-date", "x-ms-version"} {
		lines = append(lines, name+":"+r.Header.Get(name))
	}
	lines = append(lines, "/"+m.account+r.URL.EscapedPath())
	q := r.URL.Query()
	for _, name := range []string{"comp", "maxresults", "restype"} {
		if q.Has(name) {
			lines = append(lines, name+":"+q.Get(name))
		}
	}
	return r.Header.Get("Authorization") == "SharedKey "+m.account+":"+m.sum(lines...)
}

// let says why a signature is not let in; "" when it is.
func (m *model) let(of func(string) string, name string, at *share, needs string) string {
	const refused = "AuthenticationFailed"
	if at == nil || of("sr") != "s" || of("si") == "" {
		return refused
	}
	want := m.sum(of("sp"), of("st"), of("se"), "/file/"+m.account+"/"+name, of("si"), of("sip"), of("spr"), of("sv"), "", "", "", "", "")
	var list modelList
	if of("sig") != want || xml.Unmarshal(at.list, &list) != nil {
		return refused
	}
	i := slices.IndexFunc(list.All, func(p modelPolicy) bool { return p.ID == of("si") })
	if i < 0 {
		return refused
	}
	p := list.All[i]
	expiry, err := time.Parse(time.RFC3339Nano, p.Expiry)
	start, err2 := time.Parse(time.RFC3339Nano, p.Start)
	switch {
	case err != nil || time.Now().After(expiry), p.Start != "" && (err2 != nil || time.Now().Before(start)):
		return refused
	case of("sp") != "" || of("se") != "" || of("st") != "" && p.Start != "": // what is said twice
		return refused
	case needs == "" || !strings.ContainsAny(p.Permission, needs):
		return "AuthorizationPermissionMismatch"
	}
	return ""
}

// files are the eyes on the model: requests by hand, as the key's or a login's.
func files(s *testenv.AzuriteServer, base string) eyes {
	key, err := base64.StdEncoding.DecodeString(s.Key)
	if err != nil {
		panic(err) // the test's own mistake
	}
	signer := &model{account: s.Account, key: key}
	ask := func(ctx context.Context, method, u string, body []byte, byKey bool) ([]byte, error) {
		r, err := http.NewRequestWithContext(ctx, method, u, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		r.Header.Set("X-Ms-Version", "2021-06-08")
		r.Header.Set("X-Ms-Date", time.Now().UTC().Format(http.TimeFormat))
		if byKey {
			size := ""
			if len(body) > 0 {
				size = fmt.Sprint(len(body))
			}
			lines := []string{method, "", "", size, "", "", "", "", "", "", "", "", "x-ms-date:" + r.Header.Get("X-Ms-Date"), "x-ms-version:2021-06-08", "/" + s.Account + r.URL.EscapedPath()}
			for _, name := range []string{"comp", "restype"} {
				if r.URL.Query().Has(name) {
					lines = append(lines, name+":"+r.URL.Query().Get(name))
				}
			}
			r.Header.Set("Authorization", "SharedKey "+s.Account+":"+signer.sum(lines...))
		}
		got, err := http.DefaultClient.Do(r)
		if err != nil {
			return nil, err
		}
		defer func() { _ = got.Body.Close() }()
		text, err := io.ReadAll(got.Body)
		switch {
		case err != nil:
			return nil, err
		case got.StatusCode == http.StatusForbidden:
			return nil, fmt.Errorf("%w: %s", drivertest.ErrRefused, got.Header.Get("X-Ms-Error-Code"))
		case got.StatusCode >= 300:
			return nil, fmt.Errorf("%s %s: %s", method, r.URL.Path, got.Status)
		}
		return text, nil
	}
	admin := func(ctx context.Context, method, id, query string, body []byte) ([]byte, error) {
		return ask(ctx, method, base+"/"+id+"?"+query, body, true)
	}
	as := func(method, path, query string) func(context.Context, string, driver.Credential) error {
		return func(ctx context.Context, sub string, c driver.Credential) error {
			_, err := ask(ctx, method, base+"/"+id(sub)+path+"?"+query+"&"+c.Secret["sas"].Reveal(), nil, false)
			return err
		}
	}
	list := "restype=directory&comp=list"
	all, writers := []patchbay.Access{patchbay.Reader, patchbay.Writer}, []patchbay.Access{patchbay.Writer}
	return eyes{
		service: "fileServices", children: "shares", access: all,
		create: func(ctx context.Context, id string) error {
			_, err := admin(ctx, http.MethodPut, id, "restype=share", nil)
			return err
		},
		remove: func(ctx context.Context, id string) error {
			_, err := admin(ctx, http.MethodDelete, id, "restype=share", nil)
			return err
		},
		policies: func(ctx context.Context, id string) (all []listed, err error) {
			text, err := admin(ctx, http.MethodGet, id, "comp=acl&restype=share", nil)
			if err != nil {
				return nil, err
			}
			var list modelList
			if err := xml.Unmarshal(text, &list); err != nil {
				return nil, err
			}
			for _, p := range list.All {
				l := listed{id: p.ID, permission: p.Permission}
				for text, into := range map[string]**time.Time{p.Start: &l.start, p.Expiry: &l.expiry} {
					if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
						*into = &at
					}
				}
				all = append(all, l)
			}
			return all, nil
		},
		set: func(ctx context.Context, id string, all []listed) error {
			var next modelList
			for _, l := range all {
				p := modelPolicy{ID: l.id, Permission: l.permission}
				if l.start != nil {
					p.Start = l.start.UTC().Format(time.RFC3339Nano)
				}
				if l.expiry != nil {
					p.Expiry = l.expiry.UTC().Format(time.RFC3339Nano)
				}
				next.All = append(next.All, p)
			}
			text, err := xml.Marshal(next)
			if err == nil {
				_, err = admin(ctx, http.MethodPut, id, "comp=acl&restype=share", text)
			}
			return err
		},
		signIn: func(ctx context.Context, id, sas string) error {
			_, err := ask(ctx, http.MethodGet, base+"/"+id+"?"+list+"&"+sas, nil, false)
			return err
		},
		actions: []drivertest.Action{
			{Name: "list", Allowed: all, Do: as(http.MethodGet, "", list)},
			{Name: "read", Allowed: all, Do: as(http.MethodGet, "/there", "")},
			{Name: "write", Allowed: writers, Do: as(http.MethodPut, "/there", "comp=range")},
			{Name: "create", Allowed: writers, Do: as(http.MethodPut, "/new", "")},
			{Name: "delete", Allowed: writers, Do: as(http.MethodDelete, "/new", "")},
			{Name: "delete the share", Do: as(http.MethodDelete, "", "restype=share")},
			{Name: "read its policies", Do: as(http.MethodGet, "", "restype=share&comp=acl")},
			{Name: "list another share", Do: func(ctx context.Context, _ string, c driver.Credential) error {
				_, err := ask(ctx, http.MethodGet, base+"/others?"+list+"&"+c.Secret["sas"].Reveal(), nil, false)
				return err
			}},
		},
	}
}

func TestFilesPassTheSuiteOnAModel(t *testing.T) {
	s := shared(t)
	base := startModel(t, s)
	e := files(s, base)
	e.made(t, "others")
	h := harness(t, s, e, "Azure Files", "reports", "scans", "mail")
	h.Config = register(s, map[string]any{"endpoints": map[string]any{"queue": s.Queue(), "table": s.Table(), "file": base}})
	h.Model = "a model of its protocol, in the tests"
	drivertest.Target(t, h)
}
