package s3_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/s3"
)

func TestMain(m *testing.M) {
	if os.Getenv(program) != "" {
		os.Exit(goProgram())
	}
	code := m.Run()
	if server.VersityGWServer != nil {
		if err := server.Stop(); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// server is the gateway that most tests share; each has buckets of its own.
var server struct {
	*testenv.VersityGWServer
	once sync.Once
	err  error
}

func shared(t testing.TB) *testenv.VersityGWServer {
	t.Helper()
	server.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		server.VersityGWServer, server.err = testenv.StartVersityGW(ctx, testenv.VersityGWOptions{Versioning: true})
	})
	if errors.Is(server.err, testenv.ErrNotInstalled) && os.Getenv("PATCHBAY_TESTENV") != "required" {
		t.Skip(server.err)
	}
	if server.err != nil {
		t.Fatal(server.err)
	}
	return server.VersityGWServer
}

var plain driver.Dialer = &net.Dialer{}

// served is where a handler answers until the test ends.
func served(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	t.Cleanup(s.Close)
	return s.URL
}

// register is the gateway's registration.
func register(s *testenv.VersityGWServer, properties map[string]any) driver.Config {
	all := map[string]any{}
	if s.AdminURL() != s.URL() {
		all["admin"] = s.AdminURL()
	}
	if s.CA != nil {
		all["tls"] = map[string]any{"ca": string(s.CA)}
	}
	for name, value := range properties {
		all[name] = value
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return driver.Config{
		ID:       "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/s3Servers/s3",
		Endpoint: s.URL(), Properties: text, Admin: s.Admin(),
	}
}

// opened is a target as the driver opens it.
func opened(t testing.TB, s *testenv.VersityGWServer, properties map[string]any) drivertest.Opened {
	t.Helper()
	return openedWith(t, register(s, properties))
}

func openedWith(t testing.TB, c driver.Config) drivertest.Opened {
	t.Helper()
	if c.Dialer == nil {
		c.Dialer = plain
	}
	return drivertest.OpenTarget(t, s3.Driver(), c)
}

// made is a login that is there, and goes with the test.
func made(t testing.TB, target drivertest.Opened, uid, bucket string, access patchbay.Access, options map[string]string) driver.LoginRequest {
	t.Helper()
	r := asked(t, target, uid, bucket, access, options)
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return r
}

func asked(t testing.TB, target drivertest.Opened, uid, bucket string, access patchbay.Access, options map[string]string) driver.LoginRequest {
	t.Helper()
	r := driver.LoginRequest{
		Mark: driver.Mark{UID: uid, Generation: 1, Connection: patchbay.ID("/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/Shop/providers/Microsoft.Web/sites/web/providers/Microsoft.ServiceLinker/linkers/" + uid)},
		Name: "pb_" + uid + "_g1", Sub: bucket, Auth: patchbay.AuthSecret, Access: access, Options: options,
	}
	var err error
	if r.Credential, err = target.NewCredential(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := target.RemoveLogin(ctx, r); err != nil && patchbay.CodeOf(err) != patchbay.NotOurs {
			t.Errorf("clean up: %v", err)
		}
	})
	return r
}

// aBucket makes a bucket of the root's.
func aBucket(t testing.TB, s *testenv.VersityGWServer, name string) string {
	t.Helper()
	if err := s.RootClient(t).MakeBucket(t.Context(), name, minio.MakeBucketOptions{Region: s.Region}); err != nil {
		t.Fatal(err)
	}
	return name
}

// policyOf is a bucket's policy as the product has it; "" for none.
func policyOf(t testing.TB, s *testenv.VersityGWServer, bucket string) string {
	t.Helper()
	text, err := s.RootClient(t).GetBucketPolicy(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func setPolicy(ctx context.Context, s *testenv.VersityGWServer, bucket, text string) error {
	c, err := s.Client(s.Root, s.Secret)
	if err != nil {
		return err
	}
	return c.SetBucketPolicy(ctx, bucket, text)
}

// editPolicy is somebody who edits a bucket's policy as text.
func editPolicy(ctx context.Context, s *testenv.VersityGWServer, bucket string, edit func(document map[string]any)) error {
	c, err := s.Client(s.Root, s.Secret)
	if err != nil {
		return err
	}
	text, err := c.GetBucketPolicy(ctx, bucket)
	if err != nil {
		return err
	}
	d := map[string]any{"Version": "2012-10-17", "Statement": []any{}}
	if text != "" {
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			return err
		}
	}
	edit(d)
	if len(d["Statement"].([]any)) == 0 {
		return c.SetBucketPolicy(ctx, bucket, "")
	}
	edited, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return c.SetBucketPolicy(ctx, bucket, string(edited))
}

// told sorts a refusal of the product's from everything else that may go wrong.
func told(err error) error {
	if err == nil {
		return nil
	}
	switch said := minio.ToErrorResponse(err); said.Code {
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch":
		return fmt.Errorf("%w: %s", drivertest.ErrRefused, said.Code)
	}
	return err
}

// as is something to do as the login.
func as(s *testenv.VersityGWServer, do func(ctx context.Context, c *minio.Client, bucket string) error) func(context.Context, string, driver.Credential) error {
	return func(ctx context.Context, sub string, credential driver.Credential) error {
		c, err := s.Client(credential.Public["accessKeyId"], credential.Secret["secretAccessKey"].Reveal())
		if err != nil {
			return err
		}
		return told(do(ctx, c, sub))
	}
}

func listed(ctx context.Context, c *minio.Client, bucket, prefix string) error {
	for o := range c.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: prefix}) {
		if o.Err != nil {
			return o.Err
		}
	}
	return nil
}

func got(ctx context.Context, c *minio.Client, bucket, object string) error {
	o, err := c.GetObject(ctx, bucket, object, minio.GetObjectOptions{})
	if err != nil {
		return err
	}
	defer func() { _ = o.Close() }()
	_, err = io.Copy(io.Discard, o)
	return err
}

func written(ctx context.Context, c *minio.Client, bucket, object string) error {
	_, err := c.PutObject(ctx, bucket, object, strings.NewReader("hello"), 5, minio.PutObjectOptions{})
	return err
}

// actions are what is really tried. The bucket private is somebody else's.
func actions(s *testenv.VersityGWServer, private string) []drivertest.Action {
	all := []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}
	writers, owners := all[1:], all[2:]
	return []drivertest.Action{
		{Name: "list objects", Allowed: all, Do: as(s, func(ctx context.Context, c *minio.Client, b string) error { return listed(ctx, c, b, "") })},
		{Name: "get an object", Allowed: all, Do: as(s, func(ctx context.Context, c *minio.Client, b string) error { return got(ctx, c, b, "there") })},
		{Name: "see whether the bucket is there", Allowed: all, Do: as(s, func(ctx context.Context, c *minio.Client, b string) error {
			ok, err := c.BucketExists(ctx, b)
			if err == nil && !ok {
				err = errors.New("it is not there")
			}
			return err
		})},
		{Name: "put and delete an object", Allowed: writers, Do: as(s, func(ctx context.Context, c *minio.Client, b string) error {
			if err := written(ctx, c, b, "new"); err != nil {
				return err
			}
			return c.RemoveObject(ctx, b, "new", minio.RemoveObjectOptions{})
		})},
		{Name: "put an object in parts", Allowed: writers, Do: as(s, func(ctx context.Context, c *minio.Client, b string) error {
			const size = 6 << 20
			if _, err := c.PutObject(ctx, b, "large", bytes.NewReader(make([]byte, size)), size, minio.PutObjectOptions{PartSize: 5 << 20}); err != nil {
				return err
			}
			return c.RemoveObject(ctx, b, "large", minio.RemoveObjectOptions{})
		})},
		{Name: "copy an object", Allowed: writers, Do: as(s, func(ctx context.Context, c *minio.Client, b string) error {
			_, err := c.CopyObject(ctx, minio.CopyDestOptions{Bucket: b, Object: "copy"}, minio.CopySrcOptions{Bucket: b, Object: "there"})
			return err
		})},
		{Name: "delete an object of somebody else's", Allowed: writers, Do: as(s, func(ctx context.Context, c *minio.Client, b string) error {
			if err := c.RemoveObject(ctx, b, "there", minio.RemoveObjectOptions{}); err != nil {
				return err
			}
			root, err := s.Client(s.Root, s.Secret)
			if err != nil {
				return err
			}
			return written(ctx, root, b, "there")
		})},
		{Name: "read the bucket's versioning", Allowed: owners, Do: as(s, func(ctx context.Context, c *minio.Client, b string) error {
			_, err := c.GetBucketVersioning(ctx, b)
			return err
		})},
		{Name: "set the bucket's tags", Allowed: owners, Do: as(s, func(ctx context.Context, c *minio.Client, b string) error {
			return c.RemoveBucketTagging(ctx, b)
		})},
		{Name: "read the bucket's policy", Do: as(s, func(ctx context.Context, c *minio.Client, b string) error {
			_, err := c.GetBucketPolicy(ctx, b)
			return err
		})},
		{Name: "take the bucket's policy away", Do: as(s, func(ctx context.Context, c *minio.Client, b string) error { return c.SetBucketPolicy(ctx, b, "") })},
		{Name: "remove the bucket", Do: as(s, func(ctx context.Context, c *minio.Client, b string) error { return c.RemoveBucket(ctx, b) })},
		{Name: "make a bucket", Do: as(s, func(ctx context.Context, c *minio.Client, _ string) error {
			return c.MakeBucket(ctx, "a-bucket-of-its-own", minio.MakeBucketOptions{})
		})},
		{Name: "list objects elsewhere", Do: as(s, func(ctx context.Context, c *minio.Client, _ string) error { return listed(ctx, c, private, "") })},
		{Name: "get an object elsewhere", Do: as(s, func(ctx context.Context, c *minio.Client, _ string) error { return got(ctx, c, private, "there") })},
		{Name: "put an object elsewhere", Do: as(s, func(ctx context.Context, c *minio.Client, _ string) error {
			return written(ctx, c, private, "new")
		})},
		{Name: "copy an object from elsewhere", Do: as(s, func(ctx context.Context, c *minio.Client, b string) error {
			_, err := c.CopyObject(ctx, minio.CopyDestOptions{Bucket: b, Object: "copy"}, minio.CopySrcOptions{Bucket: private, Object: "there"})
			return err
		})},
		{Name: "list the users", Do: func(ctx context.Context, _ string, c driver.Credential) error {
			out, err := s.Manage(ctx, "--access", c.Public["accessKeyId"], "--secret", c.Secret["secretAccessKey"].Reveal(), "list-users")
			if err != nil && strings.Contains(out, "XAdminAccessDenied") {
				return fmt.Errorf("%w: %s", drivertest.ErrRefused, out)
			}
			return err
		}},
	}
}

// session is a login's that asks again and again: S3 has no other.
type session struct {
	ask func(ctx context.Context) error
}

func (session) Close() {}

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

func statements(d map[string]any) []map[string]any {
	var all []map[string]any
	for _, one := range d["Statement"].([]any) {
		all = append(all, one.(map[string]any))
	}
	return all
}

// drifts are what somebody does to a login with versitygw's admin command, or to the
// bucket's policy.
func drifts(s *testenv.VersityGWServer, private string) []drivertest.Drift {
	policy := func(name string, access patchbay.Access, missing, excess bool, edit func(r driver.LoginRequest, d map[string]any)) drivertest.Drift {
		return drivertest.Drift{Name: name, Access: access, Missing: missing, Excess: excess, Make: func(ctx context.Context, r driver.LoginRequest) error {
			return editPolicy(ctx, s, r.Sub, func(d map[string]any) { edit(r, d) })
		}}
	}
	ours := func(r driver.LoginRequest, d map[string]any) map[string]any {
		for _, one := range statements(d) {
			if sid, _ := one["Sid"].(string); strings.HasPrefix(sid, "Patchbay1U"+r.Mark.UID+"G") {
				return one
			}
		}
		return nil
	}
	grant := func(bucket string, who ...any) map[string]any {
		return map[string]any{"Sid": "ByHand", "Effect": "Allow", "Principal": map[string]any{"AWS": who}, "Action": "s3:PutObject", "Resource": "arn:aws:s3:::" + bucket + "/*"}
	}
	add := func(d map[string]any, one map[string]any) { d["Statement"] = append(d["Statement"].([]any), one) }
	return []drivertest.Drift{
		policy("may not list", patchbay.Writer, true, false, func(r driver.LoginRequest, d map[string]any) {
			one := ours(r, d)
			one["Action"] = slices.DeleteFunc(one["Action"].([]any), func(a any) bool { return a == "s3:ListBucket" })
		}),
		policy("may do everything", patchbay.Reader, true, true, func(r driver.LoginRequest, d map[string]any) { ours(r, d)["Action"] = "s3:*" }),
		policy("is denied", patchbay.Reader, true, true, func(r driver.LoginRequest, d map[string]any) { ours(r, d)["Effect"] = "Deny" }),
		policy("everybody may", patchbay.Reader, true, true, func(r driver.LoginRequest, d map[string]any) { ours(r, d)["Principal"] = "*" }),
		policy("from one address alone", patchbay.Writer, true, true, func(r driver.LoginRequest, d map[string]any) {
			ours(r, d)["Condition"] = map[string]any{"IpAddress": map[string]any{"aws:SourceIp": "192.0.2.1/32"}}
		}),
		policy("has lost its statement", patchbay.Owner, true, false, func(r driver.LoginRequest, d map[string]any) {
			d["Statement"] = slices.DeleteFunc(d["Statement"].([]any), func(one any) bool {
				return strings.Contains(fmt.Sprint(one.(map[string]any)["Sid"]), r.Mark.UID)
			})
		}),
		policy("has a statement more", patchbay.Reader, false, true, func(r driver.LoginRequest, d map[string]any) { add(d, grant(r.Sub, r.Name)) }),
		policy("is named with others", patchbay.Reader, false, true, func(r driver.LoginRequest, d map[string]any) { add(d, grant(r.Sub, r.Name, "somebody")) }),
		{Name: "may use another bucket", Access: patchbay.Reader, Excess: true, Make: func(ctx context.Context, r driver.LoginRequest) error {
			return editPolicy(ctx, s, private, func(d map[string]any) { add(d, grant(private, r.Name)) })
		}},
		{Name: "the policy is gone", Access: patchbay.Writer, Missing: true, Make: func(ctx context.Context, r driver.LoginRequest) error {
			return setPolicy(ctx, s, r.Sub, "")
		}},
		{Name: "is an administrator", Access: patchbay.Reader, Excess: true, Make: func(ctx context.Context, r driver.LoginRequest) error {
			_, err := s.Manage(ctx, "update-user", "--access", r.Name, "--role", "admin")
			return err
		}},
		{Name: "has another secret", Access: patchbay.Writer, Make: func(ctx context.Context, r driver.LoginRequest) error {
			_, err := s.Manage(ctx, "update-user", "--access", r.Name, "--secret", "another-secret")
			return err
		}},
		{Name: "its user is gone", Access: patchbay.Writer, Make: func(ctx context.Context, r driver.LoginRequest) error {
			_, err := s.Manage(ctx, "delete-user", "--access", r.Name)
			return err
		}},
	}
}

// foreign makes a user of that name that is somebody else's, with rights of its own.
func foreign(s *testenv.VersityGWServer) func(testing.TB, string, string) func() error {
	return func(t testing.TB, sub, name string) func() error {
		t.Helper()
		if err := s.User(t.Context(), name, "theirs-and-nobody-elses-of-40-characters", "user"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			drop := func(d map[string]any) {
				d["Statement"] = slices.DeleteFunc(d["Statement"].([]any), func(one any) bool { return one.(map[string]any)["Sid"] == "Theirs" })
			}
			if err := editPolicy(ctx, s, sub, drop); err != nil {
				t.Error(err)
			}
			if _, err := s.Manage(ctx, "delete-user", "--access", name); err != nil {
				t.Error(err)
			}
		})
		err := editPolicy(t.Context(), s, sub, func(d map[string]any) {
			d["Statement"] = append(d["Statement"].([]any), map[string]any{"Sid": "Theirs", "Effect": "Allow", "Principal": name, "Action": []any{"s3:GetObject"}, "Resource": []any{"arn:aws:s3:::" + sub + "/*"}})
		})
		if err != nil {
			t.Fatal(err)
		}
		return func() error {
			return as(s, func(ctx context.Context, c *minio.Client, b string) error { return got(ctx, c, b, "there") })(
				context.Background(), sub, credential(name, "theirs-and-nobody-elses-of-40-characters"))
		}
	}
}

func credential(id, secret string) driver.Credential {
	return driver.Credential{Public: map[string]string{"accessKeyId": id}, Secret: driver.Secrets{"secretAccessKey": patchbay.NewSecret(secret)}}
}

func wrong(c driver.Credential) map[string]driver.Credential {
	id, secret := c.Public["accessKeyId"], c.Secret["secretAccessKey"].Reveal()
	return map[string]driver.Credential{
		"an altered secret":    credential(id, secret[1:]+"x"),
		"another's name":       credential("root", secret),
		"no secret":            credential(id, ""),
		"a name of no user":    credential("pb_nobody_g1", secret),
		"a name in capitals":   credential(strings.ToUpper(id), secret),
		"the name and a slash": credential(id+"/", secret),
	}
}

func TestTheDriverPassesTheSuite(t *testing.T) {
	s := shared(t)
	subs := []string{aBucket(t, s, "orders"), aBucket(t, s, "bills")}
	private := aBucket(t, s, "private")
	odd := []string{aBucket(t, s, "with.dots-and-9"), aBucket(t, s, strings.Repeat("long", 15)+"est")}
	if err := s.User(t.Context(), "somebody", "somebodys-secret", "user"); err != nil {
		t.Fatal(err)
	}
	for _, b := range slices.Concat(subs, odd, []string{private}) {
		if err := written(t.Context(), s.RootClient(t), b, "there"); err != nil {
			t.Fatal(err)
		}
	}
	drivertest.Target(t, drivertest.TargetHarness{
		Driver:  s3.Driver(),
		Product: "Versity S3 Gateway", Release: 1, Config: register(s, nil),
		Subs: subs, HostileSubs: odd, MissingSub: "nobodys",
		SignIn: as(s, func(ctx context.Context, c *minio.Client, b string) error {
			_, err := c.GetBucketLocation(ctx, b)
			if err == nil {
				err = listed(ctx, c, b, "")
			}
			return err
		}),
		OpenSession: func(ctx context.Context, sub string, c driver.Credential) (drivertest.Session, error) {
			ask := as(s, func(ctx context.Context, c *minio.Client, b string) error { return listed(ctx, c, b, "") })
			return session{func(ctx context.Context) error { return ask(ctx, sub, c) }}, ask(ctx, sub, c)
		},
		Actions: actions(s, private),
		Wrong:   wrong,
		Foreign: foreign(s),
		Drifts:  drifts(s, private),
	})
	// Nothing is left that a login of ours had; what somebody else wrote is there.
	out, err := s.Manage(t.Context(), "list-users")
	if err != nil || strings.Contains(out, "pb_") {
		t.Errorf("there are users: %s, %v", out, err)
	}
	for _, b := range slices.Concat(subs, odd) {
		if text := policyOf(t, s, b); strings.Contains(text, "Patchbay") || strings.Contains(text, "pb_") {
			t.Errorf("the policy of %s is %s", b, text)
		}
	}
}
