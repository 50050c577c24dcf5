package s3_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/s3"
)

// refused is the error of everything that a target is asked, which all say the same.
func refused(t *testing.T, target drivertest.Opened, bucket string, code patchbay.Code, words string) *patchbay.Error {
	t.Helper()
	_, inspected := target.Inspect(t.Context(), "")
	_, owned := target.Owned(t.Context())
	r := driver.LoginRequest{Mark: driver.Mark{UID: "no", Generation: 1}, Name: "pb_no_g1", Sub: bucket, Auth: patchbay.AuthSecret, Access: patchbay.Reader}
	var err error
	if r.Credential, err = target.NewCredential(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"Inspect": inspected, "Owned": owned, "EnsureLogin": target.EnsureLogin(t.Context(), r)} {
		e := patchbay.AsError(err)
		if e == nil || e.Code != code || e.Transient || !strings.Contains(e.Message+" "+e.Fix, words) || e.Fix == "" {
			t.Errorf("%s = %+v, want %s with %q", what, e, code, words)
		}
	}
	return patchbay.AsError(inspected)
}

// What keeps the administrator from his work is said in words that lead out of it.
func TestWhatTheAdministratorLacksIsSaid(t *testing.T) {
	s := shared(t)
	bucket := aBucket(t, s, "refused")
	for name, c := range map[string]struct {
		code   patchbay.Code
		words  string
		change func(*driver.Config)
	}{
		"another secret": {patchbay.AdminRefused, "root", func(c *driver.Config) {
			c.Admin = driver.Secrets{"accessKeyId": patchbay.NewSecret("root"), "secretAccessKey": patchbay.NewSecret("no")}
		}},
		"nobody's key": {patchbay.AdminRefused, "root", func(c *driver.Config) {
			c.Admin = driver.Secrets{"accessKeyId": patchbay.NewSecret("nobody"), "secretAccessKey": patchbay.NewSecret("no")}
		}},
		"another region": {patchbay.InvalidArgument, "region", func(c *driver.Config) { c.Properties = []byte(`{"region":"eu-north-1"}`) }},
	} {
		t.Run(name, func(t *testing.T) {
			config := register(s, nil)
			c.change(&config)
			_ = refused(t, openedWith(t, config), bucket, c.code, c.words)
		})
	}
	t.Run("no administrator", func(t *testing.T) {
		if err := s.User(t.Context(), "plain-user", "plain-users-secret", "userplus"); err != nil {
			t.Fatal(err)
		}
		config := register(s, nil)
		config.Admin = driver.Secrets{"accessKeyId": patchbay.NewSecret("plain-user"), "secretAccessKey": patchbay.NewSecret("plain-users-secret")}
		e := refused(t, openedWith(t, config), bucket, patchbay.AdminRights, "--role admin")
		if e != nil && !strings.Contains(e.Said, "XAdminAccessDenied") {
			t.Errorf("the administrator is not told what was said: %q", e.Said)
		}
	})
	t.Run("an administrator that is not the root", func(t *testing.T) {
		if err := s.User(t.Context(), "second", "seconds-secret", "admin"); err != nil {
			t.Fatal(err)
		}
		config := register(s, nil)
		config.Admin = driver.Secrets{"accessKeyId": patchbay.NewSecret("second"), "secretAccessKey": patchbay.NewSecret("seconds-secret")}
		target := openedWith(t, config)
		exact(t, target, made(t, target, "bysecond", bucket, patchbay.Writer, nil))
	})
	t.Run("a gateway with its root alone", func(t *testing.T) {
		alone := testenv.VersityGW(t, testenv.VersityGWOptions{NoUsers: true})
		target := opened(t, alone, nil)
		if _, err := target.Inspect(t.Context(), ""); patchbay.CodeOf(err) != patchbay.NotSupported || !strings.Contains(patchbay.AsError(err).Fix, "--iam-dir") {
			t.Errorf("Inspect = %v", err)
		}
	})
	t.Run("the admin API has a port of its own", func(t *testing.T) {
		apart := testenv.VersityGW(t, testenv.VersityGWOptions{AdminPort: true, TLS: true, Region: "eu-north-1"})
		properties := map[string]any{"region": "eu-north-1"}
		there := aBucket(t, apart, "apart")
		exact(t, opened(t, apart, properties), made(t, opened(t, apart, properties), "apart", there, patchbay.Writer, nil))
		config := register(apart, properties)
		config.Properties = []byte(strings.Replace(string(config.Properties), apart.AdminURL(), apart.URL(), 1))
		_ = refused(t, openedWith(t, config), there, patchbay.NotSupported, "admin")
		// And nobody vouches for the server.
		config.Properties = []byte(`{"region":"eu-north-1"}`)
		if _, err := openedWith(t, config).Inspect(t.Context(), ""); patchbay.CodeOf(err) != patchbay.CertificateInvalid || !strings.Contains(patchbay.AsError(err).Fix, "tls.ca") {
			t.Errorf("Inspect of a server whose authority nobody knows = %v", err)
		}
	})
}

// A gateway that keeps policies in attributes of a directory takes so many and no more:
// what would not fit is said with its size, and the login is taken back whole.
func TestAPolicyThatDoesNotFitIsSaid(t *testing.T) {
	s := testenv.VersityGW(t, testenv.VersityGWOptions{Attributes: true})
	bucket := aBucket(t, s, "full")
	target := opened(t, s, nil)
	const most = 120
	for i := range most {
		r := asked(t, target, fmt.Sprintf("fill%d", i), bucket, patchbay.Owner, nil)
		err := target.EnsureLogin(t.Context(), r)
		if err == nil {
			continue
		}
		if e := patchbay.AsError(err); !strings.Contains(e.Fix, "--sidecar") || i < 2 {
			t.Errorf("login %d: %v; %s", i, err, e.Fix)
		}
		remove(t, target, r)
		if out, err := s.Manage(t.Context(), "list-users"); err != nil || strings.Contains(out, r.Name) {
			t.Errorf("%s, %v", out, err)
		}
		t.Logf("%d owners fit", i)
		return
	}
	t.Skipf("the file system takes more than %d logins' statements in an attribute", most)
}

// answering is a target at a server that answers like none: it stands for what no real
// gateway can be made to do.
func answering(t *testing.T, f http.HandlerFunc) drivertest.Opened {
	t.Helper()
	return openedWith(t, driver.Config{
		ID:       "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/s3Servers/liar",
		Endpoint: served(t, f), Properties: []byte(`{"api":"versitygw"}`),
		Admin: driver.Secrets{"accessKeyId": patchbay.NewSecret("root"), "secretAccessKey": patchbay.NewSecret("the-secret-of-the-root")},
	})
}

func TestServersThatMeanNoGood(t *testing.T) {
	if _, err := s3.Driver().Open(t.Context(), driver.Config{Endpoint: "http://127.0.0.1:1", Admin: driver.Secrets{"accessKeyId": patchbay.NewSecret("a/b"), "secretAccessKey": patchbay.NewSecret("x")}}); patchbay.CodeOf(err) != patchbay.InvalidArgument {
		t.Errorf("Open with a key that can't be signed with = %v", err)
	}
	fault := func(status int, code string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>CanaryInTheMine</Message></Error>", code)
		}
	}
	for name, c := range map[string]struct {
		code      patchbay.Code
		transient bool
		answer    http.HandlerFunc
	}{
		"an endless answer": {patchbay.TargetMisbehaved, false, func(w http.ResponseWriter, _ *http.Request) {
			for block := make([]byte, 1<<20); ; {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}},
		"an answer in deep brackets": {patchbay.NotSupported, false, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat("<a>", 200000))
		}},
		"an answer that is a page": {patchbay.NotSupported, false, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<html><body>Welcome</body></html>")
		}},
		"an empty answer": {patchbay.NotSupported, false, func(http.ResponseWriter, *http.Request) {}},
		"elsewhere": {patchbay.TargetUnreachable, false, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:9/", http.StatusTemporaryRedirect)
		}},
		"a page that is not found": {patchbay.NotSupported, false, http.NotFound},
		"a clock of its own":       {patchbay.TargetUnreachable, false, fault(http.StatusForbidden, "RequestTimeTooSkewed")},
		"no time":                  {patchbay.TargetUnreachable, true, fault(http.StatusServiceUnavailable, "SlowDown")},
		"too many requests":        {patchbay.TargetUnreachable, true, fault(http.StatusTooManyRequests, "SlowDown")},
		"an end in the middle": {patchbay.TargetUnreachable, true, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "<ListBucketsResult>")
			panic(http.ErrAbortHandler)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			target := answering(t, c.answer)
			_, inspected := target.Inspect(t.Context(), "orders")
			_, owned := target.Owned(t.Context())
			for what, err := range map[string]error{"Inspect": inspected, "Owned": owned} {
				e := patchbay.AsError(err)
				if e == nil || e.Code != c.code || e.Transient != c.transient {
					t.Errorf("%s = %v (transient %v)", what, err, e != nil && e.Transient)
				}
				if e != nil && strings.Contains(e.Error()+e.Fix, "Canary") {
					t.Errorf("%s tells what the server said: %v", what, e)
				}
			}
			_, err := probe(t, target, driver.LoginRequest{Credential: credential("pb_a_g1", "a-secret-of-the-login"), Sub: "orders", Access: patchbay.Reader})
			if e := patchbay.AsError(err); e == nil || strings.Contains(e.Error()+e.Fix, "Canary") || e.Said != "" {
				t.Errorf("a probe = %v", err)
			}
		})
	}
}

// What does not say what it is, is not guessed at.
func TestAServerThatIsNeitherIsSaid(t *testing.T) {
	for name, server := range map[string]string{"nothing": "", "another": "nginx", "nearly": "MinIO Console"} {
		target := openedWith(t, driver.Config{
			ID:       "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/s3Servers/liar",
			Endpoint: served(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Server", server) })),
			Admin:    driver.Secrets{"accessKeyId": patchbay.NewSecret("root"), "secretAccessKey": patchbay.NewSecret("the-secret-of-the-root")},
		})
		if e := refused(t, target, "orders", patchbay.NotSupported, "external"); e != nil && server != "" && strings.Contains(e.Error(), server) {
			t.Errorf("%s: %v", name, e)
		}
	}
	// One that was registered as the other says so.
	s := shared(t)
	target := opened(t, s, map[string]any{"api": "minio"})
	if _, err := target.Inspect(t.Context(), ""); patchbay.CodeOf(err) != patchbay.NotSupported || !strings.Contains(patchbay.AsError(err).Fix, "versitygw") {
		t.Errorf("Inspect of a gateway as MinIO = %v; %v", err, patchbay.AsError(err).Fix)
	}
}

// A gateway that says yes to everything and does nothing is found out.
func TestAServerThatForgetsIsFoundOut(t *testing.T) {
	target := answering(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodGet && r.URL.Query().Has("policy"):
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, "<Error><Code>NoSuchBucketPolicy</Code></Error>")
		case r.Method == http.MethodGet && r.URL.Query().Has("acl"):
			_, _ = io.WriteString(w, "<AccessControlPolicy><Owner><ID>root</ID></Owner></AccessControlPolicy>")
		}
	})
	r := driver.LoginRequest{Mark: driver.Mark{UID: "no", Generation: 1}, Name: "pb_no_g1", Sub: "orders", Auth: patchbay.AuthSecret, Access: patchbay.Reader}
	var err error
	if r.Credential, err = target.NewCredential(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := target.EnsureLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.Conflict || !patchbay.IsTransient(err) {
		t.Errorf("EnsureLogin = %v", err)
	}
}

// The gateway does what it is asked, and its answer never comes: the next call finds that
// it is done.
func TestAnAnswerThatNeverComes(t *testing.T) {
	s := shared(t)
	bucket := aBucket(t, s, "without-an-answer")
	for _, path := range []string{"/create-user", "/update-user", "/" + bucket, "/delete-user"} {
		var hangs atomic.Bool
		hangs.Store(true)
		at := between(t, s, func(forward http.Handler, w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != path || r.Method == http.MethodGet || !hangs.CompareAndSwap(true, false) {
				return false
			}
			forward.ServeHTTP(&silent{header: http.Header{}}, r.WithContext(t.Context()))
			<-r.Context().Done()
			return true
		})
		config := register(s, nil)
		config.Endpoint = at
		target := openedWith(t, config)
		r := asked(t, target, "unheard"+strings.Trim(strings.ReplaceAll(path, "-", ""), "/"), bucket, patchbay.Writer, nil)
		for i, call := range []func(context.Context, driver.LoginRequest) error{
			target.EnsureLogin, target.EnsureLogin, target.RemoveLogin, target.RemoveLogin, target.EnsureLogin,
		} {
			ctx, cancel := context.WithTimeout(t.Context(), short)
			err := call(ctx, r)
			cancel()
			if err != nil && !patchbay.IsTransient(err) {
				t.Errorf("%s: call %d = %v", path, i, err)
			}
		}
		if hangs.Load() {
			t.Errorf("nobody asked for %s", path)
		}
		hangs.Store(false)
		if err := target.EnsureLogin(t.Context(), r); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		exact(t, target, r)
	}
}

// silent is an answer that nobody hears.
type silent struct{ header http.Header }

func (s *silent) Header() http.Header         { return s.header }
func (s *silent) Write(p []byte) (int, error) { return len(p), nil }
func (s *silent) WriteHeader(int)             {}

// Nothing that a login did is removed with it, and its uploads that were never ended can
// be ended by the bucket's owner.
func TestObjectsStay(t *testing.T) {
	s := shared(t)
	bucket := aBucket(t, s, "objects-stay")
	target := opened(t, s, nil)
	r := made(t, target, "stays", bucket, patchbay.Writer, nil)
	c, err := s.Client(r.Name, r.Credential.Secret["secretAccessKey"].Reveal())
	if err != nil {
		t.Fatal(err)
	}
	if err := written(t.Context(), c, bucket, "kept"); err != nil {
		t.Fatal(err)
	}
	if _, err := (minio.Core{Client: c}).NewMultipartUpload(t.Context(), bucket, "never-ended", minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
	remove(t, target, r)
	root := s.RootClient(t)
	if err := got(t.Context(), root, bucket, "kept"); err != nil {
		t.Error(err)
	}
	if err := root.RemoveIncompleteUpload(t.Context(), bucket, "never-ended"); err != nil {
		t.Error(err)
	}
}

// short is a deadline that an answer meets that comes at all.
const short = 700 * time.Millisecond
