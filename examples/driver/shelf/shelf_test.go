package shelf_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"

	"example.org/patchbay/shelf"
	"example.org/patchbay/shelfd"
)

const admin, adminPassword = "patchbay", "a password of the tests"

// product is a Shelf that runs, and who looks at it from outside: nothing here goes
// through the driver.
type product struct {
	*httptest.Server
}

func start(t testing.TB, secured bool, shelves ...string) product {
	t.Helper()
	s, err := shelfd.Open("", admin, adminPassword)
	if err != nil {
		t.Fatal(err)
	}
	p := product{httptest.NewUnstartedServer(s)}
	p.Config.ErrorLog = log.New(io.Discard, "", 0) // of connections that the suite cuts
	if secured {
		p.StartTLS()
	} else {
		p.Start()
	}
	t.Cleanup(p.Close)
	for _, name := range shelves {
		if _, err := p.as(t.Context(), admin, adminPassword, "PUT", "/shelves/"+url.PathEscape(name), nil); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// as asks something as a user.
func (p product) as(ctx context.Context, name, password, method, path string, body any) ([]byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, p.URL+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	r.SetBasicAuth(name, password)
	response, err := p.Client().Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return nil, err
	case response.StatusCode == 401 || response.StatusCode == 403:
		return nil, fmt.Errorf("%w: %s", drivertest.ErrRefused, got)
	case response.StatusCode >= 300:
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, response.Status, got)
	}
	return got, nil
}

// login asks something of its shelf as a login.
func (p product) login(method, below string) func(context.Context, string, driver.Credential) error {
	return func(ctx context.Context, shelf string, c driver.Credential) error {
		_, err := p.as(ctx, c.Public["username"], c.Secret["password"].Reveal(), method, "/shelves/"+url.PathEscape(shelf)+below, "x")
		return err
	}
}

// anywhere asks something as a login that is no affair of its shelf.
func (p product) anywhere(method, path string, body any) func(context.Context, string, driver.Credential) error {
	return func(ctx context.Context, _ string, c driver.Credential) error {
		_, err := p.as(ctx, c.Public["username"], c.Secret["password"].Reveal(), method, path, body)
		return err
	}
}

// change changes a user as it is.
func (p product) change(ctx context.Context, name string, how func(*shelfd.User)) error {
	text, err := p.as(ctx, admin, adminPassword, "GET", "/admin/users/"+name, nil)
	if err != nil {
		return err
	}
	var u shelfd.User
	if err := json.Unmarshal(text, &u); err != nil {
		return err
	}
	how(&u)
	_, err = p.as(ctx, admin, adminPassword, "PUT", "/admin/users/"+name, u)
	return err
}

// session is a client that asks again and again: Shelf has no sessions of its own.
type session struct {
	ask func(context.Context) error
}

func (s session) Close() {}

func (s session) Wait(ctx context.Context) error {
	for {
		switch err := s.ask(ctx); {
		case errors.Is(err, drivertest.ErrRefused):
			return nil
		case err != nil:
			return err
		}
	}
}

func (p product) registered() driver.Config {
	c := driver.Config{
		ID:       "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/shelfServers/shelf",
		Endpoint: p.URL,
		Admin:    driver.Secrets{"username": patchbay.NewSecret(admin), "password": patchbay.NewSecret(adminPassword)},
	}
	if p.TLS != nil {
		properties, _ := json.Marshal(map[string]string{"ca": p.authority()}) // of text, always
		c.Properties = properties
	}
	return c
}

func (p product) authority() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw}))
}

// The shelves that the suite's logins are for.
var (
	subs    = []string{"orders", "bills"}
	hostile = []string{`it's "50%" of a/b;`, "two\nlines", "*"}
)

func (p product) harness() drivertest.TargetHarness {
	reader := []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}
	drift := func(name string, access patchbay.Access, missing, excess bool, how func(u *shelfd.User, shelf string)) drivertest.Drift {
		return drivertest.Drift{Name: name, Access: access, Missing: missing, Excess: excess, Make: func(ctx context.Context, r driver.LoginRequest) error {
			return p.change(ctx, r.Name, func(u *shelfd.User) { how(u, r.Sub) })
		}}
	}
	return drivertest.TargetHarness{
		Driver: shelf.Driver(), Config: p.registered(),
		Subs: subs, HostileSubs: hostile, MissingSub: "nobody's",
		SignIn: p.login("GET", "/keys"),
		OpenSession: func(ctx context.Context, shelf string, c driver.Credential) (drivertest.Session, error) {
			ask := func(ctx context.Context) error { return p.login("GET", "/keys")(ctx, shelf, c) }
			return session{ask}, ask(ctx)
		},
		Actions: []drivertest.Action{
			{Name: "list the keys", Allowed: reader, Do: p.login("GET", "/keys")},
			{Name: "put a key", Allowed: reader[1:], Do: p.login("PUT", "/keys/a")},
			{Name: "delete a key", Allowed: reader[1:], Do: p.login("DELETE", "/keys/a")},
			{Name: "empty the shelf", Allowed: reader[2:], Do: p.login("DELETE", "/keys")},
			{Name: "read another shelf", Do: p.anywhere("GET", "/shelves/payroll/keys", nil)},
			{Name: "put into another shelf", Do: p.anywhere("PUT", "/shelves/payroll/keys/a", "x")},
			{Name: "make a shelf", Do: p.anywhere("PUT", "/shelves/mine", nil)},
			{Name: "list the users", Do: p.anywhere("GET", "/admin/users", nil)},
			{Name: "make an administrator", Do: p.anywhere("PUT", "/admin/users/mine", shelfd.User{Password: "x", Admin: true})},
		},
		Wrong: func(c driver.Credential) map[string]driver.Credential {
			with := func(name, password string) driver.Credential {
				return driver.Credential{Public: map[string]string{"username": name}, Secret: driver.Secrets{"password": patchbay.NewSecret(password)}}
			}
			name, password := c.Public["username"], c.Secret["password"].Reveal()
			return map[string]driver.Credential{
				"an altered password": with(name, password[1:]), "another's name": with(admin, password), "no password": with(name, ""),
			}
		},
		Foreign: func(t testing.TB, _, name string) func() error {
			theirs := shelfd.User{Password: "theirs", Note: "of the night shift", Rights: map[string]shelfd.Right{"bills": shelfd.Read}}
			if _, err := p.as(t.Context(), admin, adminPassword, "PUT", "/admin/users/"+name, theirs); err != nil {
				t.Fatal(err)
			}
			return func() error {
				if _, err := p.as(context.Background(), name, "theirs", "GET", "/shelves/bills/keys", nil); err != nil {
					return err
				}
				return p.change(context.Background(), name, func(u *shelfd.User) {
					if u.Note != theirs.Note || len(u.Rights) != 1 {
						t.Errorf("it is %+v", *u)
					}
				})
			}
		},
		Drifts: []drivertest.Drift{
			drift("a reader may write", patchbay.Reader, true, true, func(u *shelfd.User, shelf string) { u.Rights[shelf] = shelfd.Write }),
			drift("an owner may read only", patchbay.Owner, true, true, func(u *shelfd.User, shelf string) { u.Rights[shelf] = shelfd.Read }),
			drift("may nothing any more", patchbay.Writer, true, false, func(u *shelfd.User, _ string) { u.Rights = nil }),
			drift("may read another shelf", patchbay.Writer, false, true, func(u *shelfd.User, _ string) { u.Rights["payroll"] = shelfd.Read }),
			drift("is an administrator", patchbay.Reader, false, true, func(u *shelfd.User, _ string) { u.Admin = true }),
			drift("has another password", patchbay.Writer, false, false, func(u *shelfd.User, _ string) { u.Password = "another" }),
		},
	}
}

// This is what says that a driver is one.
func TestTheDriverPassesTheSuite(t *testing.T) {
	shelves := slices.Concat(subs, hostile, []string{"payroll"})
	for name, secured := range map[string]bool{"TLS": true, "in the clear": false} {
		t.Run(name, func(t *testing.T) { drivertest.Target(t, start(t, secured, shelves...).harness()) })
	}
}

// What is of this product alone follows: the suite can't know it.
func TestAnAdministratorThatIsNoneIsToldApart(t *testing.T) {
	p := start(t, false, "orders")
	if _, err := p.as(t.Context(), admin, adminPassword, "PUT", "/admin/users/web", shelfd.User{Password: "its own", Rights: map[string]shelfd.Right{"orders": shelfd.Own}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, password string
		want           patchbay.Code
	}{{admin, "wrong", patchbay.AdminRefused}, {"web", "its own", patchbay.AdminRights}} {
		registered := p.registered()
		registered.Admin = driver.Secrets{"username": patchbay.NewSecret(c.name), "password": patchbay.NewSecret(c.password)}
		if _, err := drivertest.OpenTarget(t, shelf.Driver(), registered).Inspect(t.Context(), "orders"); patchbay.CodeOf(err) != c.want || patchbay.AsError(err).Fix == "" {
			t.Errorf("Inspect as %s = %v, want %s and what helps", c.name, err, c.want)
		}
	}
}

func TestACertificateOfNobodyIsRefused(t *testing.T) {
	p := start(t, true, "orders")
	for name, properties := range map[string]string{
		"no authority": `{}`, "another name": fmt.Sprintf(`{"ca":%q,"serverName":"other.test"}`, p.authority()),
	} {
		registered := p.registered()
		registered.Properties = json.RawMessage(properties)
		_, err := drivertest.OpenTarget(t, shelf.Driver(), registered).Inspect(t.Context(), "")
		if patchbay.CodeOf(err) != patchbay.CertificateInvalid || patchbay.AsError(err).Fix == "" {
			t.Errorf("%s: %v, want CertificateInvalid and what helps", name, err)
		}
	}
}

// What answers and is no Shelf, or sends without end, is one clear error.
func TestWhatIsNoShelfIsSaidToBeNone(t *testing.T) {
	for name, c := range map[string]struct {
		says http.HandlerFunc
		want patchbay.Code
	}{
		"a web page": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, patchbay.TargetUnreachable},
		"a redirection": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://other.test/", http.StatusFound)
		}, patchbay.TargetUnreachable},
		"without end": {func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := w.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		}, patchbay.TargetMisbehaved},
	} {
		s := httptest.NewServer(c.says)
		_, err := drivertest.OpenTarget(t, shelf.Driver(), product{s}.registered()).Inspect(t.Context(), "")
		if patchbay.CodeOf(err) != c.want || patchbay.IsTransient(err) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		s.Close()
	}
}

// client is an HTTP client that trusts an authority.
func client(t testing.TB, authority string) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(authority)) {
		t.Fatal("the authority is none")
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
}
