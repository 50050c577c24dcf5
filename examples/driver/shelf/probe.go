package shelf

import (
	"context"
	"net/http"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// PrepareProbe implements [driver.Target].
func (t *target) PrepareProbe(_ context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	r.Servers = []string{t.Address()}
	return r, nil
}

// probe is the driver's Probe. It runs in a process of its own, with r.Dialer for its
// only network. What would change something goes with a condition that never holds: Shelf
// judges the rights first, and does nothing.
func probe(ctx context.Context, c driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
	const what = "sign in to Shelf"
	started := time.Now()
	s, err := parse(c)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	if s.Scheme == "https" {
		s.tls = s.tls.ReadBy(r.Reading)
	}
	user, err := driver.Secrets(r.Credential.Values()).UserPassword()
	if err != nil {
		return driver.ProbeResult{}, err
	}
	result := driver.ProbeResult{Allowed: []string{"sign in"}}
	// try asks as the login; done says that Shelf would do it.
	try := func(q question) (done bool, a answer, err error) {
		a, failed := s.ask(ctx, r.Dialer, user, q)
		switch {
		case failed != nil:
			return false, a, during(what, failed)
		case a.status == 401:
			return false, a, patchbay.Errorf(patchbay.LoginRefused, "%s: %s refuses the user or its password", what, s.Address())
		}
		result.TLS = a.tls
		return a.status != 403, a, nil
	}
	_, a, err := try(question{path: "/shelves"})
	if err != nil {
		return driver.ProbeResult{}, err
	}
	if r.Access != "" {
		var shelves []string
		if err := a.read(200, &shelves); err != nil {
			return driver.ProbeResult{}, quiet(err)
		}
		for _, shelf := range shelves {
			if shelf != r.Sub {
				return driver.ProbeResult{}, patchbay.Errorf(patchbay.RightsExcess, "it may use other shelves than its own")
			}
		}
		keys := path("shelves", r.Sub, "keys")
		for _, t := range []struct {
			words string
			may   bool
			q     question
		}{
			{"read the shelf", true, question{path: keys}},
			{"put and delete keys", r.Access != patchbay.Reader, question{method: http.MethodPut, path: keys + path("patchbay"), match: never}},
			{"empty the shelf", r.Access == patchbay.Owner, question{method: http.MethodDelete, path: keys, match: never}},
			{"administer the server", false, question{path: "/admin/users"}},
		} {
			done, a, err := try(t.q)
			switch {
			case err != nil:
				return driver.ProbeResult{}, err
			case a.status == 404:
				return driver.ProbeResult{}, noShelf(r.Sub)
			case done && !t.may:
				return driver.ProbeResult{}, patchbay.Errorf(patchbay.RightsExcess, "it may %s", t.words)
			case !done && t.may:
				return driver.ProbeResult{}, patchbay.Errorf(patchbay.RightsMissing, "it may not %s", t.words)
			case done:
				result.Allowed = append(result.Allowed, t.words)
			default:
				result.Refused = append(result.Refused, t.words)
			}
		}
	}
	result.Took = time.Since(started)
	return result, nil
}

// quiet is an error without the server's words: whoever has a login tried need not
// administer the target.
func quiet(err error) error {
	e := *patchbay.AsError(err)
	e.Said = ""
	return &e
}
