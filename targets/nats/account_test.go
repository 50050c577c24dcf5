package nats

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// pair is a new key with its public half.
func pair(t testing.TB, create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
	t.Helper()
	k, err := create()
	if err != nil {
		t.Fatal(err)
	}
	public, err := k.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return k, public
}

// token signs a payload as it stands.
func token(t testing.TB, operator nkeys.KeyPair, payload string) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"typ":"JWT","alg":"ed25519-nkey"}`)) + "." + encode([]byte(payload))
	signature, err := operator.Sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + encode(signature)
}

// crowded is an account with everything that an account can have, things of a
// later version and unusual spellings included.
func crowded(account, operator, plain, scoped, user string) string {
	return fmt.Sprintf(`{
	"jti":"X", "iat":1700000000, "iss":%q, "name":"APP", "sub":%q, "aud":"NATS", "exp":4102444800, "future":{"a":[1,2.50,1e3]},
	"nats":{
		"type":"account", "version":2, "tags":["prod","eu"], "description":"the \u003e shop", "info_url":"https://example.org/?a=1&b=2",
		"limits":{"subs":-1,"data":-1,"payload":-1,"imports":-1,"exports":-1,"wildcards":true,"conn":-1,"leaf":-1,"mem_storage":-1,"disk_storage":9007199254740993,"future_limit":9007199254740993},
		"default_permissions":{"pub":{"deny":["secret.>"]},"sub":{}},
		"mappings":{"a.*":[{"subject":"b.$1","weight":50},{"subject":"c.$1","weight":50}]},
		"exports":[{"name":"events","subject":"events.>","type":"stream","future":null}],
		"imports":[],
		"authorization":{},
		"trace":{"dest":"trace.x","sampling":5},
		"revocations":{%q:1700000001},
		"signing_keys":[%q,{"kind":"user_scope","key":%q,"role":"pb_somebody_g1","template":{"pub":{"allow":["payroll.>"],"deny":[]},"sub":{"allow":[]},"subs":-1,"data":-1,"payload":-1,"src":"10.0.0.0/8","future":[]},"description":"the accountants'"}],
		"cluster_traffic":"system", "future":{"b":"\u00e9"}
	}}`, operator, account, user, plain, scoped)
}

// payload is a token's, as JSON values that keep every digit.
func payload(t testing.TB, token string) map[string]any {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var v map[string]any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestEverythingThatIsNotOursStaysAsItWas(t *testing.T) {
	operator, operatorKey := pair(t, nkeys.CreateOperator)
	_, accountKey := pair(t, nkeys.CreateAccount)
	_, plain := pair(t, nkeys.CreateAccount)
	_, scoped := pair(t, nkeys.CreateAccount)
	_, user := pair(t, nkeys.CreateUser)
	_, ours := pair(t, nkeys.CreateAccount)
	before := token(t, operator, crowded(accountKey, operatorKey, plain, scoped, user))

	a, err := parseAccount(before, accountKey)
	if err != nil {
		t.Fatal(err)
	}
	mark := driver.Mark{UID: "u", Generation: 1, Connection: "/subscriptions/s"}
	want := jwt.UserScope{Kind: jwt.UserScopeType, Key: ours, Role: "pb_u_g1", Description: note{UID: "u", Generation: 1, Connection: "/subscriptions/s"}.String(),
		Template: rights{pub: []string{"a.>"}, sub: []string{"b"}}.template(nil)}
	if changed, err := a.put(ownerOf(mark), want); err != nil || !changed {
		t.Fatalf("put = %v, %v", changed, err)
	}
	with, err := a.sign(operator, time.Unix(1800000000, 0))
	if err != nil {
		t.Fatal(err)
	}
	a, err = parseAccount(with, accountKey)
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := a.put(ownerOf(mark), want); err != nil || changed {
		t.Errorf("the same put again = %v, %v", changed, err)
	}
	if !a.drop(ownerOf(mark)) || a.drop(ownerOf(mark)) {
		t.Error("drop says the wrong thing")
	}
	without, err := a.sign(operator, time.Unix(1800000001, 0))
	if err != nil {
		t.Fatal(err)
	}

	old, added, removed := payload(t, before), payload(t, with), payload(t, without)
	if n := len(added["nats"].(map[string]any)["signing_keys"].([]any)); n != 3 {
		t.Fatalf("%d signing keys with ours", n)
	}
	keys := added["nats"].(map[string]any)
	keys["signing_keys"] = keys["signing_keys"].([]any)[:2]
	for _, now := range []map[string]any{added, removed} {
		if now["jti"] == "X" || now["iat"] == old["iat"] {
			t.Errorf("id %v and time %v are not new", now["jti"], now["iat"])
		}
		now = maps.Clone(now)
		now["jti"], now["iat"] = old["jti"], old["iat"]
		if d := cmp.Diff(old, now); d != "" {
			t.Errorf("something else changed:\n%s", d)
		}
	}
}

func TestAnEditIsNeverOlderThanWhatItReplaces(t *testing.T) {
	operator, operatorKey := pair(t, nkeys.CreateOperator)
	_, accountKey := pair(t, nkeys.CreateAccount)
	claims := jwt.NewAccountClaims(accountKey)
	old, err := claims.Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	a, err := parseAccount(old, accountKey)
	if err != nil {
		t.Fatal(err)
	}
	next, err := a.sign(operator, time.Unix(1, 0)) // a clock that is far behind
	if err != nil {
		t.Fatal(err)
	}
	got, err := jwt.DecodeAccountClaims(next)
	if err != nil || got.IssuedAt < claims.IssuedAt || got.Issuer != operatorKey {
		t.Errorf("issued %d by %s (%v), was %d", got.IssuedAt, got.Issuer, err, claims.IssuedAt)
	}
}

func TestWhatIsNoAccountIsNotEdited(t *testing.T) {
	operator, operatorKey := pair(t, nkeys.CreateOperator)
	_, accountKey := pair(t, nkeys.CreateAccount)
	_, otherKey := pair(t, nkeys.CreateAccount)
	user, userKey := pair(t, nkeys.CreateAccount)
	_ = userKey
	other, err := jwt.NewAccountClaims(otherKey).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	_, someone := pair(t, nkeys.CreateUser)
	noAccount, err := jwt.NewUserClaims(someone).Encode(user)
	if err != nil {
		t.Fatal(err)
	}
	good := token(t, operator, fmt.Sprintf(`{"iss":%q,"sub":%q,"iat":1,"nats":{"type":"account","version":2}}`, operatorKey, accountKey))
	if _, err := parseAccount(good, accountKey); err != nil {
		t.Errorf("the least account: %v", err)
	}
	for name, bad := range map[string]string{
		"nothing":              "",
		"no token":             "hello",
		"another's":            other,
		"a user's":             noAccount,
		"an altered one":       good[:len(good)-8] + "AAAAAAAA",
		"of a later version":   token(t, operator, fmt.Sprintf(`{"iss":%q,"sub":%q,"iat":1,"nats":{"type":"account","version":3}}`, operatorKey, accountKey)),
		"without a version":    token(t, operator, fmt.Sprintf(`{"iss":%q,"sub":%q,"iat":1,"type":"account","nats":{}}`, operatorKey, accountKey)),
		"signed by an account": token(t, user, fmt.Sprintf(`{"iss":%q,"sub":%q,"iat":1,"nats":{"type":"account","version":2}}`, operatorKey, accountKey)),
	} {
		if _, err := parseAccount(bad, accountKey); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestANoteIsReadAsItWasWritten(t *testing.T) {
	for _, n := range []note{
		{UID: "u", Generation: 1, Connection: "/subscriptions/s", User: "UABC", Issued: 7},
		{UID: "u", Generation: 1 << 60, Connection: patchbay.ID("it's a \"group\" <>&\u2028 $$ {{name()}}")},
	} {
		got := parseNote(n.String())
		if got == nil || *got != n {
			t.Errorf("%+v became %+v", n, got)
		}
	}
	for _, s := range []string{"", "patchbay", "patchbay ", "patchbay {}", `patchbay {"uid":"u"}`, `patchbay {"uid":"u","generation":-1}`, `patchbay {"uid":"u","generation":"1"}`, `{"uid":"u","generation":1}`, "Patchbay is nice"} {
		if n := parseNote(s); n != nil {
			t.Errorf("%q is taken for our mark: %+v", s, n)
		}
	}
}

func FuzzParseNote(f *testing.F) {
	f.Add(note{UID: "u", Generation: 1}.String())
	f.Add("patchbay {}")
	f.Fuzz(func(t *testing.T, s string) {
		n := parseNote(s)
		if n == nil {
			return
		}
		if again := parseNote(n.String()); again == nil || *again != *n {
			t.Errorf("%q became %+v and then %+v", s, n, again)
		}
	})
}

func TestComparingSaysWhatATemplateAllows(t *testing.T) {
	base := func() jwt.UserPermissionLimits {
		return rights{pub: []string{"a", "b"}, sub: []string{"c"}, responses: 1}.template(nil)
	}
	for _, c := range []struct {
		name            string
		change          func(*jwt.UserPermissionLimits)
		missing, excess string
	}{
		{"nothing", func(*jwt.UserPermissionLimits) {}, "", ""},
		{"order", func(l *jwt.UserPermissionLimits) { l.Pub.Allow = jwt.StringList{"b", "a", "b"} }, "", ""},
		{"less", func(l *jwt.UserPermissionLimits) { l.Pub.Allow = jwt.StringList{"a"} }, "publish to b", ""},
		{"more", func(l *jwt.UserPermissionLimits) { l.Sub.Allow.Add("d") }, "", "subscribe to d"},
		{"all", func(l *jwt.UserPermissionLimits) { l.Sub.Allow = nil }, "", "subscribe to everything"},
		{"denied", func(l *jwt.UserPermissionLimits) { l.Sub.Deny.Add("c") }, "subscribe to c", ""},
		{"bearer", func(l *jwt.UserPermissionLimits) { l.BearerToken = true }, "", "sign in without its key"},
		{"no answers", func(l *jwt.UserPermissionLimits) { l.Resp = nil }, "answer any request", ""},
		{"endless answers", func(l *jwt.UserPermissionLimits) { l.Resp.MaxMsgs = -1 }, "", "answer requests without end"},
		{"late answers", func(l *jwt.UserPermissionLimits) { l.Resp.Expires = time.Hour }, "", "answer requests later than 2m0s"},
		{"address", func(l *jwt.UserPermissionLimits) { l.Src.Add("10.0.0.0/8") }, "sign in from everywhere", ""},
		{"proxy", func(l *jwt.UserPermissionLimits) { l.ProxyRequired = true }, "sign in without a proxy", ""},
	} {
		have := base()
		c.change(&have)
		missing, excess := compareTemplate(base(), have)
		if got := strings.Join(missing, ", "); got != c.missing {
			t.Errorf("%s: missing %q, want %q", c.name, got, c.missing)
		}
		if got := strings.Join(excess, ", "); got != c.excess {
			t.Errorf("%s: excess %q, want %q", c.name, got, c.excess)
		}
	}
}
