package s3_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/signer"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/s3"
)

// management is a request to MinIO's admin API as somebody, which is none of the driver's.
func management(ctx context.Context, s *testenv.MinIOServer, id, secret, method, path string, query url.Values, body []byte) (string, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.URL()+"/minio/admin/v3/"+path+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(body)
	r.Header.Set("X-Amz-Content-Sha256", hex.EncodeToString(sum[:]))
	response, err := http.DefaultClient.Do(signer.SignV4(*r, id, secret, "", "us-east-1"))
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return "", err
	case response.StatusCode == http.StatusForbidden:
		return "", fmt.Errorf("%w: %s", drivertest.ErrRefused, text)
	case response.StatusCode >= 300:
		return "", fmt.Errorf("HTTP %d: %s", response.StatusCode, text)
	}
	return string(text), nil
}

func managed(ctx context.Context, s *testenv.MinIOServer, method, path string, query url.Values, body string) (string, error) {
	return management(ctx, s, s.Root, s.Secret, method, path, query, []byte(body))
}

func registerMinIO(s *testenv.MinIOServer) driver.Config {
	return driver.Config{
		ID:       "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/s3Servers/minio",
		Endpoint: s.URL(), Properties: []byte(`{"api":"minio"}`), Admin: s.Admin(),
	}
}

func asMinIO(s *testenv.MinIOServer, do func(ctx context.Context, c *minio.Client, bucket string) error) func(context.Context, string, driver.Credential) error {
	return func(ctx context.Context, sub string, credential driver.Credential) error {
		c, err := s.Client(credential.Public["accessKeyId"], credential.Secret["secretAccessKey"].Reveal())
		if err != nil {
			return err
		}
		// MinIO refuses before it has read what is sent, and hangs up: that may be heard first.
		for range 5 {
			if err = do(ctx, c, sub); err == nil || minio.ToErrorResponse(err).StatusCode != 0 {
				break
			}
		}
		return told(err)
	}
}

// minioDrifts are what somebody does to a login with mc.
func minioDrifts(s *testenv.MinIOServer) []drivertest.Drift {
	one := func(name string, access patchbay.Access, missing, excess bool, method, path string, query func(name string) url.Values, body func(r driver.LoginRequest) string) drivertest.Drift {
		return drivertest.Drift{Name: name, Access: access, Missing: missing, Excess: excess, Make: func(ctx context.Context, r driver.LoginRequest) error {
			text := ""
			if body != nil {
				text = body(r)
			}
			_, err := managed(ctx, s, method, path, query(r.Name), text)
			return err
		}}
	}
	named := func(name string) url.Values { return url.Values{"name": {name}} }
	edited := func(edit func(one map[string]any)) func(r driver.LoginRequest) string {
		return func(r driver.LoginRequest) string {
			text, err := managed(context.Background(), s, http.MethodGet, "info-canned-policy", named(r.Name), "")
			if err != nil {
				return err.Error()
			}
			var d map[string]any
			if err := json.Unmarshal([]byte(text), &d); err != nil {
				return err.Error()
			}
			edit(d["Statement"].([]any)[0].(map[string]any))
			out, err := json.Marshal(d)
			if err != nil {
				return err.Error()
			}
			return string(out)
		}
	}
	attached := func(policies string) func(name string) url.Values {
		return func(name string) url.Values {
			return url.Values{"policyName": {strings.ReplaceAll(policies, "ITS", name)}, "userOrGroup": {name}, "isGroup": {"false"}}
		}
	}
	return []drivertest.Drift{
		one("may not list", patchbay.Writer, true, false, http.MethodPut, "add-canned-policy", named, edited(func(one map[string]any) {
			one["Action"] = slices.DeleteFunc(one["Action"].([]any), func(a any) bool { return a == "s3:ListBucket" })
		})),
		one("may do everything", patchbay.Reader, true, true, http.MethodPut, "add-canned-policy", named, edited(func(one map[string]any) { one["Action"] = []any{"s3:*"} })),
		one("has a policy more", patchbay.Reader, false, true, http.MethodPut, "set-user-or-group-policy", attached("ITS,readwrite"), nil),
		one("has another policy", patchbay.Writer, true, true, http.MethodPut, "set-user-or-group-policy", attached("consoleAdmin"), nil),
		one("is disabled", patchbay.Writer, true, false, http.MethodPut, "set-user-status", func(name string) url.Values {
			return url.Values{"accessKey": {name}, "status": {"disabled"}}
		}, nil),
		one("is in a group", patchbay.Reader, false, true, http.MethodPut, "update-group-members", func(string) url.Values { return nil }, func(r driver.LoginRequest) string {
			return `{"group":"admins","members":["` + r.Name + `"],"isRemove":false,"groupStatus":"enabled"}`
		}),
		one("its user is gone", patchbay.Writer, false, false, http.MethodDelete, "remove-user", func(name string) url.Values {
			return url.Values{"accessKey": {name}}
		}, nil),
	}
}

func TestTheDriverPassesTheSuiteOnMinIO(t *testing.T) {
	s := testenv.MinIO(t)
	root, err := s.Client(s.Root, s.Secret)
	if err != nil {
		t.Fatal(err)
	}
	subs, odd := []string{"orders", "bills"}, []string{"with.dots-and-9"}
	const private = "private"
	for _, b := range slices.Concat(subs, odd, []string{private}) {
		if err := errors.Join(root.MakeBucket(t.Context(), b, minio.MakeBucketOptions{}), written(t.Context(), root, b, "there")); err != nil {
			t.Fatal(err)
		}
	}
	list := func(ctx context.Context, c *minio.Client, b string) error { return listed(ctx, c, b, "") }
	all := []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}
	writers, owners := all[1:], all[2:]
	do := func(name string, allowed []patchbay.Access, f func(ctx context.Context, c *minio.Client, b string) error) drivertest.Action {
		return drivertest.Action{Name: name, Allowed: allowed, Do: asMinIO(s, f)}
	}
	drivertest.Target(t, drivertest.TargetHarness{
		Driver:  s3.Driver(),
		Product: "MinIO", Release: 1, Config: registerMinIO(s),
		Subs: subs, HostileSubs: odd, MissingSub: "nobodys",
		SignIn: asMinIO(s, list),
		OpenSession: func(ctx context.Context, sub string, c driver.Credential) (drivertest.Session, error) {
			ask := asMinIO(s, list)
			return session{func(ctx context.Context) error { return ask(ctx, sub, c) }}, ask(ctx, sub, c)
		},
		Actions: []drivertest.Action{
			do("list objects", all, list),
			do("get an object", all, func(ctx context.Context, c *minio.Client, b string) error { return got(ctx, c, b, "there") }),
			do("put and delete an object", writers, func(ctx context.Context, c *minio.Client, b string) error {
				if err := written(ctx, c, b, "new"); err != nil {
					return err
				}
				return c.RemoveObject(ctx, b, "new", minio.RemoveObjectOptions{})
			}),
			do("put an object in parts", writers, func(ctx context.Context, c *minio.Client, b string) error {
				const size = 6 << 20
				_, err := c.PutObject(ctx, b, "large", bytes.NewReader(make([]byte, size)), size, minio.PutObjectOptions{PartSize: 5 << 20})
				return err
			}),
			do("read the bucket's versioning", owners, func(ctx context.Context, c *minio.Client, b string) error {
				_, err := c.GetBucketVersioning(ctx, b)
				return err
			}),
			do("read the bucket's policy", nil, func(ctx context.Context, c *minio.Client, b string) error {
				_, err := c.GetBucketPolicy(ctx, b)
				return err
			}),
			do("remove the bucket", nil, func(ctx context.Context, c *minio.Client, b string) error { return c.RemoveBucket(ctx, b) }),
			do("make a bucket", nil, func(ctx context.Context, c *minio.Client, _ string) error {
				return c.MakeBucket(ctx, "a-bucket-of-its-own", minio.MakeBucketOptions{})
			}),
			do("list objects elsewhere", nil, func(ctx context.Context, c *minio.Client, _ string) error { return listed(ctx, c, private, "") }),
			do("get an object elsewhere", nil, func(ctx context.Context, c *minio.Client, _ string) error { return got(ctx, c, private, "there") }),
			do("put an object elsewhere", nil, func(ctx context.Context, c *minio.Client, _ string) error { return written(ctx, c, private, "new") }),
			do("copy an object from elsewhere", nil, func(ctx context.Context, c *minio.Client, b string) error {
				_, err := c.CopyObject(ctx, minio.CopyDestOptions{Bucket: b, Object: "copy"}, minio.CopySrcOptions{Bucket: private, Object: "there"})
				return err
			}),
			{Name: "list the policies", Do: func(ctx context.Context, _ string, c driver.Credential) error {
				_, err := management(ctx, s, c.Public["accessKeyId"], c.Secret["secretAccessKey"].Reveal(), http.MethodGet, "list-canned-policies", nil, nil)
				return err
			}},
		},
		Wrong: wrong,
		Foreign: func(t testing.TB, sub, name string) func() error {
			t.Helper()
			// And a policy of that name without our mark.
			theirs := `{"Version":"2012-10-17","Statement":[{"Sid":"PatchbayLooksAlike","Effect":"Allow","Action":["s3:GetObject"],"Resource":["arn:aws:s3:::` + sub + `/*"]}]}`
			named := url.Values{"name": {name}}
			if _, err := managed(t.Context(), s, http.MethodPut, "add-canned-policy", named, theirs); err != nil {
				t.Fatal(err)
			}
			if err := s.User(t.Context(), name, "theirs-and-nobody-elses"); err != nil {
				t.Fatal(err)
			}
			attach := url.Values{"policyName": {name}, "userOrGroup": {name}, "isGroup": {"false"}}
			if _, err := managed(t.Context(), s, http.MethodPut, "set-user-or-group-policy", attach, ""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				ctx := context.WithoutCancel(t.Context())
				_, err1 := managed(ctx, s, http.MethodDelete, "remove-user", url.Values{"accessKey": {name}}, "")
				_, err2 := managed(ctx, s, http.MethodDelete, "remove-canned-policy", named, "")
				if err := errors.Join(err1, err2); err != nil {
					t.Error(err)
				}
			})
			return func() error {
				return asMinIO(s, func(ctx context.Context, c *minio.Client, b string) error { return got(ctx, c, b, "there") })(
					context.Background(), sub, credential(name, "theirs-and-nobody-elses"))
			}
		},
		Drifts: minioDrifts(s),
	})
	if text, err := managed(t.Context(), s, http.MethodGet, "list-canned-policies", nil, ""); err != nil || strings.Contains(text, "Patchbay1U") {
		t.Errorf("there are policies: %s, %v", text, err)
	}
}

// The rights that docs/security.md names are enough, and prefixes, addresses and versions
// are as elsewhere.
func TestWithTheRightsThatAreNeededOnMinIO(t *testing.T) {
	s := testenv.MinIO(t)
	root, err := s.Client(s.Root, s.Secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []string{"orders", "versioned"} {
		if err := errors.Join(root.MakeBucket(t.Context(), b, minio.MakeBucketOptions{}), written(t.Context(), root, b, "out/there"), written(t.Context(), root, b, "in/there")); err != nil {
			t.Fatal(err)
		}
	}
	if err := root.EnableVersioning(t.Context(), "versioned"); err != nil {
		t.Fatal(err)
	}
	const needed = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["admin:CreateUser","admin:DeleteUser","admin:GetUser","admin:CreatePolicy","admin:DeletePolicy","admin:GetPolicy","admin:ListUserPolicies","admin:AttachUserOrGroupPolicy","admin:AddUserToGroup","admin:ServerInfo"]},` +
		`{"Effect":"Allow","Action":["s3:ListAllMyBuckets","s3:GetBucketLocation","s3:GetBucketVersioning"],"Resource":["arn:aws:s3:::*"]}]}`
	_, err1 := managed(t.Context(), s, http.MethodPut, "add-canned-policy", url.Values{"name": {"patchbay"}}, needed)
	err2 := s.User(t.Context(), "patchbay", "patchbays-own-secret")
	c := registerMinIO(s)
	c.Properties = []byte(`{}`) // it says itself that it is MinIO
	c.Admin = driver.Secrets{"accessKeyId": patchbay.NewSecret("patchbay"), "secretAccessKey": patchbay.NewSecret("patchbays-own-secret")}
	target := openedWith(t, c)
	if _, err := target.Inspect(t.Context(), "orders"); patchbay.CodeOf(err) != patchbay.AdminRights || !strings.Contains(patchbay.AsError(err).Fix, "consoleAdmin") {
		t.Errorf("Inspect without a right = %v", err)
	}
	_, err3 := managed(t.Context(), s, http.MethodPut, "set-user-or-group-policy", url.Values{"policyName": {"patchbay"}, "userOrGroup": {"patchbay"}, "isGroup": {"false"}}, "")
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if _, err := target.Inspect(t.Context(), "orders"); err != nil {
		t.Fatal(err)
	}
	for _, bucket := range []string{"orders", "versioned"} {
		for _, access := range []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner} {
			options := map[string]string{"prefixes": "in/"}
			if access == patchbay.Owner {
				options = nil
			}
			r := made(t, target, string(access)+bucket, bucket, access, options)
			exact(t, target, r)
			result, err := probe(t, target, r)
			if err != nil || (len(result.NotChecked) > 0) != (bucket == "versioned") {
				t.Errorf("%s of %s: %+v, %v", access, bucket, result, err)
			}
			try := func(do func(ctx context.Context, c *minio.Client, b string) error) error {
				return asMinIO(s, do)(t.Context(), bucket, r.Credential)
			}
			if err := try(func(ctx context.Context, c *minio.Client, b string) error { return got(ctx, c, b, "in/there") }); err != nil {
				t.Error(err)
			}
			for what, err := range map[string]error{
				"get":  try(func(ctx context.Context, c *minio.Client, b string) error { return got(ctx, c, b, "out/there") }),
				"list": try(func(ctx context.Context, c *minio.Client, b string) error { return listed(ctx, c, b, "") }),
			} {
				if access != patchbay.Owner && !errors.Is(err, drivertest.ErrRefused) {
					t.Errorf("%s may %s beside its prefix: %v", access, what, err)
				}
			}
			remove(t, target, r)
		}
		objects := 0
		for o := range root.ListObjects(t.Context(), bucket, minio.ListObjectsOptions{WithVersions: bucket == "versioned", Recursive: true}) {
			if o.Err != nil {
				t.Fatal(o.Err)
			}
			objects++
		}
		if objects != 2 {
			t.Errorf("the probes left something: %s has %d objects and versions", bucket, objects)
		}
	}
}
