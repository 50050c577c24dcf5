package s3

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	probeLimit     = 20 * time.Second // of a probe whose context has no deadline
	factsLimit     = 3 * time.Second  // of what a probe can do without
	probedPrefixes = 4                // of a login's, at most
)

// facts are what a probe is told besides the registration.
type facts struct {
	API   string `json:"api,omitempty"`   // what the server is, where the registration does not say it
	Other string `json:"other,omitempty"` // another bucket of the server
	// Unversioned says that an object that is not there can be deleted without a trace, on
	// a server that knows no condition on that.
	Unversioned bool `json:"unversioned,omitempty"`
}

// PrepareProbe implements [driver.Target].
func (t *target) PrepareProbe(ctx context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	r.Servers = []string{t.endpoint.Address()}
	if r.Access == "" {
		return r, nil
	}
	ctx, cancel := context.WithTimeout(ctx, factsLimit)
	defer cancel()
	all, err := t.buckets(ctx, "look for another bucket")
	if err != nil {
		return r, nil // it is tried without; that the server is not there, the probe says
	}
	told := facts{API: t.api}
	if at := slices.IndexFunc(all, func(b bucketOwner) bool { return b.Name != r.Sub }); at >= 0 {
		told.Other = all[at].Name
	}
	r.Facts, err = json.Marshal(told)
	return r, err
}

// tryLogin is the driver's Probe. What it tries of writing, it asks for in a way that the
// server refuses after it has looked at the right: a part of an upload that was never
// begun, a removal of what has another content, settings that are none.
func tryLogin(ctx context.Context, c driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
	started := time.Now()
	cfg, err := parseConfig(c)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	bucket, err := bucketOf(r.Sub)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	var s scope
	if r.Access != "" {
		if s, err = scopeOf(r.Access, r.Options, nil); err != nil {
			return driver.ProbeResult{}, err
		}
	}
	var told facts
	if len(r.Facts) > 0 {
		if err := json.Unmarshal(r.Facts, &told); err != nil {
			return driver.ProbeResult{}, patchbay.Errorf(patchbay.Internal, "the probe's facts can't be read")
		}
	}
	cfg.api = cmp.Or(cfg.api, told.API)
	if len(r.Servers) == 0 {
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.Internal, "the probe was not prepared")
	}
	if e := over(ctx); e != nil {
		return driver.ProbeResult{}, e
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	cfg.tls = cfg.tls.ReadBy(r.Reading)
	client, err := newClient(cfg, cfg.endpoint, r.Servers[0], r.Dialer, keysIn(r.Credential))
	if err != nil {
		return driver.ProbeResult{}, err
	}
	defer client.close()
	if client.asked = r.Servers[0]; r.Asked != "" {
		client.asked = r.Asked
	}
	if client.keys.id == "" || strings.Contains(client.keys.id, "/") || client.keys.secret.IsZero() {
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.LoginRefused, "the credential has no access key to sign with")
	}
	p := &prober{client: client, bucket: bucket, scope: s, harmless: cfg.api == apiVersity || told.Unversioned, lists: cfg.api != apiVersity}
	if err := p.signIn(ctx); err != nil {
		return driver.ProbeResult{}, err
	}
	if r.Access != "" {
		if err := p.try(ctx, told); err != nil {
			return driver.ProbeResult{}, err
		}
	}
	p.result.TLS, p.result.Took = client.protocol.Load().(string), time.Since(started)
	return p.result, nil
}

// keysIn are what a credential signs with. One that was given names a user and a password,
// and one that was registered what S3 calls them.
func keysIn(c driver.Credential) keys {
	values := c.Values()
	k := keys{id: values["accessKeyId"].Reveal(), secret: values["secretAccessKey"]}
	if k.id == "" {
		k.id = values["username"].Reveal()
	}
	if k.secret.IsZero() {
		k.secret = values["password"]
	}
	return k
}

// prober is a probe as the login.
type prober struct {
	*client
	bucket string
	scope  scope
	// harmless says that to delete what is not there leaves nothing.
	harmless bool
	// lists says that who may list objects may list their old versions too.
	lists  bool
	result driver.ProbeResult
}

// signIn asks for what every login may do, and who signs with nothing may not.
func (p *prober) signIn(ctx context.Context) error {
	q := request{method: http.MethodGet, path: "/" + p.bucket, query: url.Values{"location": {""}}}
	got, err := p.do(ctx, "sign in", q)
	if err != nil {
		return err
	}
	if _, err := p.may(got); err != nil {
		return err
	}
	// Whatever says yes to everything is not S3.
	var where struct {
		XMLName xml.Name `xml:"LocationConstraint"`
	}
	if got.ok() && xml.Unmarshal(got.body, &where) != nil {
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s answers, and not as S3 would (HTTP %d)", p.asked, got.status).AsTransient()
	}
	p.result.Allowed = append(p.result.Allowed, "sign in")
	return nil
}

// may reports whether an answer is one to who may do it; an error is of what says nothing
// about rights.
func (p *prober) may(got answer) (bool, error) {
	switch got.code {
	case denied:
		return false, nil
	case unknownKey, wrongSignature, "InvalidToken", "ExpiredToken", "InvalidSecurity":
		return false, patchbay.Errorf(patchbay.LoginRefused, "%s refuses the access key", p.asked)
	case noBucket:
		return false, patchbay.Errorf(patchbay.ChildMissing, "there is no bucket %s on %s", p.bucket, p.asked)
	case wrongRegion:
		return false, patchbay.Errorf(patchbay.InvalidArgument, "%s is of another region than %s", p.asked, p.region).
			WithFix("register it with the region that it was started with (--region) as the property region")
	case skewed:
		return false, patchbay.Errorf(patchbay.TargetUnreachable, "%s has another time than this machine, and refuses what is signed at this one's", p.asked).
			WithFix("set both clocks right")
	case "":
		if !got.ok() {
			return false, patchbay.Errorf(patchbay.TargetUnreachable, "%s answers, and not as S3 would (HTTP %d)", p.asked, got.status).AsTransient()
		}
	}
	if got.status >= 500 && got.status != http.StatusNotImplemented {
		return false, patchbay.Errorf(patchbay.TargetUnreachable, "%s can't at the moment (HTTP %d)", p.asked, got.status).AsTransient()
	}
	return true, nil
}

// trial is something to try.
type trial struct {
	verb string
	may  bool
	request
}

func (p *prober) try(ctx context.Context, told facts) error {
	writes, owns := p.scope.access != patchbay.Reader, p.scope.access == patchbay.Owner
	name := "patchbay-probe-" + rand.Text()
	bucket := "/" + p.bucket
	list := func(path, prefix string) request {
		return request{method: http.MethodGet, path: path, query: url.Values{"list-type": {"2"}, "max-keys": {"1"}, "prefix": {prefix}}}
	}
	begins, where := p.scope.prefixes, ""
	if len(begins) == 0 {
		begins = []string{""}
	}
	var trials []trial
	for _, prefix := range begins[:min(len(begins), probedPrefixes)] {
		if prefix != "" {
			where = " below " + prefix
		}
		object := bucket + "/" + prefix + name
		trials = append(trials,
			trial{"list objects" + where, true, list(bucket, prefix)},
			trial{"get objects" + where, true, request{method: http.MethodGet, path: object}},
			trial{"put objects" + where, writes, put(object)},
		)
		if !p.harmless {
			p.result.NotChecked = append(p.result.NotChecked, "delete objects"+where+": the server would keep a version of what is not there")
			continue
		}
		trials = append(trials, trial{"delete objects" + where, writes, remove(object)})
	}
	if len(p.scope.prefixes) > 0 {
		trials = append(trials,
			trial{"list all objects", false, list(bucket, "")},
			trial{"get other objects", false, request{method: http.MethodGet, path: bucket + "/" + name}},
			trial{"put other objects", false, put(bucket + "/" + name)},
		)
	}
	trials = append(trials,
		trial{"read the bucket's versioning", owns, request{method: http.MethodGet, path: bucket, query: url.Values{"versioning": {""}}}},
		trial{"read the bucket's policy", false, request{method: http.MethodGet, path: bucket, query: url.Values{"policy": {""}}}},
		trial{"change the bucket's policy", false, request{method: http.MethodPut, path: bucket, query: url.Values{"policy": {""}}, body: []byte("none")}},
	)
	if !p.lists {
		trials = append(trials, trial{"list old versions", owns, request{method: http.MethodGet, path: bucket, query: url.Values{"versions": {""}, "max-keys": {"1"}}}})
	}
	if told.Other != "" {
		trials = append(trials,
			trial{"list another bucket", false, list("/"+told.Other, "")},
			trial{"put objects in another bucket", false, put("/" + told.Other + "/" + name)},
		)
	}
	for _, one := range trials {
		if err := p.compare(ctx, one); err != nil {
			return err
		}
	}
	return nil
}

// put is a part of an upload that was never begun.
func put(object string) request {
	return request{method: http.MethodPut, path: object, query: url.Values{"partNumber": {"1"}, "uploadId": {"patchbay-probe"}}, body: []byte("patchbay")}
}

// remove is of an object that would have to have a content that nothing has.
func remove(object string) request {
	return request{method: http.MethodDelete, path: object, header: map[string]string{"If-Match": `"00000000000000000000000000000000"`}}
}

// compare tries something, and notes how it ended.
func (p *prober) compare(ctx context.Context, one trial) error {
	got, err := p.do(ctx, one.verb, one.request)
	if err != nil {
		return err
	}
	may, err := p.may(got)
	switch {
	case err != nil && got.status >= 500:
		p.result.NotChecked = append(p.result.NotChecked, one.verb+": the server can't at the moment")
	case err != nil:
		return err
	case one.may && !may:
		return patchbay.Errorf(patchbay.RightsMissing, "it may not %s", one.verb)
	case one.may:
		p.result.Allowed = append(p.result.Allowed, one.verb)
	case !may:
		p.result.Refused = append(p.result.Refused, one.verb)
	default:
		return p.excess(ctx, one)
	}
	return nil
}

// excess is of what the login may do and was not given; what everybody may do, who signs
// with nothing, is the bucket's affair.
func (p *prober) excess(ctx context.Context, one trial) error {
	one.request.unsigned = true
	got, err := p.do(ctx, one.verb, one.request)
	if err != nil {
		return err
	}
	if got.ok() || got.code != denied && got.status == http.StatusNotFound {
		p.result.NotChecked = append(p.result.NotChecked, one.verb+": everybody may, without a login")
		return nil
	}
	return patchbay.Errorf(patchbay.RightsExcess, "it may %s, which nobody gave it", one.verb)
}
