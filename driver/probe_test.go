package driver

import (
	"context"
	"net"
	"testing"

	"patchbay.dev/patchbay"
)

// listening is a target that names its servers, or can't.
type listening struct {
	both
	servers []string
}

func (l listening) PrepareProbe(ctx context.Context, r ProbeRequest) (ProbeRequest, error) {
	r.Servers = l.servers
	return r, l.do(ctx)
}

// dialed notes what is dialed.
type dialed []string

func (d *dialed) DialContext(_ context.Context, _, address string) (net.Conn, error) {
	*d = append(*d, address)
	return nil, patchbay.Errorf(patchbay.PortClosed, "nobody is there")
}

func fine(context.Context) error { return nil }

// A server may send its clients to another, whose login theirs is not.
func TestAProbeReachesTheTargetsServersAlone(t *testing.T) {
	d := TargetDriver{Probe: func(ctx context.Context, _ Config, r ProbeRequest) (ProbeResult, error) {
		_, err := r.Dialer.DialContext(ctx, "tcp", r.Sub)
		return ProbeResult{}, err
	}}
	target := Guard{}.Target(d, Config{}, listening{both{fine}, []string{"db.test:1", "db.test:2"}})
	for address, code := range map[string]patchbay.Code{
		"db.test:1": patchbay.PortClosed, "db.test:2": patchbay.PortClosed, "db.test:3": patchbay.TargetMisbehaved, "169.254.169.254:80": patchbay.TargetMisbehaved,
	} {
		var all dialed
		_, err := target.Probe(t.Context(), ProbeRequest{Dialer: &all, Sub: address})
		if patchbay.CodeOf(err) != code || len(all) > 0 != (code == patchbay.PortClosed) {
			t.Errorf("%s: %v, dialed %q", address, err, all)
		}
	}
}

// isolated notes what a probe is given.
type isolated struct {
	name  string
	given Config
}

func (i *isolated) Probe(_ context.Context, name string, _ TargetDriver, c Config, _ ProbeRequest) (ProbeResult, error) {
	i.name, i.given = name, c
	return ProbeResult{TLS: "apart"}, nil
}

// What a server answers may take a client over: what that has, the server has.
func TestAProbeRunsApartAndKnowsNoAdministrator(t *testing.T) {
	c := Config{Endpoint: "db.test:1", Admin: Secrets{"password": patchbay.NewSecret("canary")}, Dialer: nowhere{}}
	here := func(_ context.Context, given Config, _ ProbeRequest) (ProbeResult, error) {
		if given.Admin != nil || given.Dialer != nil || given.Endpoint != c.Endpoint {
			t.Errorf("it is given %+v", given)
		}
		return ProbeResult{TLS: "here"}, nil
	}
	d, apart := TargetDriver{Probe: here}, &isolated{}
	r := ProbeRequest{Dialer: nowhere{}}
	result, err := Guard{Name: "d", Isolate: apart}.Target(d, c, both{fine}).Probe(t.Context(), r)
	if err != nil || result.TLS != "apart" || apart.name != "d" || apart.given.Admin != nil || apart.given.Dialer != nil || apart.given.Endpoint != c.Endpoint {
		t.Errorf("%+v, %v, %+v", result, err, apart)
	}
	result, err = Guard{}.Target(d, c, both{fine}).Probe(t.Context(), r)
	if err != nil || result.TLS != "here" {
		t.Errorf("%+v, %v", result, err)
	}
	if result, err = d.ProbeHere(t.Context(), c, both{fine}, r); err != nil || result.TLS != "here" {
		t.Errorf("%+v, %v", result, err)
	}
}

func TestAProbeThatCantBe(t *testing.T) {
	probe := func(context.Context, Config, ProbeRequest) (ProbeResult, error) {
		t.Error("it runs")
		return ProbeResult{}, nil
	}
	said := both{func(context.Context) error {
		return patchbay.Errorf(patchbay.AdminRefused, "the administrator is refused").WithSaid("password authentication failed for pgadmin")
	}}
	for _, tt := range []struct {
		d    TargetDriver
		t    Target
		r    ProbeRequest
		code patchbay.Code
	}{
		{TargetDriver{Probe: probe}, both{fine}, ProbeRequest{}, patchbay.Internal},
		{TargetDriver{}, both{fine}, ProbeRequest{Dialer: nowhere{}}, patchbay.NotSupported},
		{TargetDriver{Probe: probe}, said, ProbeRequest{Dialer: nowhere{}}, patchbay.AdminRefused},
	} {
		_, err := Guard{}.Target(tt.d, Config{}, tt.t).Probe(t.Context(), tt.r)
		// What was said to the administrator is not for who tries a login.
		if e := patchbay.AsError(err); e == nil || e.Code != tt.code || e.Said != "" {
			t.Errorf("%+v, want %s", e, tt.code)
		}
	}
}
