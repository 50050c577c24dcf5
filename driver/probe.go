package driver

import (
	"context"
	"net"
	"slices"

	"patchbay.dev/patchbay"
)

// ProbeHere prepares a probe of t, which was opened with c, and runs it in this
// process: for tests, whose servers are their own.
func (d TargetDriver) ProbeHere(ctx context.Context, c Config, t Target, r ProbeRequest) (ProbeResult, error) {
	return d.prepared(ctx, t, r, func(r ProbeRequest) (ProbeResult, error) { return d.Probe(ctx, c.forProbe(), r) })
}

// prepared runs a probe that t has prepared. Its dialer reaches nothing but the
// servers that t names.
func (d TargetDriver) prepared(ctx context.Context, t Target, r ProbeRequest, run func(ProbeRequest) (ProbeResult, error)) (ProbeResult, error) {
	if r.Dialer == nil {
		return ProbeResult{}, patchbay.Errorf(patchbay.Internal, "a probe needs a dialer")
	}
	if d.Probe == nil {
		return ProbeResult{}, patchbay.Errorf(patchbay.NotSupported, "the driver has no way to sign in")
	}
	r, err := t.PrepareProbe(ctx, r)
	if err != nil {
		// Whoever has a login tried need not administer the target.
		if e := patchbay.AsError(err); e.Said != "" {
			quiet := *e
			quiet.Said, quiet.Err = "", nil
			err = &quiet
		}
		return ProbeResult{}, err
	}
	r.Dialer = only{r.Dialer, r.Servers}
	return run(r)
}

// forProbe is what of a registration a probe may know.
func (c Config) forProbe() Config {
	c.Admin, c.Dialer = nil, nil
	return c
}

// only dials what it names.
type only struct {
	Dialer
	servers []string
}

func (d only) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if !slices.Contains(d.servers, address) {
		return nil, patchbay.Errorf(patchbay.TargetMisbehaved, "the client was sent to another server than the one that it is to talk to")
	}
	return d.Dialer.DialContext(ctx, network, address)
}
