package nats_test

import (
	"context"
	"flag"
	"net"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/natsserver"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/internal/testenv/hostile"
	"patchbay.dev/patchbay/targets/nats"
)

// The attacks are many, and some leave a call waiting: every so many-th is
// tried, and all of them in the suite that is about nothing else.
var every = flag.Int("every", 12, "try every so many-th attack on the administering driver")

// misbehaviour is what the driver has to call by its name. What is not here the
// client library refuses, or waits for.
var misbehaviour = []string{
	"a-greeting-that-never-ends", "a-line-that-never-ends", "an-error-that-never-ends", "a-cluster-of-a-million",
	"message-of-2^31", "message-of-2^46", "message-of-2^62", "message-of-2^63-1", "message-of-2^63", "message-of-2^64+1", "message-of-minus-1",
}

// administered opens targets that s's own administrator would, elsewhere.
func administered(s *testenv.NATSServer) func(string) (driver.Target, error) {
	return func(address string) (driver.Target, error) {
		c := register(s, scope)
		c.Endpoint, c.Dialer = address, &net.Dialer{}
		t, err := nats.Driver().Open(context.Background(), c)
		if err != nil {
			return nil, err
		}
		return driver.Guard{Name: "nats", Admin: c.Admin}.Target(t), nil
	}
}

// calls are what a driver is asked, about a principal with a credential.
func calls(t *testing.T, s *testenv.NATSServer) []hostile.Call {
	t.Helper()
	target, err := administered(s)(s.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = target.Close() }()
	return hostile.Calls("", request(t, target, "aaaaaaaaaaaa", patchbay.Writer, nil))
}

func TestAHostileServerCostsItsAdministratorLittle(t *testing.T) {
	if !hostile.Confined(t, 512<<20) {
		return
	}
	s := testenv.NATS(t, natsserver.Config{})
	attacks := hostile.Some(hostile.Against("nats"), *every, misbehaviour...)
	hostile.Administer(t, attacks, administered(s), calls(t, s), misbehaviour...)
}

func TestAServerThatTurnsHostileCostsItsAdministratorLittle(t *testing.T) {
	if !hostile.Confined(t, 768<<20) { // the server is in this process too
		return
	}
	s := testenv.NATS(t, natsserver.Config{})
	stream(t, s)
	asked := calls(t, s)
	_, address, _ := strings.Cut(s.URL(), "://")
	// A sign-in is two answers; the calls ask five questions or more.
	for answers := 2; answers < 10; answers++ {
		if answers%3 != 0 && *every > 1 {
			continue
		}
		attacks := hostile.Some(hostile.Behind("nats", address, answers), *every, "message-of-2^46", "empty-values")
		hostile.Administer(t, attacks, administered(s), asked, "behind-3/message-of-2^46") // which every call asks
	}
}
