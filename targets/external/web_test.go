package external_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const right, wrong = "cmlnaHQ=", "d3Jvbmc=" // base64, as keys of Azure are

func hmacOf(key, text string) string {
	raw, _ := base64.StdEncoding.DecodeString(key)
	m := hmac.New(sha256.New, raw)
	m.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// fakes let in who has the right secret, as the service's documentation says
// that it is shown.
var fakes = map[string]struct {
	registration
	sub, name     string
	secret, wrong string
	let           func(r *http.Request) int // the status
}{
	"schema registry": {registration: registration{typ: "Patchbay.Services/confluent-schema"}, name: "K1", secret: right, wrong: wrong,
		let: func(r *http.Request) int {
			name, password, _ := r.BasicAuth()
			return status(r.URL.Path == "/subjects", name == "K1" && password == right)
		}},
	"openai": {registration: registration{typ: "Microsoft.CognitiveServices/accounts", kind: "OpenAI"}, secret: right, wrong: wrong,
		let: func(r *http.Request) int {
			return status(r.URL.Path == "/openai/models", r.Header.Get("api-key") == right)
		}},
	"app configuration": {registration: registration{typ: "Microsoft.AppConfiguration/configurationStores"}, name: "x7k2", secret: right, wrong: wrong,
		let: func(r *http.Request) int {
			text := "GET\n" + r.URL.RequestURI() + "\n" + r.Header.Get("x-ms-date") + ";" + r.Host + ";" + r.Header.Get("x-ms-content-sha256")
			return status(r.URL.Path == "/keys", r.Header.Get("Authorization") ==
				"HMAC-SHA256 Credential=x7k2&SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature="+hmacOf(right, text))
		}},
	"cosmos": {registration: registration{typ: "Microsoft.DocumentDB/databaseAccounts"}, sub: "sqlDatabases/shop", secret: right, wrong: wrong,
		let: func(r *http.Request) int {
			text := "get\ndbs\ndbs/shop\n" + strings.ToLower(r.Header.Get("x-ms-date")) + "\n\n"
			token, _ := url.QueryUnescape(r.Header.Get("Authorization"))
			return status(r.URL.Path == "/dbs/shop", token == "type=master&ver=1.0&sig="+hmacOf(right, text))
		}},
	"vault, with a token": {registration: registration{typ: "Patchbay.Services/vaultServers", properties: map[string]any{"values": map[string]any{"namespace": "shop"}}},
		secret: "hvs.right", wrong: "hvs.wrong",
		let: func(r *http.Request) int {
			if r.Header.Get("X-Vault-Namespace") != "shop" {
				return http.StatusNotFound
			}
			if r.Header.Get("X-Vault-Token") != "hvs.right" {
				return http.StatusForbidden
			}
			return status(r.URL.Path == "/v1/auth/token/lookup-self", true)
		}},
	"s3": {registration: registration{typ: "Patchbay.Services/s3Servers"}, sub: "buckets/invoices", name: "AKIA1", secret: "s3cret-right", wrong: "s3cret-wrong",
		let: func(r *http.Request) int {
			return status(strings.HasPrefix(r.URL.Path, "/invoices"), signedFor(r, "AKIA1", "s3cret-right"))
		}},
}

func status(found, known bool) int {
	switch {
	case !known:
		return http.StatusUnauthorized
	case !found:
		return http.StatusNotFound
	}
	return http.StatusOK
}

// signedFor computes the signature again (AWS Signature Version 4).
func signedFor(r *http.Request, id, secret string) bool {
	date := r.Header.Get("X-Amz-Date")
	if len(date) < 8 {
		return false
	}
	var headers strings.Builder
	_, names, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
	names, _, _ = strings.Cut(names, ",")
	for name := range strings.SplitSeq(names, ";") {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		headers.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
	}
	request := strings.Join([]string{r.Method, r.URL.EscapedPath(), r.URL.Query().Encode(), headers.String(), names, r.Header.Get("X-Amz-Content-Sha256")}, "\n")
	scope := date[:8] + "/us-east-1/s3/aws4_request"
	hash := sha256.Sum256([]byte(request))
	key := []byte("AWS4" + secret)
	for _, part := range append(strings.Split(scope, "/"), "AWS4-HMAC-SHA256\n"+date+"\n"+scope+"\n"+hex.EncodeToString(hash[:])) {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(part))
		key = m.Sum(nil)
	}
	return r.Header.Get("Authorization") == "AWS4-HMAC-SHA256 Credential="+id+"/"+scope+", SignedHeaders="+names+", Signature="+hex.EncodeToString(key)
}

func TestAKeyOfAWebServiceIsTriedAgainstAFake(t *testing.T) {
	for name, f := range fakes {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				code := f.let(r)
				if code == http.StatusUnauthorized && f.typ == "Patchbay.Services/s3Servers" {
					w.WriteHeader(http.StatusForbidden)
					_, _ = w.Write([]byte(`<?xml version="1.0"?><Error><Code>SignatureDoesNotMatch</Code></Error>`))
					return
				}
				w.WriteHeader(code)
				if f.typ == "Patchbay.Services/s3Servers" {
					_, _ = w.Write([]byte(`<?xml version="1.0"?><ListBucketResult><Name>invoices</Name><IsTruncated>false</IsTruncated></ListBucketResult>`))
				}
			}))
			t.Cleanup(server.Close)
			r := f.registration
			r.endpoint = server.URL
			properties := map[string]any{"tls": map[string]any{"ca": authorityOf(server)}}
			for name, value := range r.properties {
				properties[name] = value
			}
			r.properties = properties
			if result := signsIn(t, r.opened(t), f.sub, f.name, f.secret, f.wrong); !strings.HasPrefix(result.TLS, "TLS") {
				t.Errorf("TLS is %q", result.TLS)
			}
		})
	}
}

func authorityOf(s *httptest.Server) string { return pemOf(s.Certificate()) }

func pemOf(c *x509.Certificate) string {
	var b bytes.Buffer
	_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	return b.String()
}

// A certificate that is trusted names addresses too: who answers for it, who
// issued it, what was revoked. They are whatever its owner wrote.
func TestNobodyThatACertificateNamesIsAsked(t *testing.T) {
	asked := make(chan struct{}, 64)
	elsewhere := "http://" + listener(t, func(net.Conn) { asked <- struct{}{} })
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "server"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		OCSPServer: []string{elsewhere}, IssuingCertificateURL: []string{elsewhere}, CRLDistributionPoints: []string{elsewhere},
	}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	var shaken atomic.Int64
	address := listener(t, func(c net.Conn) {
		if secured := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: private}}}); secured.Handshake() == nil {
			shaken.Add(1)
		}
	})
	for kind, f := range plainly(address) {
		r := f.registration
		r.endpoint = strings.NewReplacer("redis://", "rediss://", "http://", "https://", "nats://", "tls://", "?sslmode=disable", "").Replace(r.endpoint)
		r.properties = map[string]any{"tls": map[string]any{"ca": pemOf(certificate)}}
		target := r.opened(t)
		_, _ = target.Inspect(soon(t), f.sub)
		_, _ = target.Probe(soon(t), driver.ProbeRequest{Credential: given(t, target, f.sub, f.login, "cmlnaHQ="), Dialer: here{}, Sub: f.sub})
		if len(asked) > 0 {
			t.Errorf("%s asks who is named in the certificate", kind)
			<-asked
		}
	}
	if shaken.Load() == 0 {
		t.Error("no client accepted the certificate")
	}
}

func TestAnAppRolesTokenIsTakenBackAtOnceByAFakeVault(t *testing.T) {
	issued, revoked := 0, 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/auth/approle/login":
			var login struct {
				Role   string `json:"role_id"`
				Secret string `json:"secret_id"`
			}
			if err := json.NewDecoder(r.Body).Decode(&login); err != nil || login.Role != "role" || login.Secret != "right" {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			issued++
			_, _ = w.Write([]byte(`{"auth":{"client_token":"hvs.short"}}`))
		case "/v1/auth/token/revoke-self":
			if r.Header.Get("X-Vault-Token") == "hvs.short" {
				revoked++
			}
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	t.Cleanup(server.Close)
	target := registration{typ: "Patchbay.Services/vaultServers", endpoint: server.URL}.opened(t)
	signsIn(t, target, "", "role", "right", "wrong")
	if issued != 1 || revoked != 1 {
		t.Errorf("%d tokens were issued and %d taken back", issued, revoked)
	}
}

func TestASecretIsNotTakenElsewhere(t *testing.T) {
	asked := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	t.Cleanup(other.Close)
	server := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	t.Cleanup(server.Close)
	for _, typ := range []string{"Patchbay.Services/vaultServers", "Patchbay.Services/confluent-schema"} {
		target := registration{typ: typ, endpoint: server.URL}.opened(t)
		name := ""
		if strings.HasSuffix(typ, "schema") {
			name = "K1"
		}
		_, err := probe(t, target, "", given(t, target, "", name, "s3cret"))
		wantCode(t, err, patchbay.TargetUnreachable)
	}
	if asked {
		t.Error("a redirection was followed")
	}
}

func TestABucketThatIsNotThereIsSaid(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`<?xml version="1.0"?><Error><Code>NoSuchBucket</Code></Error>`))
	}))
	t.Cleanup(server.Close)
	target := registration{typ: "Patchbay.Services/s3Servers", endpoint: server.URL}.opened(t)
	_, err := probe(t, target, "buckets/none", given(t, target, "buckets/none", "AKIA1", "s3cret"))
	wantCode(t, err, patchbay.ChildMissing)
}
