package client_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/arm/client"
)

const (
	clientWeb    = patchbay.ID("/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web")
	clientToken  = "t0ken"
	clientSecret = "s3cret-of-the-test"
)

// clientOf talks to a server that answers with handler; its token is checked
// here, so that no test forgets it.
func clientOf(t *testing.T, handler http.HandlerFunc) *client.Client {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := r.Header.Get("Authorization"); got != "Bearer "+clientToken {
			t.Errorf("%s %s: Authorization %q", r.Method, r.URL, got)
		}
		if got := r.URL.Query().Get("api-version"); got != "2026-11-01" {
			t.Errorf("%s %s: api-version %q", r.Method, r.URL, got)
		}
		handler(w, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	c, err := client.New(client.Config{
		URL: server.URL, Token: patchbay.NewSecret(clientToken), UserAgent: "test",
		CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func answer(t *testing.T, w http.ResponseWriter, status int, body string) {
	t.Helper()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if _, err := io.WriteString(w, body); err != nil {
		t.Error(err)
	}
}

func TestTheTokenIsNeverSentInTheClear(t *testing.T) {
	for url, ok := range map[string]bool{
		"https://patchbay.example:7443": true,
		"https://patchbay.example/api":  true,
		"http://127.0.0.1:7080":         true,
		"http://[::1]:7080":             true,
		"http://localhost:7080":         true,
		"http://patchbay.example":       false,
		"http://10.0.0.1:7080":          false,
		"http://localhost.example:7080": false,
		"ftp://patchbay.example":        false,
		"patchbay.example:7443":         false,
		"https://u:p@patchbay.example":  false,
		"https://patchbay.example?x=y":  false,
		"":                              false,
	} {
		_, err := client.New(client.Config{URL: url, Token: patchbay.NewSecret(clientToken)})
		if (err == nil) != ok {
			t.Errorf("%q: %v", url, err)
		}
		if err != nil && patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%q: code %s", url, patchbay.CodeOf(err))
		}
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the request went elsewhere")
	}))
	defer elsewhere.Close()
	c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	if _, err := c.Resources(t.Context()); err == nil {
		t.Error("a redirect was taken for an answer")
	}
}

func TestALinkToTheNextPageKeepsTheTokenHere(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("the token went elsewhere")
	}))
	defer elsewhere.Close()
	c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("$skiptoken") {
		case "":
			next := elsewhere.URL + r.URL.Path + "?api-version=2026-11-01&$skiptoken=2"
			answer(t, w, 200, fmt.Sprintf(`{"value":[{"id":"/subscriptions/s/a"}],"nextLink":%q}`, next))
		case "2":
			answer(t, w, 200, `{"value":[{"id":"/subscriptions/s/b"}]}`)
		}
	})
	found, err := c.Resources(t.Context())
	if err != nil || len(found) != 2 || found[1].ID != "/subscriptions/s/b" {
		t.Errorf("%v, %v", found, err)
	}
}

func TestAServerBehindAProxysPathIsAskedBelowIt(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		next := ""
		if !r.URL.Query().Has("$skiptoken") {
			next = "https://proxy.example" + r.URL.Path + "?$skiptoken=2"
		}
		answer(t, w, 200, fmt.Sprintf(`{"value":[{"id":"/subscriptions/s/a"}],"nextLink":%q}`, next))
	}))
	defer server.Close()
	c, err := client.New(client.Config{URL: server.URL + "/tools/patchbay/", Token: patchbay.NewSecret(clientToken)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const path = "/tools/patchbay/providers/Patchbay.Connector/resources"
	if found, err := c.Resources(t.Context()); err != nil || len(found) != 2 || !slices.Equal(asked, []string{path, path}) {
		t.Errorf("%d resources, asked for at %q: %v", len(found), asked, err)
	}
}

func TestAListEndsWhenEnoughWasSeen(t *testing.T) {
	asked := 0
	c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		answer(t, w, 200, `{"value":[{"id":"3"},{"id":"2"}],"nextLink":"https://x/more"}`)
	})
	ops, err := c.Operations(t.Context(), client.OperationQuery{Limit: 3})
	if err != nil || len(ops) != 3 || asked != 2 {
		t.Errorf("%d operations in %d requests, %v", len(ops), asked, err)
	}
}

func TestAnErrorSaysWhatTheServerSaid(t *testing.T) {
	body, err := json.Marshal(arm.ErrorBody(&patchbay.Error{
		Code: patchbay.TargetUnreachable, Op: "register orders", Subject: "orders", Message: "nothing answers", Fix: "start it",
	}))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		status int
		body   string
		want   patchbay.Error
	}{
		"envelope": {409, string(body), patchbay.Error{
			Code: patchbay.TargetUnreachable, Op: "register orders", Subject: "orders", Message: "nothing answers", Fix: "start it",
		}},
		"a proxy's page": {502, "<html>", patchbay.Error{Code: patchbay.Internal, Message: "the server answered 502 bad gateway"}},
		"nothing":        {404, "", patchbay.Error{Code: patchbay.ResourceNotFound, Message: "the server answered 404 not found"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) { answer(t, w, test.status, test.body) })
			_, err := c.Resource(t.Context(), clientWeb)
			e := patchbay.AsError(err)
			if e == nil || e.Code != test.want.Code || e.Op != test.want.Op || e.Subject != test.want.Subject ||
				e.Message != test.want.Message || e.Fix != test.want.Fix {
				t.Errorf("%+v, want %+v", e, test.want)
			}
			var status client.AnswerStatus
			if !errors.As(err, &status) || int(status) != test.status {
				t.Errorf("status %v", status)
			}
		})
	}
}

func TestWhatWasNotDoneIsAskedAgain(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		header string
		call   func(*client.Client, context.Context) error
		want   int // requests
	}{
		"a write that was throttled": {429, "0", func(c *client.Client, ctx context.Context) error {
			_, _, err := c.PutConnection(ctx, clientWeb.Linker("x"), patchbay.Spec{})
			return err
		}, 2},
		"a read of a server that starts": {503, "0", func(c *client.Client, ctx context.Context) error {
			_, err := c.Resources(ctx)
			return err
		}, 2},
		"an action that may have been done": {503, "0", func(c *client.Client, ctx context.Context) error {
			_, err := c.Sweep(ctx)
			return err
		}, 1},
		"a pause that nobody waits for": {429, "3600", func(c *client.Client, ctx context.Context) error {
			_, err := c.Resources(ctx)
			return err
		}, 1},
		"an error of the request": {400, "0", func(c *client.Client, ctx context.Context) error {
			_, err := c.Resources(ctx)
			return err
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var ids []string
			c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
				ids = append(ids, r.Header.Get("X-Ms-Client-Request-Id"))
				if len(ids) == 1 {
					w.Header().Set("Retry-After", test.header)
					answer(t, w, test.status, `{"error":{"code":"X","message":"y"}}`)
					return
				}
				answer(t, w, 200, `{"value":[]}`)
			})
			err := test.call(c, t.Context())
			if len(ids) != test.want || (err == nil) != (test.want == 2) {
				t.Errorf("%d requests, want %d: %v", len(ids), test.want, err)
			}
			if len(slices.Compact(ids)) != 1 {
				t.Error("a repeated request looks like another one")
			}
		})
	}
}

func TestAConnectionIsWrittenAndWatched(t *testing.T) {
	var mu sync.Mutex
	var seen []string
	version := 0
	c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		seen = append(seen, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+r.Header.Get("If-Match")+" "+string(body)))
		w.Header().Set("Azure-AsyncOperation",
			"https://other.example/subscriptions/s/providers/Microsoft.ServiceLinker/locations/LOCAL/operationStatuses/op-7*ABCDEF?api-version=x")
		switch {
		case strings.HasSuffix(r.URL.Path, "/operations/op-7"):
			version++
			state := "running"
			if version == 3 {
				state = "done"
			}
			if q := r.URL.Query(); version > 1 && (q.Get("wait") == "" || q.Get("version") != fmt.Sprint(version-1)) {
				t.Errorf("the watch asks for %s", r.URL)
			}
			answer(t, w, 200, fmt.Sprintf(`{"id":"op-7","state":%q,"version":%d}`, state, version))
		case r.Method == http.MethodDelete, r.Method == http.MethodPost:
			answer(t, w, 202, "null")
		default:
			answer(t, w, 201, fmt.Sprintf(`{"id":%q,"name":"x","properties":{"provisioningState":"Accepted","vNetSolution":null}}`, clientWeb.Linker("x")))
		}
	})
	ctx := t.Context()
	id := clientWeb.Linker("x")
	v, op, err := c.PutConnection(ctx, id, patchbay.Spec{Client: "go"})
	if err != nil || op != "op-7" || v.Properties.State != patchbay.Accepted || v.Source() != clientWeb || !strings.Contains(string(v.Raw), "vNetSolution") {
		t.Errorf("put: %+v, %q, %v", v, op, err)
	}
	if _, op, err = c.PatchConnection(ctx, id, patchbay.Spec{}, `"e"`); err != nil || op != "op-7" {
		t.Errorf("patch: %q, %v", op, err)
	}
	if op, err = c.ValidateConnection(ctx, id, arm.Validate{Fix: true}); err != nil || op != "op-7" {
		t.Errorf("validate: %q, %v", op, err)
	}
	if op, err = c.RotateConnection(ctx, id, arm.Rotate{Name: "app", Secret: patchbay.NewSecret(clientSecret)}); err != nil || op != "op-7" {
		t.Errorf("rotate: %q, %v", op, err)
	}
	if op, err = c.DeleteConnection(ctx, id); err != nil || op != "op-7" {
		t.Errorf("delete: %q, %v", op, err)
	}
	want := []string{
		"PUT " + string(id) + `  {"properties":{"clientType":"go"}}`,
		"PATCH " + string(id) + ` "e" {"properties":{}}`,
		"POST " + string(id) + `/providers/Patchbay.Connector/validate  {"fix":true}`,
		"POST " + string(id) + `/providers/Patchbay.Connector/rotate  {"name":"app","secret":"` + clientSecret + `"}`,
		"DELETE " + string(id),
	}
	if !slices.Equal(seen, want) {
		t.Errorf("asked\n%s\nwant\n%s", strings.Join(seen, "\n"), strings.Join(want, "\n"))
	}
	var states []patchbay.OperationState
	last, err := c.Watch(ctx, op, func(o patchbay.Operation) { states = append(states, o.State) })
	if err != nil || last.State != patchbay.Done || !slices.Equal(states, []patchbay.OperationState{patchbay.Running, patchbay.Running, patchbay.Done}) {
		t.Errorf("watched %v to %v, %v", states, last.State, err)
	}
}

func TestAConnectionSaysWhatItWasAskedFor(t *testing.T) {
	body := `{"name":"x","properties":{"provisioningState":"Succeeded","targetService":{"type":"SelfHostedServer","endpoint":"redis://h:1"},
		"authInfo":{"authType":"userAccount","principalId":"o"}%s}}`
	more := ""
	c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) { answer(t, w, 200, fmt.Sprintf(body, more)) })
	for _, more = range []string{"", `,"fromTheFuture":1`} {
		v, err := c.Connection(t.Context(), clientWeb.Linker("x"))
		if err != nil {
			t.Fatal(err)
		}
		spec, err := v.Spec()
		if more != "" {
			if patchbay.CodeOf(err) != patchbay.Internal || !strings.Contains(err.Error(), "x is not what this version expects") {
				t.Errorf("what is not known: %v", err)
			}
		} else if err != nil || spec.Target.Endpoint != "redis://h:1" || spec.Auth.PrincipalID != "o" {
			t.Errorf("%+v, %v", spec, err)
		}
	}
}

// A write that is answered with the operation that runs already may have it in
// the body alone.
func TestAnOperationIsFoundInTheConnection(t *testing.T) {
	c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(t, w, 200, `{"properties":{"patchbay":{"operation":"op-3"}}}`)
	})
	if _, op, err := c.PutConnection(t.Context(), clientWeb.Linker("x"), patchbay.Spec{}); err != nil || op != "op-3" {
		t.Errorf("%q, %v", op, err)
	}
}

func TestAnAuthorityWithoutACertificateIsRefused(t *testing.T) {
	for _, ca := range []string{"", "nothing", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		_, err := client.New(client.Config{URL: "https://127.0.0.1:1", CA: []byte(ca)})
		if patchbay.CodeOf(err) != patchbay.InvalidArgument || !strings.Contains(err.Error(), "no PEM certificate") {
			t.Errorf("%q: %v", ca, err)
		}
	}
}

func TestHostileNamesStayInTheirSegment(t *testing.T) {
	for _, name := range []string{"a b", "a'b", `a"b`, "$(id)", "a;b", "ü", "a+b", "a@b:c"} {
		id := patchbay.ID(string(clientWeb) + name)
		c := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != string(id) {
				t.Errorf("%q is asked for as %q", id, r.URL.Path)
			}
			answer(t, w, 200, `{}`)
		})
		if _, err := c.Resource(t.Context(), id); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	c := clientOf(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("asked for %s", r.URL) })
	for _, id := range []string{"", "../x", "a/b", "a?b", "a#b", `a\b`} {
		if _, err := c.Operation(t.Context(), id); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("operation %q: %v", id, err)
		}
	}
}

func TestAServerThatIsNotThereIsToldApart(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	url := server.URL
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	untrusting, err := client.New(client.Config{URL: url, Token: patchbay.NewSecret(clientToken)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := untrusting.Resources(t.Context()); patchbay.CodeOf(err) != patchbay.CertificateInvalid {
		t.Errorf("a stranger's certificate: %v", err)
	}
	server.Close()
	c, err := client.New(client.Config{URL: url, Token: patchbay.NewSecret(clientToken), CA: ca})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.RotateConnection(t.Context(), clientWeb.Linker("x"), arm.Rotate{Secret: patchbay.NewSecret(clientSecret)})
	e := patchbay.AsError(err)
	if e == nil || e.Code != client.ServerUnreachable || e.Fix != "patchbay serve" {
		t.Errorf("a server that is gone: %+v", e)
	}
	if text := fmt.Sprintf("%+v %v", err, e); strings.Contains(text, clientSecret) || strings.Contains(text, clientToken) {
		t.Errorf("a secret is in the error: %s", text)
	}
}

func TestACanceledCallSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := clientOf(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if _, err := c.Resources(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestSecretsOfAnAnswerDoNotPrint(t *testing.T) {
	c := clientOf(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(t, w, 200, `{"environment":{"PGPASSWORD":"`+clientSecret+`"}}`)
	})
	env, err := c.Environment(t.Context(), clientWeb)
	if err != nil || env["PGPASSWORD"].Reveal() != clientSecret {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%v %+v %#v", env, env, env); strings.Contains(text, clientSecret) {
		t.Errorf("it prints: %s", text)
	}
}
