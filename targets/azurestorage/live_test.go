package azurestorage_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/lease"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
)

func admin(t testing.TB, s *testenv.AzuriteServer, id string) *container.Client {
	t.Helper()
	key, err := container.NewSharedKeyCredential(s.Account, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := container.NewClientWithSharedKeyCredential(s.Blob()+"/"+id, key, &container.ClientOptions{ClientOptions: once})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// watched is a registration of s whose requests go through a proxy that see hears of; it
// answers in the server's place where see does.
func watched(t *testing.T, s *testenv.AzuriteServer, see func(w http.ResponseWriter, r *http.Request, body []byte) bool) driver.Config {
	t.Helper()
	at, err := url.Parse(s.Blob())
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = at.Scheme, at.Host
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if !see(w, r, body) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	c := register(s, nil)
	c.Endpoint = server.URL + at.Path
	return c
}

// Others' policies are written as the service told them, and a container's public access
// stays what it is.
func TestOthersPoliciesAndPublicAccessStayAsTheyAre(t *testing.T) {
	s := shared(t)
	e := blobs(s)
	sub := e.made(t, "together")
	theirs := []listed{
		{id: "their <policy> & \"more\"", permission: "rl", start: to.Ptr(time.Unix(1.7e9, 0).UTC()), expiry: to.Ptr(time.Unix(4e9, 0).UTC())},
		{id: "pb_someone", permission: "r"},
		{id: "PB_PUBLIC_g1.x", permission: "racwdl", expiry: to.Ptr(time.Unix(1e9, 0).UTC())},
	}
	if err := e.set(t.Context(), "together", theirs); err != nil {
		t.Fatal(err)
	}
	now, err := e.policies(t.Context(), "together")
	if err != nil {
		t.Fatal(err)
	}
	_, err = admin(t, s, "together").SetAccessPolicy(t.Context(), &container.SetAccessPolicyOptions{Access: to.Ptr(container.PublicAccessTypeBlob), ContainerACL: signed(now)})
	if err != nil {
		t.Fatal(err)
	}
	var wrote []byte
	target := opened(t, watched(t, s, func(w http.ResponseWriter, r *http.Request, body []byte) bool {
		if r.URL.Query().Get("comp") == "acl" && r.Method == http.MethodPut {
			wrote = body
		}
		return false
	}))
	r := made(t, target, "public", sub, patchbay.Writer, nil)
	after, err := e.policies(t.Context(), "together")
	if err != nil || len(after) != 4 {
		t.Fatalf("the list has %+v, %v", after, err)
	}
	for _, want := range now {
		if !slices.ContainsFunc(after, func(l listed) bool { return same(l, want) }) {
			t.Errorf("%q is not as it was: %+v", want.id, after)
		}
	}
	got, err := admin(t, s, "together").GetAccessPolicy(t.Context(), nil)
	if err != nil || got.BlobPublicAccess == nil || *got.BlobPublicAccess != container.PublicAccessTypeBlob {
		t.Errorf("the public access is %v, %v", got.BlobPublicAccess, err)
	}
	// The elements stand in what was written as they stood in what was read.
	read := raw(t, s, "together")
	if bytes.Count(wrote, []byte("<SignedIdentifier>")) != 4 {
		t.Errorf("it wrote %s", wrote)
	}
	for _, one := range bytes.SplitAfter(read, []byte("</SignedIdentifier>")) {
		at := bytes.Index(one, []byte("<SignedIdentifier>"))
		if at < 0 || bytes.Contains(one, []byte(r.Name)) {
			continue
		}
		if !bytes.Contains(wrote, one[at:]) {
			t.Errorf("it wrote %s, without %s", wrote, one[at:])
		}
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if after, err = e.policies(t.Context(), "together"); err != nil || len(after) != 3 {
		t.Errorf("the list has %+v, %v", after, err)
	}
	got, err = admin(t, s, "together").GetAccessPolicy(t.Context(), nil)
	if err != nil || got.BlobPublicAccess == nil || *got.BlobPublicAccess != container.PublicAccessTypeBlob {
		t.Errorf("the public access is %v, %v", got.BlobPublicAccess, err)
	}
}

func same(a, b listed) bool {
	moment := func(x, y *time.Time) bool { return x == nil && y == nil || x != nil && y != nil && x.Equal(*y) }
	return a.id == b.id && a.permission == b.permission && moment(a.start, b.start) && moment(a.expiry, b.expiry)
}

func signed(all []listed) (list []*container.SignedIdentifier) {
	for _, l := range all {
		list = append(list, &container.SignedIdentifier{ID: to.Ptr(l.id), AccessPolicy: &container.AccessPolicy{Start: l.start, Expiry: l.expiry, Permission: to.Ptr(l.permission)}})
	}
	return list
}

// raw is a list of policies byte for byte.
func raw(t *testing.T, s *testenv.AzuriteServer, id string) (text []byte) {
	t.Helper()
	c := &http.Client{}
	once := container.ClientOptions{ClientOptions: once}
	once.Transport = recorder{c, &text}
	key, err := container.NewSharedKeyCredential(s.Account, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	client, err := container.NewClientWithSharedKeyCredential(s.Blob()+"/"+id, key, &once)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.GetAccessPolicy(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	c.CloseIdleConnections()
	return text
}

// recorder keeps the last answer.
type recorder struct {
	next *http.Client
	text *[]byte
}

func (r recorder) Do(q *http.Request) (*http.Response, error) {
	got, err := r.next.Do(q)
	if err != nil {
		return nil, err
	}
	*r.text, err = io.ReadAll(got.Body)
	if err = errors.Join(err, got.Body.Close()); err != nil {
		return nil, err
	}
	got.Body = io.NopCloser(bytes.NewReader(*r.text))
	return got, nil
}

// A sixth policy is refused, in words, and displaces nobody's.
func TestAFullListIsSaidAndNobodyIsDisplaced(t *testing.T) {
	s := shared(t)
	target := opened(t, register(s, nil))
	for _, e := range []eyes{blobs(s), queues(s), tables(s)} {
		t.Run(e.service, func(t *testing.T) {
			sub := e.made(t, "crowded")
			var theirs []listed
			for i := range 4 {
				theirs = append(theirs, listed{id: fmt.Sprintf("theirs%d", i), permission: "r", start: to.Ptr(time.Unix(1e9, 0).UTC()), expiry: to.Ptr(time.Unix(4e9, 0).UTC())})
			}
			if err := e.set(t.Context(), "crowded", theirs); err != nil {
				t.Fatal(err)
			}
			first := made(t, target, "crowd1", sub, patchbay.Reader, nil)
			second := request(t, target, "crowd2", sub, patchbay.Reader, nil)
			err := target.EnsureLogin(t.Context(), second)
			if patchbay.CodeOf(err) != patchbay.QuotaExceeded || patchbay.IsTransient(err) || !strings.Contains(err.Error(), "5 stored access policies") || !strings.Contains(err.Error(), "1 are of logins of Patchbay") {
				t.Errorf("EnsureLogin = %v", err)
			}
			after, err := e.policies(t.Context(), "crowded")
			if err != nil || len(after) != 5 {
				t.Errorf("the list has %+v, %v", after, err)
			}
			for _, want := range theirs {
				if !slices.ContainsFunc(after, func(l listed) bool { return same(l, want) }) {
					t.Errorf("%s is not as it was: %+v", want.id, after)
				}
			}
			if owned, err := target.Owned(t.Context()); err != nil || slices.ContainsFunc(owned, func(o driver.Owned) bool { return o.Name == second.Name }) {
				t.Errorf("Owned = %+v, %v", owned, err)
			}
			// The one that is there is repaired all the same.
			if err := target.EnsureLogin(t.Context(), first); err != nil {
				t.Error(err)
			}
			if err := target.RemoveLogin(t.Context(), second); err != nil {
				t.Error(err)
			}
		})
	}
}

// Another credential for the same login ends the first.
func TestAnotherCredentialEndsTheFirst(t *testing.T) {
	s := shared(t)
	e := queues(s)
	sub := e.made(t, "again")
	target := opened(t, register(s, nil))
	r := made(t, target, "again", sub, patchbay.Writer, nil)
	first := r.Credential.Secret["sas"].Reveal()
	var err error
	if r.Credential, err = target.NewCredential(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := e.signIn(t.Context(), "again", first); !errors.Is(err, drivertest.ErrRefused) {
		t.Errorf("the first credential: %v", err)
	}
	if err := e.signIn(t.Context(), "again", r.Credential.Secret["sas"].Reveal()); err != nil {
		t.Error(err)
	}
}

// The container may be named by the target id, an option or the registration, and by none
// is an error that says so.
func TestWhatAConnectionIsForMayBeNamedThreeWays(t *testing.T) {
	s := shared(t)
	blobs(s).made(t, "named")
	queues(s).made(t, "named")
	target := opened(t, register(s, map[string]any{"queue": "named"}))
	for name, c := range map[string]struct {
		sub     string
		options map[string]string
		code    patchbay.Code
	}{
		"target id":              {"blobServices/default/containers/named", nil, ""},
		"both, the same":         {"blobServices/default/containers/named", map[string]string{"container": "named"}, ""},
		"option":                 {"blobServices/default", map[string]string{"container": "named"}, ""},
		"registration":           {"queueServices/default", nil, ""},
		"none":                   {"blobServices/default", nil, patchbay.InvalidArgument},
		"two":                    {"blobServices/default/containers/named", map[string]string{"container": "other"}, patchbay.InvalidArgument},
		"another service's":      {"blobServices/default", map[string]string{"queue": "named"}, patchbay.InvalidArgument},
		"no name":                {"blobServices/default", map[string]string{"container": "No/../Name"}, patchbay.InvalidArgument},
		"no service":             {"diskServices/default", nil, patchbay.ChildMissing},
		"where files nobody has": {"fileServices/default/shares/named", nil, patchbay.ChildMissing},
	} {
		t.Run(name, func(t *testing.T) {
			r := driver.LoginRequest{Mark: driver.Mark{UID: "named", Generation: 1}, Name: "pb_named_g1", Sub: c.sub, Auth: patchbay.AuthSecret, Access: patchbay.Writer, Options: c.options}
			var err error
			if r.Credential, err = target.NewCredential(t.Context(), r); patchbay.CodeOf(err) != c.code {
				t.Fatalf("NewCredential = %v, want %q", err, c.code)
			}
			if c.code != "" {
				return
			}
			if err := target.EnsureLogin(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if _, err := probe(t, target, r); err != nil {
				t.Error(err)
			}
			// A sweep knows no options.
			owned, err := target.Owned(t.Context())
			at := slices.IndexFunc(owned, func(o driver.Owned) bool { return o.Name == r.Name })
			if err != nil || at < 0 {
				t.Fatalf("Owned = %+v, %v", owned, err)
			}
			if err := target.RemoveLogin(t.Context(), driver.LoginRequest{Mark: owned[at].Mark, Name: r.Name, Sub: owned[at].Sub}); err != nil {
				t.Error(err)
			}
		})
	}
}

// What is among the notes and is none of ours is neither listed nor touched, and a note
// that says another connection is nobody's to take.
func TestNotesOfOthersAreLeftAlone(t *testing.T) {
	s := shared(t)
	e := tables(s)
	sub := e.made(t, "Noted")
	target := opened(t, register(s, nil))
	made(t, target, "noted0", sub, patchbay.Reader, nil)
	notes := admin(t, s, "patchbay-logins")
	put := func(name string, metadata map[string]*string) {
		t.Helper()
		_, err := notes.NewBlockBlobClient(name).Upload(t.Context(), streaming.NopCloser(bytes.NewReader([]byte("theirs"))), nil)
		if err == nil && metadata != nil {
			_, err = notes.NewBlobClient(name).SetMetadata(t.Context(), metadata, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if _, err := notes.NewBlobClient(name).Delete(context.Background(), nil); err != nil {
				t.Error(err)
			}
		})
	}
	put("pb_noted1_g1", nil)
	put("pb_noted2_g1", map[string]*string{"uid": to.Ptr("somebody"), "generation": to.Ptr("1"), "connection": to.Ptr("x"), "service": to.Ptr("table"), "child": to.Ptr("Noted"), "policy": to.Ptr("pb_noted2_g1.x")})
	put("pb_noted3_g1", map[string]*string{"uid": to.Ptr("noted3"), "generation": to.Ptr("-1")})
	put("readme", nil)
	owned, err := target.Owned(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range owned {
		if o.Name == "pb_noted1_g1" || o.Name == "pb_noted3_g1" || o.Name == "readme" {
			t.Errorf("Owned lists %+v", o)
		}
	}
	for _, uid := range []string{"noted1", "noted2", "noted3"} {
		r := request(t, target, uid, sub, patchbay.Writer, nil)
		if err := target.EnsureLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.NotOurs {
			t.Errorf("EnsureLogin of %s = %v", uid, err)
		}
		if err := target.RemoveLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.NotOurs {
			t.Errorf("RemoveLogin of %s = %v", uid, err)
		}
	}
}

// A create asks for what it is for by its name, and lists nothing.
func TestACreateListsNothing(t *testing.T) {
	s := shared(t)
	sub := blobs(s).made(t, "quick")
	var lists, all atomic.Int32
	target := opened(t, watched(t, s, func(_ http.ResponseWriter, r *http.Request, _ []byte) bool {
		all.Add(1)
		if r.URL.Query().Get("comp") == "list" && strings.Trim(r.URL.Path, "/") == s.Account {
			lists.Add(1)
		}
		return false
	}))
	if _, err := target.Inspect(t.Context(), sub); err != nil {
		t.Fatal(err)
	}
	made(t, target, "quick", sub, patchbay.Writer, nil)
	if lists.Load() > 0 || all.Load() > 14 {
		t.Errorf("it listed %d times, in %d requests", lists.Load(), all.Load())
	}
}

// A policy that the service has and does not go by yet is waited for.
func TestALoginIsThereWhenTheServiceGoesByIt(t *testing.T) {
	s := shared(t)
	sub := blobs(s).made(t, "slow")
	var asked atomic.Int32
	target := opened(t, watched(t, s, func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		if r.URL.Query().Get("sig") == "" || asked.Add(1) > 3 {
			return false
		}
		w.Header().Set("X-Ms-Version", "2020-10-02")
		w.Header().Set("X-Ms-Error-Code", "AuthenticationFailed")
		w.WriteHeader(http.StatusForbidden)
		return true
	}))
	made(t, target, "slow", sub, patchbay.Writer, nil)
	if asked.Load() < 4 {
		t.Errorf("it was tried %d times", asked.Load())
	}
}

// Somebody who changes the container in between is noticed, by the condition or by what
// stands there afterwards, and nothing is lost but the try.
func TestAChangeInBetweenIsNoticed(t *testing.T) {
	s := shared(t)
	e := blobs(s)
	sub := e.made(t, "between")
	var done atomic.Bool
	target := opened(t, watched(t, s, func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
		if r.Method != http.MethodPut || r.URL.Query().Get("comp") != "acl" || done.Swap(true) {
			return false
		}
		if r.Header.Get("If-Unmodified-Since") == "" {
			t.Error("it is written on no condition")
		}
		w.Header().Set("X-Ms-Version", "2020-10-02")
		w.Header().Set("X-Ms-Error-Code", "ConditionNotMet")
		w.WriteHeader(http.StatusPreconditionFailed)
		return true
	}))
	r := request(t, target, "between", sub, patchbay.Writer, nil)
	if err := target.EnsureLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.Conflict || !patchbay.IsTransient(err) {
		t.Errorf("EnsureLogin = %v", err)
	}
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Error(err)
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Error(err)
	}
}

// Another process of ours has its turn first, and for a while if it died in it.
func TestTurnsAreTaken(t *testing.T) {
	s := shared(t)
	sub := queues(s).made(t, "turns")
	target := opened(t, register(s, nil))
	made(t, target, "turn1", sub, patchbay.Writer, nil) // whose turn has a blob
	held, err := lease.NewBlobClient(admin(t, s, "patchbay-logins").NewBlobClient("turn/queue/turns"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.AcquireLease(t.Context(), 15, nil); err != nil {
		t.Fatal(err)
	}
	r := request(t, target, "turn2", sub, patchbay.Writer, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := target.EnsureLogin(ctx, r); !patchbay.IsTransient(err) || patchbay.CodeOf(err) != patchbay.Timeout {
		t.Errorf("EnsureLogin = %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- target.EnsureLogin(t.Context(), r) }()
	if _, err := held.ReleaseLease(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Error(err)
	}
}

// An account with another key says so; a credential that the old one signed is made anew
// by a rotation.
func TestAnotherKeyIsSaid(t *testing.T) {
	s := shared(t)
	sub := blobs(s).made(t, "keys")
	c := register(s, nil)
	c.Admin = driver.Secrets{"key": patchbay.NewSecret(base64.StdEncoding.EncodeToString([]byte("another key of sixty-four bytes, which the account does not have")))}
	wrong := opened(t, c)
	_, err := wrong.Inspect(t.Context(), sub)
	if patchbay.CodeOf(err) != patchbay.AdminRefused || patchbay.IsTransient(err) {
		t.Errorf("Inspect with another key = %v", err)
	}
	if text := fmt.Sprintf("%+v", err); strings.Contains(text, c.Admin["key"].Reveal()) {
		t.Error("the error shows the key")
	}
	target := opened(t, register(s, nil))
	r := request(t, target, "keys", sub, patchbay.Writer, nil)
	if r.Credential, err = wrong.NewCredential(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	err = target.EnsureLogin(t.Context(), r)
	if patchbay.CodeOf(err) != patchbay.Conflict || patchbay.IsTransient(err) || !strings.Contains(patchbay.AsError(err).Fix, "rotate") {
		t.Errorf("EnsureLogin of what another key signed = %v", err)
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Error(err)
	}
}

// A server that says anything is neither believed nor waited for without end.
func TestHostileServers(t *testing.T) {
	s := shared(t)
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"endless": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<16)); err != nil {
					return
				}
			}
		},
		"a list of nonsense": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<SignedIdentifiers><Other/></SignedIdentifiers>")
		},
		"half a list": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<SignedIdentifiers>") },
		"somebody else": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "<html>")
		},
		"elsewhere": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://192.0.2.1/")
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(answer))
			defer server.Close()
			c := register(s, nil)
			c.Endpoint = server.URL
			target := opened(t, c)
			r := request(t, target, "hostile", "blobServices/default/containers/any", patchbay.Writer, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			for what, err := range map[string]error{
				"EnsureLogin":  target.EnsureLogin(ctx, r),
				"InspectLogin": func() error { _, err := target.InspectLogin(ctx, r); return err }(),
			} {
				if code := patchbay.CodeOf(err); code != patchbay.TargetMisbehaved && code != patchbay.TargetUnreachable {
					t.Errorf("%s = %v", what, err)
				}
			}
		})
	}
}

// What a caller gives is a key, a signature or a connection string; nothing else.
func TestGivenLogins(t *testing.T) {
	s := shared(t)
	sub := blobs(s).made(t, "given")
	target := opened(t, register(s, nil))
	r := made(t, target, "given", sub, patchbay.Reader, nil)
	sas := r.Credential.Secret["sas"].Reveal()
	given := target.Administrator.(driver.GivenLogins)
	for name, c := range map[string]struct{ text, value string }{
		"a key":                              {s.Key, "key"},
		"a connection string":                {"AccountName=orders;AccountKey=" + s.Key, "key"},
		"a signature":                        {"?" + sas, "sas"},
		"a connection string of a signature": {"BlobEndpoint=" + s.Blob() + ";SharedAccessSignature=" + sas, "sas"},
		"another account's":                  {"AccountName=others;AccountKey=" + s.Key, ""},
		"nothing of the kind":                {"p@ssword", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := given.Given(sub, "", patchbay.NewSecret(c.text))
			if c.value == "" {
				if patchbay.CodeOf(err) != patchbay.InvalidArgument {
					t.Errorf("Given = %v", err)
				}
				return
			}
			if err != nil || got.Secret[c.value].IsZero() || len(got.Secret) != 1 {
				t.Fatalf("Given = %v", err)
			}
			if _, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: got, Dialer: &net.Dialer{}, Sub: sub}); err != nil {
				t.Error(err)
			}
		})
	}
}
