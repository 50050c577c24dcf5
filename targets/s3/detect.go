package s3

import (
	"context"
	"net/http"
	"strings"
	"sync"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// detecting is a server that was registered without saying whose it is. It says so itself,
// with every answer.
type detecting struct {
	*target
	mu    sync.Mutex
	known administrator // nil until it has been asked
}

// administrator is what each product is administered by.
type administrator interface {
	driver.Administrator
	driver.WarnedLogins
}

// of is the server as what it is.
func (d *detecting) of(ctx context.Context) (administrator, error) {
	d.mu.Lock()
	known := d.known
	d.mu.Unlock()
	if known != nil {
		return known, nil
	}
	const what = "ask the S3 server what it is"
	got, err := d.admin.do(ctx, what, request{method: http.MethodGet, path: "/"})
	if err != nil {
		return nil, err
	}
	switch {
	case strings.EqualFold(got.server, apiMinIO):
		known = minioTarget{d.product(apiMinIO)}
	case strings.EqualFold(got.server, apiVersity):
		known = d.product(apiVersity)
	default:
		if e := d.admin.meaning(got); !got.ok() && (e.Transient || e.Code == patchbay.TargetUnreachable) {
			return nil, d.admin.refused(what, got)
		}
		return nil, patchbay.Errorf(patchbay.NotSupported, "%s: %s does not say that it is the Versity S3 Gateway or MinIO", what, d.admin.asked).
			WithFix("where it is one behind a proxy, say which: the property api; a server of another product is registered with the driver external")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known = known
	return known, nil
}

// product is the target as one of a product's. It shares the connections.
func (d *detecting) product(api string) *target {
	c := d.config
	c.api = api
	return &target{config: c, s3: d.s3.of(api), admin: d.admin.of(api)}
}

// of is the same client for a product. It shares the connections.
func (c *client) of(api string) *client {
	other := c.as(c.keys)
	other.api = api
	return other
}

// Inspect implements [driver.Target].
func (d *detecting) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	is, err := d.of(ctx)
	if err != nil {
		return driver.TargetInfo{}, err
	}
	return is.Inspect(ctx, sub)
}

// PrepareProbe implements [driver.Target]. What the server is, the probe has to be told.
func (d *detecting) PrepareProbe(ctx context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	limited, cancel := context.WithTimeout(ctx, factsLimit)
	defer cancel()
	is, err := d.of(limited)
	if err != nil {
		// It is tried as either, as far as that goes; that the server is not there, the
		// probe says.
		r.Servers = []string{d.endpoint.Address()}
		return r, nil
	}
	return is.PrepareProbe(ctx, r)
}

// EnsureLogin implements [driver.Administrator].
func (d *detecting) EnsureLogin(ctx context.Context, r driver.LoginRequest) error {
	is, err := d.of(ctx)
	if err != nil {
		return err
	}
	return is.EnsureLogin(ctx, r)
}

// InspectLogin implements [driver.Administrator].
func (d *detecting) InspectLogin(ctx context.Context, r driver.LoginRequest) (driver.LoginState, error) {
	is, err := d.of(ctx)
	if err != nil {
		return driver.LoginState{}, err
	}
	return is.InspectLogin(ctx, r)
}

// RemoveLogin implements [driver.Administrator].
func (d *detecting) RemoveLogin(ctx context.Context, r driver.LoginRequest) error {
	is, err := d.of(ctx)
	if err != nil {
		return err
	}
	return is.RemoveLogin(ctx, r)
}

// Owned implements [driver.Administrator].
func (d *detecting) Owned(ctx context.Context) ([]driver.Owned, error) {
	is, err := d.of(ctx)
	if err != nil {
		return nil, err
	}
	return is.Owned(ctx)
}

// Beyond implements [driver.WarnedLogins].
func (d *detecting) Beyond(ctx context.Context, r driver.LoginRequest) ([]string, error) {
	is, err := d.of(ctx)
	if err != nil {
		return nil, err
	}
	return is.Beyond(ctx, r)
}
