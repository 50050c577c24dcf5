package external

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"patchbay.dev/patchbay"
)

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 64 << 10

// transport speaks HTTP to the session's address alone, through no proxy.
func (s *session) transport() *http.Transport {
	return &http.Transport{
		DialContext: s.DialContext, TLSClientConfig: s.tls, TLSHandshakeTimeout: dialLimit, DisableKeepAlives: true,
		MaxResponseHeaderBytes: maxAnswer,
	}
}

// request is one to a path below the service's URL.
func (s *session) request(ctx context.Context, method, base, path string, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(base, "/")+path, body)
	if err != nil {
		return nil, invalid("the URL of the service can't be used")
	}
	r.Header.Set("User-Agent", "patchbay-probe")
	r.Header.Set("Accept", "application/json")
	return r, nil
}

// do sends r. No redirection is followed: it would take the login elsewhere.
func (s *session) do(r *http.Request) (status int, body []byte, err error) {
	t := s.transport()
	defer t.CloseIdleConnections()
	c := http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := c.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	return answer.StatusCode, body, err
}

// get signs in with r, and says what the answer means. A 403 is a refusal only
// where the service has no other word for one: elsewhere it knows the login.
func (s *session) get(r *http.Request, forbidden bool) error {
	status, _, err := s.do(r)
	if err != nil {
		return err
	}
	return s.meaning(status, forbidden)
}

func (s *session) meaning(status int, forbidden bool) error {
	switch {
	case status == http.StatusUnauthorized || forbidden && status == http.StatusForbidden:
		return s.refused(nil)
	case status == http.StatusTooManyRequests || status >= 500:
		return busy(s, fmt.Sprintf("HTTP %d", status))
	case status < 200, status >= 300 && status < 400, status == http.StatusNotFound:
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s answers, but not as a service of this kind would (HTTP %d)", s.asked, status)
	case status >= 400 && status != http.StatusForbidden:
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s does not understand what a service of this kind would (HTTP %d)", s.asked, status)
	}
	return nil
}

func probeSchemaRegistry(ctx context.Context, s *session) error {
	r, err := s.request(ctx, http.MethodGet, s.facts["url"], "/subjects", nil)
	if err != nil {
		return err
	}
	r.SetBasicAuth(s.value("username"), s.value("password"))
	return s.get(r, false)
}

func probeOpenAI(ctx context.Context, s *session) error {
	base := s.facts["endpoint"]
	r, err := s.request(ctx, http.MethodGet, base, "/openai/models?api-version=2024-10-21", nil)
	if err != nil {
		return err
	}
	r.Header.Set("Api-Key", s.value("key"))
	return s.get(r, false)
}

// probeVault looks its own token up. A token that an AppRole gave it is taken
// back at once.
func probeVault(ctx context.Context, s *session) error {
	if token := s.value("token"); token != "" {
		r, err := s.vault(ctx, http.MethodGet, "/v1/auth/token/lookup-self", token, nil)
		if err != nil {
			return err
		}
		return s.get(r, true)
	}
	login, err := json.Marshal(map[string]string{"role_id": s.value("roleId"), "secret_id": s.value("secretId")})
	if err != nil {
		return err
	}
	r, err := s.vault(ctx, http.MethodPost, "/v1/auth/approle/login", "", strings.NewReader(string(login)))
	if err != nil {
		return err
	}
	status, body, err := s.do(r)
	if err != nil {
		return err
	}
	if status == http.StatusBadRequest || status == http.StatusForbidden || status == http.StatusUnauthorized {
		return s.refused(nil)
	}
	var answer struct {
		Auth struct {
			Token string `json:"client_token"`
		} `json:"auth"`
	}
	if status != http.StatusOK || json.Unmarshal(body, &answer) != nil || answer.Auth.Token == "" || hostile(answer.Auth.Token) {
		return busy(s, fmt.Sprintf("HTTP %d", status))
	}
	if r, err = s.vault(ctx, http.MethodPost, "/v1/auth/token/revoke-self", answer.Auth.Token, nil); err != nil {
		return err
	}
	return s.get(r, true)
}

func (s *session) vault(ctx context.Context, method, path, token string, body io.Reader) (*http.Request, error) {
	r, err := s.request(ctx, method, s.facts["endpoint"], path, body)
	if err != nil {
		return nil, err
	}
	if token != "" {
		r.Header.Set("X-Vault-Token", token)
	}
	if namespace := s.value("namespace"); namespace != "" {
		r.Header.Set("X-Vault-Namespace", namespace)
	}
	return r, nil
}

func probeS3(ctx context.Context, s *session) error {
	u, err := url.Parse(s.facts["endpoint"])
	if err != nil {
		return invalid("the URL of the service can't be used")
	}
	t := s.transport()
	defer t.CloseIdleConnections()
	c, err := minio.New(u.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(s.value("accessKeyId"), s.value("secretAccessKey"), s.value("sessionToken")),
		Secure: s.tls != nil, Transport: t, Region: s.value("region"), MaxRetries: 1, BucketLookup: minio.BucketLookupPath,
	})
	if err != nil {
		return invalid("the endpoint can't be one of S3")
	}
	bucket := s.value("bucket")
	if bucket == "" {
		_, err = c.ListBuckets(ctx)
	} else {
		for object := range c.ListObjects(ctx, bucket, minio.ListObjectsOptions{MaxKeys: 1}) {
			err = object.Err
			break
		}
	}
	if err == nil {
		return nil
	}
	switch said := minio.ToErrorResponse(err); said.Code {
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "InvalidSecurity":
		return s.refused(err)
	case "AccessDenied":
		return nil // it knows the login, and does not let it list
	case "InvalidBucketName":
		return invalid("%s is no name of a bucket", clip(bucket))
	case "NoSuchBucket":
		return missing("bucket", bucket)
	default:
		if said.StatusCode != 0 {
			return busy(s, fmt.Sprintf("HTTP %d", said.StatusCode))
		}
	}
	return err
}

func sum(key []byte, text string) string {
	m := hmac.New(sha256.New, key)
	_, _ = m.Write([]byte(text)) // a hash takes everything
	return base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// rawKey is an access key of Azure.
func (s *session) rawKey() ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(s.value("key"))
	if err != nil {
		return nil, s.refused(nil) // no key of Azure is anything else
	}
	return key, nil
}

func httpDate() string { return time.Now().UTC().Format(http.TimeFormat) }

func probeAppConfig(ctx context.Context, s *session) error {
	key, err := s.rawKey()
	if err != nil {
		return err
	}
	r, err := s.request(ctx, http.MethodGet, s.facts["endpoint"], "/keys?api-version=1.0&name=patchbay-probe", nil)
	if err != nil {
		return err
	}
	date, empty := httpDate(), sha256.Sum256(nil)
	content := base64.StdEncoding.EncodeToString(empty[:])
	r.Header.Set("X-Ms-Date", date)
	r.Header.Set("X-Ms-Content-Sha256", content)
	signature := sum(key, "GET\n"+r.URL.RequestURI()+"\n"+date+";"+r.URL.Host+";"+content)
	r.Header.Set("Authorization", "HMAC-SHA256 Credential="+s.value("keyId")+"&SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature="+signature)
	return s.get(r, false)
}

// probeCosmos reads the database's own description, or the account's.
func probeCosmos(ctx context.Context, s *session) error {
	key, err := s.rawKey()
	if err != nil {
		return err
	}
	path, kind, link := "/", "", ""
	if database := s.value("database"); database != "" {
		kind, link = "dbs", "dbs/"+database
		path = "/dbs/" + url.PathEscape(database)
	}
	r, err := s.request(ctx, http.MethodGet, s.facts["endpoint"], path, nil)
	if err != nil {
		return err
	}
	date := strings.ToLower(httpDate())
	signature := sum(key, "get\n"+kind+"\n"+link+"\n"+date+"\n\n")
	r.Header.Set("X-Ms-Date", date)
	r.Header.Set("X-Ms-Version", "2018-12-31")
	r.Header.Set("Authorization", url.QueryEscape("type=master&ver=1.0&sig="+signature))
	status, _, err := s.do(r)
	switch {
	case err != nil:
		return err
	case status == http.StatusNotFound && link != "":
		return missing("database", s.value("database"))
	}
	return s.meaning(status, false)
}
