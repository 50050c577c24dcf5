package s3_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
)

func probe(t testing.TB, target drivertest.Opened, r driver.LoginRequest) (driver.ProbeResult, error) {
	t.Helper()
	return target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: plain, Sub: r.Sub, Access: r.Access, Options: r.Options})
}

func remove(t testing.TB, target drivertest.Opened, r driver.LoginRequest) {
	t.Helper()
	r.Credential = driver.Credential{}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

func exact(t testing.TB, target drivertest.Opened, r driver.LoginRequest) {
	t.Helper()
	state, err := target.InspectLogin(t.Context(), r)
	if err != nil || !state.Exists || !state.Ours || len(state.Missing)+len(state.Excess) > 0 {
		t.Fatalf("InspectLogin = %+v, %v", state, err)
	}
}

// theirs is a policy that somebody else wrote, with members that mean nothing to us.
const theirs = `{"Id":"theirs","Version":"2008-10-17","Statement":[` +
	`{"Sid":"PatchbayLooksAlike","Effect":"Deny","Principal":"*","Action":"s3:DeleteObject","Resource":"arn:aws:s3:::%[1]s/kept/*","Comment":"a < b & c"},` +
	`{"Sid":"Patchbay1UnoneG01","Effect":"Allow","Principal":{"AWS":"somebody-else"},"Action":["s3:GetObject"],"Resource":["arn:aws:s3:::%[1]s/theirs/*"],"Condition":{"IpAddress":{"aws:SourceIp":["10.0.0.0/8"]}}}]}`

// What others have in the bucket's policy is there as they wrote it, as long as a login is
// there and afterwards.
func TestWhatOthersWroteStays(t *testing.T) {
	s := shared(t)
	bucket := aBucket(t, s, "shared-with-others")
	if err := s.User(t.Context(), "somebody-else", "somebody-elses-secret", "user"); err != nil {
		t.Fatal(err)
	}
	if err := setPolicy(t.Context(), s, bucket, fmt.Sprintf(theirs, bucket)); err != nil {
		t.Fatal(err)
	}
	foreign := func() string {
		var d struct {
			ID, Version string
			Statement   []json.RawMessage
		}
		if err := json.Unmarshal([]byte(policyOf(t, s, bucket)), &d); err != nil {
			t.Fatal(err)
		}
		text := d.ID + d.Version
		for _, one := range d.Statement {
			if !strings.Contains(string(one), "pb_") {
				text += "\n" + string(one)
			}
		}
		return text
	}
	before := foreign()
	target := opened(t, s, nil)
	a, b := made(t, target, "others1", bucket, patchbay.Reader, nil), made(t, target, "others2", bucket, patchbay.Writer, nil)
	for _, r := range []driver.LoginRequest{a, b} {
		exact(t, target, r)
		if now := foreign(); now != before {
			t.Fatalf("what others wrote is\n%s, and was\n%s", now, before)
		}
	}
	remove(t, target, a)
	exact(t, target, b)
	remove(t, target, b)
	if now := foreign(); now != before || strings.Contains(policyOf(t, s, bucket), "pb_") {
		t.Errorf("afterwards it is\n%s, and was\n%s", policyOf(t, s, bucket), before)
	}
}

// between is a server between the driver and the gateway, which does something of its own
// with some requests.
func between(t *testing.T, s *testenv.VersityGWServer, hook func(forward http.Handler, w http.ResponseWriter, r *http.Request) bool) string {
	t.Helper()
	at, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(at); r.Out.Host = r.In.Host }}
	return served(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hook == nil || !hook(forward, w, r) {
			forward.ServeHTTP(w, r)
		}
	}))
}

func isPolicyWrite(r *http.Request) bool {
	return r.Method == http.MethodPut && r.URL.Query().Has("policy")
}

// Somebody else reads the policy before Patchbay writes it, and writes his own right
// after: what Patchbay had written is gone, and is written again beside his.
func TestAWriteThatIsOverwrittenIsRepeated(t *testing.T) {
	s := shared(t)
	bucket := aBucket(t, s, "written-by-two")
	if err := s.User(t.Context(), "somebody-else", "somebody-elses-secret", "user"); err != nil {
		t.Fatal(err)
	}
	var writes atomic.Int32
	at := between(t, s, func(forward http.Handler, w http.ResponseWriter, r *http.Request) bool {
		if !isPolicyWrite(r) || writes.Add(1) > 2 {
			return false
		}
		forward.ServeHTTP(w, r)
		if err := setPolicy(r.Context(), s, bucket, fmt.Sprintf(theirs, bucket)); err != nil {
			t.Error(err)
		}
		return true
	})
	c := register(s, nil)
	c.Endpoint = at
	target := openedWith(t, c)
	r := made(t, target, "twowriters", bucket, patchbay.Reader, nil)
	exact(t, target, r)
	if text := policyOf(t, s, bucket); !strings.Contains(text, "PatchbayLooksAlike") || writes.Load() != 3 {
		t.Errorf("after %d writes the policy is %s", writes.Load(), text)
	}
}

// Many logins of one bucket are made and removed at the same time by several servers of
// one process, while somebody else's statement is there: none is lost.
func TestManyWritersOfOnePolicy(t *testing.T) {
	s := shared(t)
	bucket := aBucket(t, s, "written-by-many")
	if err := s.User(t.Context(), "somebody-else", "somebody-elses-secret", "user"); err != nil {
		t.Fatal(err)
	}
	if err := setPolicy(t.Context(), s, bucket, fmt.Sprintf(theirs, bucket)); err != nil {
		t.Fatal(err)
	}
	targets := []drivertest.Opened{opened(t, s, nil), opened(t, s, nil)}
	var requests []driver.LoginRequest
	for i := range 12 {
		requests = append(requests, asked(t, targets[0], fmt.Sprintf("many%d", i), bucket, patchbay.Writer, nil))
	}
	together := func(do func(target drivertest.Opened, r driver.LoginRequest) error) {
		t.Helper()
		errs := make([]error, len(requests))
		var all sync.WaitGroup
		for i, r := range requests {
			all.Go(func() { errs[i] = do(targets[i%2], r) })
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	together(func(target drivertest.Opened, r driver.LoginRequest) error { return target.EnsureLogin(t.Context(), r) })
	for _, r := range requests {
		exact(t, targets[0], r)
	}
	together(func(target drivertest.Opened, r driver.LoginRequest) error { return target.RemoveLogin(t.Context(), r) })
	if text := policyOf(t, s, bucket); strings.Contains(text, "pb_") || !strings.Contains(text, "PatchbayLooksAlike") {
		t.Errorf("afterwards the policy is %s", text)
	}
}

// A bucket without a policy is its owner's. With the first login it has one, and its owner
// still may do everything; with the last one's end the policy goes.
func TestTheOwnerOfABucketIsKeptIn(t *testing.T) {
	s := shared(t)
	bucket := aBucket(t, s, "of-an-owner")
	if err := s.User(t.Context(), "its-owner", "its-owners-secret", "userplus"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Manage(t.Context(), "change-bucket-owner", "--bucket", bucket, "--owner", "its-owner"); err != nil {
		t.Fatal(err)
	}
	owner, err := s.Client("its-owner", "its-owners-secret")
	if err != nil {
		t.Fatal(err)
	}
	works := func() {
		t.Helper()
		if err := errors.Join(written(t.Context(), owner, bucket, "theirs"), listed(t.Context(), owner, bucket, ""), owner.SetBucketVersioning(t.Context(), bucket, minio.BucketVersioningConfiguration{Status: "Suspended"})); err != nil {
			t.Fatalf("the owner: %v", err)
		}
	}
	works()
	target := opened(t, s, nil)
	a, b := made(t, target, "owned1", bucket, patchbay.Reader, nil), made(t, target, "owned2", bucket, patchbay.Owner, nil)
	works()
	exact(t, target, a)
	remove(t, target, a)
	works()
	remove(t, target, b)
	works()
	if text := policyOf(t, s, bucket); text != "" {
		t.Errorf("the policy is %s, and there was none", text)
	}
}

// What others have by an ACL, a policy would take from them: nothing is done.
func TestAnACLOfOthersIsNotSwitchedOff(t *testing.T) {
	s := shared(t)
	bucket := aBucket(t, s, "with-an-acl")
	const preferred = `<OwnershipControls xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ObjectOwnership>BucketOwnerPreferred</ObjectOwnership></Rule></OwnershipControls>`
	if err := s.Put(t.Context(), "/"+bucket, "ownershipControls", preferred, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "/"+bucket, "acl", "", map[string]string{"X-Amz-Acl": "public-read"}); err != nil {
		t.Fatal(err)
	}
	target := opened(t, s, nil)
	r := asked(t, target, "withacl", bucket, patchbay.Reader, nil)
	err := target.EnsureLogin(t.Context(), r)
	if patchbay.CodeOf(err) != patchbay.NotSupported || !strings.Contains(patchbay.AsError(err).Fix, "put-bucket-policy") {
		t.Errorf("EnsureLogin = %v", err)
	}
	remove(t, target, r)
	if owned, err := target.Owned(t.Context()); err != nil || slices.ContainsFunc(owned, func(o driver.Owned) bool { return o.Name == r.Name }) {
		t.Errorf("Owned = %v, %v", owned, err)
	}
}

// A login of prefixes reaches what begins so, and nothing else, however it is spelled.
func TestALoginOfPrefixes(t *testing.T) {
	s := shared(t)
	bucket := aBucket(t, s, "with-prefixes")
	root := s.RootClient(t)
	for _, object := range []string{"in/one", "in2/one", "also in/ä", "secret", "out/one"} {
		if err := written(t.Context(), root, bucket, object); err != nil {
			t.Fatal(err)
		}
	}
	target := opened(t, s, nil)
	for _, access := range []patchbay.Access{patchbay.Reader, patchbay.Writer} {
		r := made(t, target, "prefix"+string(access), bucket, access, map[string]string{"prefixes": "in/, also in/"})
		exact(t, target, r)
		if _, err := probe(t, target, r); err != nil {
			t.Error(err)
		}
		try := func(do func(ctx context.Context, c *minio.Client, b string) error) error {
			return as(s, do)(t.Context(), bucket, r.Credential)
		}
		for _, object := range []string{"in/one", "also in/ä"} {
			if err := try(func(ctx context.Context, c *minio.Client, b string) error { return got(ctx, c, b, object) }); err != nil {
				t.Errorf("%s: get %s: %v", access, object, err)
			}
		}
		err := try(func(ctx context.Context, c *minio.Client, b string) error { return written(ctx, c, b, "in/deep/new") })
		if access == patchbay.Writer && err != nil || access == patchbay.Reader && !errors.Is(err, drivertest.ErrRefused) {
			t.Errorf("%s: put: %v", access, err)
		}
		for _, object := range []string{"in2/one", "secret", "out/one", "in", "in/../secret", "in/./../secret"} {
			if err := try(func(ctx context.Context, c *minio.Client, b string) error { return got(ctx, c, b, object) }); err == nil {
				t.Errorf("%s: get %s is done", access, object)
			}
			if err := try(func(ctx context.Context, c *minio.Client, b string) error { return written(ctx, c, b, object) }); err == nil {
				t.Errorf("%s: put %s is done", access, object)
			}
		}
		for prefix, may := range map[string]bool{"in/": true, "also in/": true, "": false, "in": false, "out/": false} {
			err := try(func(ctx context.Context, c *minio.Client, b string) error { return listed(ctx, c, b, prefix) })
			if may && err != nil || !may && !errors.Is(err, drivertest.ErrRefused) {
				t.Errorf("%s: list %q: %v", access, prefix, err)
			}
		}
		// The probe finds more than it should be, and less.
		for _, prefixes := range []string{"out/", "in/deep/"} {
			other := r
			other.Options = map[string]string{"prefixes": prefixes}
			if _, err := probe(t, target, other); patchbay.CodeOf(err) != patchbay.RightsMissing && prefixes == "out/" {
				t.Errorf("a probe of other prefixes = %v", err)
			}
		}
	}
	for _, options := range []map[string]string{{"prefixes": "a*"}, {"prefixes": "../"}, {"prefixes": "/a"}, {"prefixes": "a//b"}, {"prefixes": "${aws:username}/"}, {"prefix": "a/"}} {
		r := driver.LoginRequest{Mark: driver.Mark{UID: "bad", Generation: 1}, Name: "pb_bad_g1", Sub: bucket, Auth: patchbay.AuthSecret, Access: patchbay.Reader, Options: options}
		if _, err := target.NewCredential(t.Context(), r); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%v = %v", options, err)
		}
	}
}

// Somebody has removed the user of a login of ours by hand. The gateway takes no policy
// any more that names it: the next login takes the statement out, and that login comes
// back whole when it is made again.
func TestAUserThatWasRemovedByHandIsInNobodysWay(t *testing.T) {
	s := shared(t)
	bucket := aBucket(t, s, "one-by-hand")
	target := opened(t, s, nil)
	gone := made(t, target, "gone", bucket, patchbay.Reader, nil)
	if _, err := s.Manage(t.Context(), "delete-user", "--access", gone.Name); err != nil {
		t.Fatal(err)
	}
	exact(t, target, made(t, target, "next", bucket, patchbay.Writer, nil))
	if state, err := target.InspectLogin(t.Context(), gone); err != nil || state.Exists {
		t.Errorf("InspectLogin = %+v, %v", state, err)
	}
	if err := target.EnsureLogin(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	exact(t, target, gone)
}

// A statement of somebody else's that names nobody (any more) is his to take out.
func TestAPolicyThatNamesNobodyIsSaid(t *testing.T) {
	s := shared(t)
	bucket := aBucket(t, s, "names-nobody")
	if err := s.User(t.Context(), "leaver", "leavers-secret", "user"); err != nil {
		t.Fatal(err)
	}
	err := setPolicy(t.Context(), s, bucket, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"leaver","Action":"s3:GetObject","Resource":"arn:aws:s3:::names-nobody/*"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	before := policyOf(t, s, bucket)
	if _, err := s.Manage(t.Context(), "delete-user", "--access", "leaver"); err != nil {
		t.Fatal(err)
	}
	target := opened(t, s, nil)
	err = target.EnsureLogin(t.Context(), asked(t, target, "names", bucket, patchbay.Reader, nil))
	if e := patchbay.AsError(err); e == nil || e.Code != patchbay.Conflict || e.Transient || !strings.Contains(e.Message, "leaver") {
		t.Errorf("EnsureLogin = %v", err)
	}
	if now := policyOf(t, s, bucket); now != before {
		t.Errorf("the policy is %s", now)
	}
}

// The rights go with the first step of a removal, on every gateway of the same users at
// once: a removed user is remembered by the others for a while, a policy is not. So are
// links that the login has signed beforehand.
func TestARemovalIsForEveryGateway(t *testing.T) {
	s := testenv.VersityGW(t, testenv.VersityGWOptions{})
	other := testenv.VersityGW(t, testenv.VersityGWOptions{Of: s})
	bucket := aBucket(t, s, "two-gateways")
	if err := written(t.Context(), s.RootClient(t), bucket, "there"); err != nil {
		t.Fatal(err)
	}
	target := opened(t, s, nil)
	r := made(t, target, "everywhere", bucket, patchbay.Writer, nil)
	read := func(ctx context.Context, c *minio.Client, b string) error { return got(ctx, c, b, "there") }
	if err := as(other, read)(t.Context(), bucket, r.Credential); err != nil {
		t.Fatal(err)
	}
	c, err := other.Client(r.Name, r.Credential.Secret["secretAccessKey"].Reveal())
	if err != nil {
		t.Fatal(err)
	}
	link, err := c.PresignedGetObject(t.Context(), bucket, "there", time.Hour, nil)
	if err != nil {
		t.Fatal(err)
	}
	follow := func() int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, link.String(), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}
	if status := follow(); status != http.StatusOK {
		t.Fatalf("the link is answered with %d", status)
	}
	remove(t, target, r)
	if err := as(other, read)(t.Context(), bucket, r.Credential); !errors.Is(err, drivertest.ErrRefused) {
		t.Errorf("the other gateway: %v", err)
	}
	if status := follow(); status != http.StatusForbidden {
		t.Errorf("the link is answered with %d", status)
	}
}

// The gateway dies after the user is made and before the policy is written, so that its
// secret alone says whose it is.
func TestAUserWithoutAStatementIsOurs(t *testing.T) {
	s := shared(t)
	bucket := aBucket(t, s, "half-made")
	var cut atomic.Bool
	at := between(t, s, func(_ http.Handler, w http.ResponseWriter, r *http.Request) bool {
		if cut.Load() && isPolicyWrite(r) {
			panic(http.ErrAbortHandler)
		}
		return false
	})
	c := register(s, nil)
	c.Endpoint = at
	target := openedWith(t, c)
	r := asked(t, target, "halfmade", bucket, patchbay.Reader, nil)
	cut.Store(true)
	if err := target.EnsureLogin(t.Context(), r); !patchbay.IsTransient(err) {
		t.Fatalf("EnsureLogin = %v", err)
	}
	cut.Store(false)
	owned, err := target.Owned(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at1 := slices.IndexFunc(owned, func(o driver.Owned) bool { return o.Name == r.Name })
	if at1 < 0 || owned[at1].Mark.UID != "halfmade" {
		t.Fatalf("Owned = %+v", owned)
	}
	// That is all that a sweep has.
	if err := target.RemoveLogin(t.Context(), driver.LoginRequest{Mark: owned[at1].Mark, Name: owned[at1].Name, Sub: owned[at1].Sub}); err != nil {
		t.Fatal(err)
	}
	if out, err := s.Manage(t.Context(), "list-users"); err != nil || strings.Contains(out, r.Name) {
		t.Errorf("%s, %v", out, err)
	}
}

// A probe puts nothing and deletes nothing, also where old versions are kept.
func TestAProbeLeavesNothing(t *testing.T) {
	s := shared(t)
	bucket := aBucket(t, s, "probed-often")
	root := s.RootClient(t)
	if err := root.EnableVersioning(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	target := opened(t, s, nil)
	for _, access := range []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner} {
		r := made(t, target, "leaves"+string(access), bucket, access, nil)
		result, err := probe(t, target, r)
		if err != nil || len(result.NotChecked) > 0 {
			t.Errorf("%s: %+v, %v", access, result, err)
		}
	}
	for o := range root.ListObjects(t.Context(), bucket, minio.ListObjectsOptions{WithVersions: true}) {
		t.Errorf("there is %+v, %v", o.Key, o.Err)
	}
	for u := range root.ListIncompleteUploads(t.Context(), bucket, "", true) {
		t.Errorf("there is an upload %+v", u)
	}
}

// A bucket that everybody may read is no excess of a login's.
func TestAPublicBucketIsNobodysExcess(t *testing.T) {
	s := shared(t)
	bucket := aBucket(t, s, "for-everybody")
	err := setPolicy(t.Context(), s, bucket, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":["s3:GetObject","s3:ListBucket"],"Resource":["arn:aws:s3:::for-everybody","arn:aws:s3:::for-everybody/*"]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	target := opened(t, s, nil)
	r := made(t, target, "public", bucket, patchbay.Reader, map[string]string{"prefixes": "in/"})
	exact(t, target, r)
	result, err := probe(t, target, r)
	if err != nil || len(result.NotChecked) == 0 {
		t.Errorf("%+v, %v", result, err)
	}
	bad := r
	bad.Credential = credential(r.Name, "not-its-secret")
	if _, err := probe(t, target, bad); patchbay.CodeOf(err) != patchbay.LoginRefused {
		t.Errorf("with a wrong secret: %v", err)
	}
}

// Bound to addresses, it signs in from there alone, whatever it says of itself.
func TestBoundToAddresses(t *testing.T) {
	s := shared(t)
	bucket := aBucket(t, s, "from-somewhere")
	if err := written(t.Context(), s.RootClient(t), bucket, "there"); err != nil {
		t.Fatal(err)
	}
	target := opened(t, s, nil)
	r := asked(t, target, "bound", bucket, patchbay.Reader, nil)
	r.Sources = []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	exact(t, target, r)
	c, err := s.Client(r.Name, r.Credential.Secret["secretAccessKey"].Reveal())
	if err != nil {
		t.Fatal(err)
	}
	o := minio.GetObjectOptions{}
	o.Set("X-Forwarded-For", "192.0.2.9")
	o.Set("X-Real-Ip", "192.0.2.9")
	if _, err := c.StatObject(t.Context(), bucket, "there", o); err == nil {
		t.Error("it may say itself where it comes from")
	}
	wider := r
	wider.Sources = nil
	if state, err := target.InspectLogin(t.Context(), wider); err != nil || len(state.Missing) == 0 || len(state.Excess) == 0 {
		t.Errorf("InspectLogin of one that is not bound = %+v, %v", state, err)
	}
}
