package azurestorage

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const probeLimit = 25 * time.Second // of a probe whose context has no deadline

// step is something to try: it has no effect, whoever may do it.
type step struct {
	name   string
	letter string // the permission that it needs
	q      request
}

// nothing are the statuses of a service that would have done it, had there been
// anything to do it to: it looks at the permission first.
var nothing = []int{http.StatusBadRequest, http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed}

// never is an ETag that nothing has.
const never = `"0x0000000000000001"`

// signIn asks for the least that every login of a child may.
func (c config) signIn(of child) request {
	q := request{method: http.MethodGet, at: c.at[of.name], path: of.path(), query: url.Values{}}
	switch of.name {
	case "blob":
		q.query = url.Values{"restype": {"container"}, "comp": {"list"}, "maxresults": {"1"}}
	case "queue":
		q.query = url.Values{"comp": {"metadata"}}
	case "table":
		q = c.entity(of, http.MethodGet, "patchbay-probe", nil)
		q.allowed = []int{http.StatusNotFound}
	case "file":
		q.query = url.Values{"restype": {"directory"}, "comp": {"list"}, "maxresults": {"1"}}
	}
	return q
}

// entity asks for one of a table's.
func (c config) entity(of child, method, key string, body []byte) request {
	return request{
		method: method, at: c.at[of.name], table: true, path: of.path() + "(PartitionKey='" + key + "',RowKey='" + key + "')", query: url.Values{}, body: body,
		header: map[string]string{"Accept": "application/json;odata=nometadata", "Content-Type": "application/json"}, allowed: nothing,
	}
}

// steps are what a login of a child is tried with; nothing that is there is read,
// changed or hidden.
func (c config) steps(of child) []step {
	name := "patchbay-probe-" + strings.ToLower(rand.Text())
	ask := func(method, path string, query url.Values, body []byte, header map[string]string) request {
		return request{method: method, at: c.at[of.name], path: of.path() + path, query: query, body: body, header: header, allowed: nothing}
	}
	switch of.name {
	case "blob":
		return []step{
			{"read", "r", ask(http.MethodGet, "/"+name, url.Values{}, nil, nil)},
			{"write", "w", ask(http.MethodPut, "/"+name, url.Values{"comp": {"metadata"}}, nil, nil)},
			{"delete", "d", ask(http.MethodDelete, "/"+name, url.Values{}, nil, nil)},
			{"use tags", "t", ask(http.MethodGet, "/"+name, url.Values{"comp": {"tags"}}, nil, nil)},
		}
	case "queue":
		message := "/messages/00000000-0000-4000-8000-000000000000"
		receipt := url.Values{"popreceipt": {"AgAAAAMAAAAAAAAAAAAAAAAAAAA="}}
		return []step{
			{"send", "a", ask(http.MethodPost, "/messages", url.Values{"messagettl": {"0"}}, []byte("<QueueMessage></QueueMessage>"), map[string]string{"Content-Type": "application/xml"})},
			{"take", "p", ask(http.MethodDelete, message, receipt, nil, nil)},
			{"change", "u", ask(http.MethodPut, message, url.Values{"popreceipt": receipt["popreceipt"], "visibilitytimeout": {"0"}}, nil, nil)},
		}
	case "table":
		update := c.entity(of, http.MethodPut, name, []byte("{}"))
		update.header["If-Match"] = never
		remove := c.entity(of, http.MethodDelete, name, nil)
		remove.header["If-Match"] = never
		add := c.entity(of, http.MethodPost, name, []byte("{}"))
		add.path = of.path()
		return []step{
			{"read", "r", c.entity(of, http.MethodGet, name, nil)},
			{"add", "a", add}, {"update", "u", update}, {"delete", "d", remove},
		}
	}
	return []step{
		{"read", "r", ask(http.MethodGet, "/"+name, url.Values{}, nil, nil)},
		{"write", "w", ask(http.MethodPut, "/"+name, url.Values{"comp": {"metadata"}}, nil, nil)},
		{"delete", "d", ask(http.MethodDelete, "/"+name, url.Values{}, nil, nil)},
	}
}

// tryLogin is the driver's Probe.
func tryLogin(ctx context.Context, c driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
	started := time.Now()
	cfg, err := parseConfig(c)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	s, _, err := serviceOf(r.Sub)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	a, err := newAPI(cfg.tls.ReadBy(r.Reading), r.Dialer, r.Asked, patchbay.LoginRefused)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	defer a.close()
	a.account = cfg.account
	key := !r.Credential.Secret["key"].IsZero()
	if key {
		if a.key, err = parseKey(r.Credential.Secret["key"]); err != nil {
			return driver.ProbeResult{}, patchbay.Errorf(patchbay.LoginRefused, "the credential is no key of a storage account")
		}
	} else if a.sas, err = parseSignature(r.Credential.Secret["sas"].Reveal()); err != nil {
		return driver.ProbeResult{}, patchbay.Errorf(patchbay.LoginRefused, "the credential is no shared access signature")
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	result := driver.ProbeResult{}
	of, err := cfg.childOf(r.Sub, r.Options)
	if err != nil && r.Access != "" && !key {
		return driver.ProbeResult{}, err
	}
	q := cfg.listRequest(s, 1)
	if err == nil {
		q = cfg.signIn(of)
	}
	_, err = a.do(ctx, "sign in", q)
	given := r.Access == "" || key
	if err != nil && (!given || patchbay.CodeOf(err) != patchbay.RightsMissing) {
		return driver.ProbeResult{}, err
	}
	result.Allowed = append(result.Allowed, "sign in")
	if key {
		result.Warnings = append(result.Warnings, "the login is the account's key, and may do everything there")
	}
	if !given {
		if err := cfg.compare(ctx, a, &result, of, r.Access); err != nil {
			return driver.ProbeResult{}, err
		}
	}
	result.TLS, _ = a.protocol.Load().(string)
	result.Took = time.Since(started)
	return result, nil
}

// compare tries what the access allows, and sees refused what it does not.
func (c config) compare(ctx context.Context, a *api, result *driver.ProbeResult, of child, access patchbay.Access) error {
	permissions, err := of.permissions(access)
	if err != nil {
		return err
	}
	for _, s := range c.steps(of) {
		_, err := a.do(ctx, s.name, s.q)
		may, should := err == nil, strings.Contains(permissions, s.letter)
		switch {
		case err != nil && patchbay.CodeOf(err) != patchbay.RightsMissing:
			return err
		case may && !should:
			return patchbay.Errorf(patchbay.RightsExcess, "it may %s in %s, which its access does not give", s.name, of.said())
		case should && !may:
			return patchbay.Errorf(patchbay.RightsMissing, "it may not %s in %s", s.name, of.said())
		case may:
			result.Allowed = append(result.Allowed, s.name)
		default:
			result.Refused = append(result.Refused, s.name)
		}
	}
	other := child{of.service, "patchbay-probe-" + strings.ToLower(rand.Text())}
	if of.name == "table" {
		other.id = strings.ReplaceAll(other.id, "-", "")
	}
	_, err = a.do(ctx, "use another "+of.noun, c.signIn(other))
	switch code := patchbay.CodeOf(err); {
	case code == patchbay.LoginRefused, code == patchbay.RightsMissing:
		result.Refused = append(result.Refused, "use another "+of.noun)
		return nil
	case err == nil, code == patchbay.ChildMissing: // it was let in, and found nothing
		return patchbay.Errorf(patchbay.RightsExcess, "it may use another %s than %s", of.noun, of.said())
	}
	return err
}
