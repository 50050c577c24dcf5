package s3

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/argon2"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// minioTarget is a MinIO server. A login is a user there and a policy of its own, which is
// attached to it alone: nobody shares it. The policy has the user's name and is the mark.
type minioTarget struct{ *target }

const (
	minioAdmin   = "/minio/admin/v3/"
	minioNoUser  = "XMinioAdminNoSuchUser"
	minioNoRules = "XMinioAdminNoSuchPolicy"
)

// call makes a request to the admin API. found is false where what it is about is not there.
func (t minioTarget) call(ctx context.Context, what, method, path string, query url.Values, body []byte) (got answer, found bool, err error) {
	got, err = t.admin.do(ctx, what, request{method: method, path: minioAdmin + path, query: query, body: body})
	switch {
	case err != nil || got.ok():
		return got, err == nil, err
	case got.code == minioNoUser, got.code == minioNoRules:
		return got, false, nil
	case got.code == noBucket: // what is no MinIO takes the path for a bucket's
		got = answer{status: got.status, server: got.server}
	}
	return got, false, t.admin.refused(what, got)
}

// minioUser is what MinIO says of a user.
type minioUser struct {
	Policy string   `json:"policyName"`
	Status string   `json:"status"`
	Groups []string `json:"memberOf"`
}

func (u minioUser) policies() []string {
	return slices.DeleteFunc(strings.Split(u.Policy, ","), func(name string) bool { return name == "" })
}

// user is the one of a name; nil where there is none.
func (t minioTarget) user(ctx context.Context, what, name string) (*minioUser, error) {
	got, found, err := t.call(ctx, what, http.MethodGet, "user-info", url.Values{"accessKey": {name}}, nil)
	if err != nil || !found {
		return nil, err
	}
	var u minioUser
	if json.Unmarshal(got.body, &u) != nil {
		return nil, t.admin.refused(what, answer{status: got.status, server: got.server})
	}
	return &u, nil
}

// rules are the statements of the policy of a name; exists is false where there is none.
func (t minioTarget) rules(ctx context.Context, what, name string) (d document, exists bool, err error) {
	got, found, err := t.call(ctx, what, http.MethodGet, "info-canned-policy", url.Values{"name": {name}}, nil)
	if err != nil || !found {
		return document{}, false, err
	}
	if d, err = parseDocument(got.body); err != nil {
		return document{}, false, t.admin.refused(what, answer{status: got.status, server: got.server})
	}
	return d, true, nil
}

// EnsureLogin implements [driver.Administrator]. The policy comes first: it is the mark,
// and gives nobody anything.
func (t minioTarget) EnsureLogin(ctx context.Context, r driver.LoginRequest) error {
	m, bucket, want, err := t.checkRequest(r)
	if err != nil {
		return err
	}
	secret := r.Credential.Secret["secretAccessKey"]
	if r.Credential.Public["accessKeyId"] != r.Name || !m.owns(secret.Reveal()) {
		return patchbay.Errorf(patchbay.InvalidArgument, "the credential is not the one that was made for %s", r.Name)
	}
	what := "make the login " + r.Name
	if err := t.hasBucket(ctx, what, bucket); err != nil {
		return err
	}
	user, err := t.user(ctx, what, m.login)
	if err != nil {
		return err
	}
	d, exists, err := t.rules(ctx, what, m.login)
	if err != nil {
		return err
	}
	mine := len(d.of(m.marks)) > 0
	if exists && !mine || user != nil && !mine {
		return t.notOurs(m)
	}
	texts, err := raw(want)
	if err != nil {
		return patchbay.Errorf(patchbay.Internal, "%s: %w", what, err)
	}
	if !same(d.statements, texts) {
		d = document{statements: texts}
		text, err := d.text()
		if err != nil {
			return patchbay.Errorf(patchbay.Internal, "%s: %w", what, err)
		}
		if _, _, err := t.call(ctx, what, http.MethodPut, "add-canned-policy", url.Values{"name": {m.login}}, text); err != nil {
			return err
		}
	}
	if err := t.makeUser(ctx, what, m, user, secret); err != nil {
		return err
	}
	got, err := t.s3.as(keys{m.login, secret}).do(ctx, what, request{method: http.MethodGet, path: "/" + bucket, query: url.Values{"location": {""}}})
	switch {
	case err != nil:
		return err
	case got.code == unknownKey || got.code == wrongSignature:
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s: %s took every change to the login and does not know it (yet)", what, t.s3.asked).AsTransient()
	}
	return nil
}

// makeUser makes the user, or makes one that is ours right: with that secret, that policy
// and no other, in no group.
func (t minioTarget) makeUser(ctx context.Context, what string, m mark, user *minioUser, secret patchbay.Secret) error {
	if user != nil {
		for _, group := range user.Groups {
			out, err := json.Marshal(map[string]any{"group": group, "members": []string{m.login}, "isRemove": true})
			if err != nil {
				return patchbay.Errorf(patchbay.Internal, "%s: %w", what, err)
			}
			if _, _, err := t.call(ctx, what, http.MethodPut, "update-group-members", nil, out); err != nil {
				return err
			}
		}
	}
	in, err := json.Marshal(map[string]string{"secretKey": secret.Reveal(), "status": "enabled"})
	if err == nil {
		in, err = sealed(ctx, t.admin.keys.secret, in)
	}
	if err != nil {
		return patchbay.Errorf(patchbay.Internal, "%s: %w", what, err)
	}
	if _, _, err := t.call(ctx, what, http.MethodPut, "add-user", url.Values{"accessKey": {m.login}}, in); err != nil {
		return err
	}
	// It takes the place of every policy that the user had.
	_, found, err := t.call(ctx, what, http.MethodPut, "set-user-or-group-policy", url.Values{"policyName": {m.login}, "userOrGroup": {m.login}, "isGroup": {"false"}}, nil)
	if err == nil && !found {
		err = patchbay.Errorf(patchbay.Conflict, "%s: the user or its policy went away meanwhile", what).AsTransient()
	}
	return err
}

func (t minioTarget) notOurs(m mark) *patchbay.Error {
	return patchbay.Errorf(patchbay.NotOurs, "there is a user or a policy %s that does not bear the mark of this connection", m.login).
		WithFix("see whose it is: mc admin user info ALIAS %s; mc admin policy info ALIAS %s", m.login, m.login)
}

// hasBucket is ChildMissing where there is no such bucket.
func (t minioTarget) hasBucket(ctx context.Context, what, bucket string) error {
	got, err := t.s3.do(ctx, what, request{method: http.MethodGet, path: "/" + bucket, query: url.Values{"location": {""}}})
	if err == nil && !got.ok() {
		err = t.s3.refused(what, got)
	}
	return err
}

// InspectLogin implements [driver.Administrator].
func (t minioTarget) InspectLogin(ctx context.Context, r driver.LoginRequest) (driver.LoginState, error) {
	m, _, want, err := t.checkRequest(r)
	if err != nil {
		return driver.LoginState{}, err
	}
	what := "look at the login " + r.Name
	user, err := t.user(ctx, what, m.login)
	if err != nil || user == nil {
		return driver.LoginState{}, err
	}
	d, _, err := t.rules(ctx, what, m.login)
	if err != nil {
		return driver.LoginState{}, err
	}
	state := driver.LoginState{Exists: true, Ours: len(d.of(m.marks)) > 0}
	if !state.Ours {
		return state, nil
	}
	state.Missing, state.Excess = differs(m, want, d)
	for _, text := range d.without(m.marks) {
		state.Excess = append(state.Excess, "the statement "+driver.Quoted(sidOf(text)))
	}
	if !slices.Contains(user.policies(), m.login) {
		state.Missing = append(state.Missing, "its policy")
	}
	if user.Status != "enabled" {
		state.Missing = append(state.Missing, "to be enabled")
	}
	for _, name := range user.policies() {
		if name != m.login {
			state.Excess = append(state.Excess, "the policy "+driver.Quoted(name))
		}
	}
	for _, name := range user.Groups {
		state.Excess = append(state.Excess, "the group "+driver.Quoted(name))
	}
	return state, nil
}

// RemoveLogin implements [driver.Administrator]. With the user all keys go that it made for
// itself; its policy, which is the mark, goes last.
func (t minioTarget) RemoveLogin(ctx context.Context, r driver.LoginRequest) error {
	m, err := markOf(r)
	if err != nil {
		return err
	}
	what := "remove the login " + r.Name
	user, err := t.user(ctx, what, m.login)
	if err != nil {
		return err
	}
	d, exists, err := t.rules(ctx, what, m.login)
	if err != nil {
		return err
	}
	mine := len(d.of(m.marks)) > 0
	if !mine && (user != nil || exists) {
		return t.notOurs(m)
	}
	if mine {
		if err := t.removeUser(ctx, what, m); err != nil {
			return err
		}
	}
	if exists {
		_, _, err = t.call(ctx, what, http.MethodDelete, "remove-canned-policy", url.Values{"name": {m.login}}, nil)
	}
	return err
}

// removeUser removes a user, and sees that it is gone. A removal whose client hung up may
// have left it on disk alone: MinIO then says that there is no such user, and has it again
// as soon as it is asked to let it in. So it is asked, with a secret that is none.
func (t minioTarget) removeUser(ctx context.Context, what string, m mark) error {
	for range writes {
		if _, _, err := t.call(ctx, what, http.MethodDelete, "remove-user", url.Values{"accessKey": {m.login}}, nil); err != nil {
			return err
		}
		got, err := t.s3.as(keys{m.login, patchbay.NewSecret("none")}).do(ctx, what, request{method: http.MethodGet, path: "/"})
		switch {
		case err != nil:
			return err
		case got.code == unknownKey:
			return nil
		case got.code != wrongSignature:
			return t.s3.refused(what, got)
		}
	}
	return patchbay.Errorf(patchbay.TargetUnreachable, "%s: %s has removed the user, and has it again", what, t.admin.asked).AsTransient()
}

// Owned implements [driver.Administrator].
func (t minioTarget) Owned(ctx context.Context) ([]driver.Owned, error) {
	const what = "list the logins"
	got, _, err := t.call(ctx, what, http.MethodGet, "list-canned-policies", nil, nil)
	if err != nil {
		return nil, err
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(got.body, &all) != nil {
		return nil, t.admin.refused(what, answer{status: got.status, server: got.server})
	}
	var owned []driver.Owned
	for name, text := range all {
		d, err := parseDocument(text)
		if err != nil {
			continue // it is none of ours
		}
		for _, text := range d.statements {
			m, number, ok := markOfSid(sidOf(text))
			if !ok || number != 1 || m.login != name {
				continue
			}
			o := driver.Owned{Mark: m.Mark, Name: name}
			if s, _ := parseStatement(text); len(s.Resource) > 0 {
				o.Sub, _, _ = strings.Cut(strings.TrimPrefix(s.Resource[0], arn), "/")
			}
			owned = append(owned, o)
			break
		}
	}
	return owned, nil
}

// Beyond implements [driver.WarnedLogins].
func (t minioTarget) Beyond(_ context.Context, r driver.LoginRequest) ([]string, error) {
	all := []string{"MinIO lets every user make further access keys of the same rights for itself; they end with the login"}
	if len(r.Sources) > 0 {
		all = append(all, "MinIO believes what a request says of the address that it comes from (X-Real-IP, X-Forwarded-For): who has the key and knows that is not bound to any")
	}
	return all, nil
}

// Inspect implements [driver.Target].
func (t minioTarget) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	const what = "look at the MinIO server"
	if sub != "" {
		if _, err := bucketOf(sub); err != nil {
			return driver.TargetInfo{}, err
		}
	}
	// Nobody has these names: whoever may ask is told so, and who may not is refused.
	for path, name := range map[string]string{"user-info": "accessKey", "info-canned-policy": "name"} {
		if _, _, err := t.call(ctx, what, http.MethodGet, path, url.Values{name: {"patchbay-asks-whether-it-may"}}, nil); err != nil {
			return driver.TargetInfo{}, err
		}
	}
	got, _, err := t.call(ctx, what, http.MethodGet, "info", nil, nil)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	var about struct {
		Servers []struct {
			Version string `json:"version"`
		} `json:"servers"`
	}
	if json.Unmarshal(got.body, &about) != nil || len(about.Servers) == 0 {
		return driver.TargetInfo{}, t.admin.refused(what, answer{status: got.status, server: got.server})
	}
	names, err := t.names(ctx, what)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	return t.info(sub, about.Servers[0].Version, names)
}

// names are the buckets that there are.
func (t minioTarget) names(ctx context.Context, what string) ([]string, error) {
	got, err := t.s3.do(ctx, what, request{method: http.MethodGet, path: "/"})
	if err != nil {
		return nil, err
	}
	if !got.ok() {
		return nil, t.s3.refused(what, got)
	}
	var list struct {
		XMLName xml.Name                `xml:"ListAllMyBucketsResult"`
		Buckets []struct{ Name string } `xml:"Buckets>Bucket"`
	}
	if xml.Unmarshal(got.body, &list) != nil {
		return nil, t.s3.refused(what, answer{status: got.status, server: got.server})
	}
	var names []string
	for _, b := range list.Buckets {
		names = append(names, b.Name)
	}
	return names, nil
}

// PrepareProbe implements [driver.Target].
func (t minioTarget) PrepareProbe(ctx context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	r.Servers = []string{t.endpoint.Address()}
	if r.Access == "" {
		return r, nil
	}
	ctx, cancel := context.WithTimeout(ctx, factsLimit)
	defer cancel()
	const what = "look for what a probe has to know"
	told := facts{API: t.api}
	if got, err := t.s3.do(ctx, what, request{method: http.MethodGet, path: "/" + r.Sub, query: url.Values{"versioning": {""}}}); err == nil && got.ok() {
		told.Unversioned = !strings.Contains(string(got.body), "<Status>")
	}
	if all, err := t.names(ctx, what); err == nil {
		if at := slices.IndexFunc(all, func(name string) bool { return name != r.Sub }); at >= 0 {
			told.Other = all[at]
		}
	}
	var err error
	r.Facts, err = json.Marshal(told)
	return r, err
}

// sealing is one at a time: a key takes 64 MiB for a moment.
var sealing sync.Mutex

// sealed is data as the admin API takes what is secret: with a key that Argon2id makes of
// the administrator's secret, in AES-256-GCM. It is salt, the number of that way, a nonce,
// and the data, which is one block and the last; what a block is sealed with begins with
// that it is the last, and goes on with the tag of a block of nothing.
func sealed(ctx context.Context, secret patchbay.Secret, data []byte) ([]byte, error) {
	const salt, nonce, way = 32, 8, 0
	out := make([]byte, salt+1+nonce)
	if _, err := rand.Read(out); err != nil {
		return nil, err
	}
	out[salt] = way
	sealing.Lock()
	if err := ctx.Err(); err != nil {
		sealing.Unlock()
		return nil, err
	}
	key := argon2.IDKey([]byte(secret.Reveal()), out[:salt], 1, 64<<10, 4, 32)
	sealing.Unlock()
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	number := func(n uint32) []byte {
		return binary.LittleEndian.AppendUint32(slices.Clone(out[salt+1:salt+1+nonce]), n)
	}
	last := gcm.Seal([]byte{0x80}, number(0), nil, nil)
	return gcm.Seal(slices.Clone(out), number(1), data, last), nil
}
