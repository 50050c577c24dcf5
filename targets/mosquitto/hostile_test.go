package mosquitto_test

import (
	"context"
	"flag"
	"net"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/testenv/hostile"
	"patchbay.dev/patchbay/targets/mosquitto"
)

// The attacks are many, and some leave a call waiting: every so many-th is
// tried, and all of them in the suite that is about nothing else.
var every = flag.Int("every", 8, "try every so many-th attack on the administering driver")

// misbehaviour is what the driver has to call by its name.
var misbehaviour = []string{"packet-of-256-MiB", "packet-of-17-MiB", "question/messages", "question/empty-values"}

// administered opens targets that an administrator would, elsewhere.
func administered(admin driver.Config) func(string) (*driver.GuardedTarget, error) {
	return func(address string) (*driver.GuardedTarget, error) {
		c := admin
		c.Endpoint, c.Dialer = "mqtt://"+address, &net.Dialer{}
		return driver.Guard{Name: "mosquitto", Admin: c.Admin}.OpenTarget(context.Background(), mosquitto.Driver(), c)
	}
}

// nowhere is the registration of a broker that is not there.
func nowhere() driver.Config {
	return driver.Config{
		ID:       "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/mqttServers/broker",
		Endpoint: "mqtt://127.0.0.1:1", Properties: []byte(`{"topics":["orders/#"],"tls":{"mode":"disable"}}`),
		Admin: driver.Secrets{"username": patchbay.NewSecret("admin"), "password": patchbay.NewSecret("an administrator's password")},
	}
}

func TestAHostileBrokerCostsItsAdministratorLittle(t *testing.T) {
	if !hostile.Confined(t, 512<<20) {
		return
	}
	r := asked(t, opened(t, nowhere()), "aaaaaaaaaaaa", patchbay.Writer, nil)
	attacks := hostile.Some(hostile.Against("mqtt"), *every, misbehaviour...)
	hostile.Administer(t, attacks, administered(nowhere()), hostile.Calls("", r), misbehaviour...)
}

func FuzzAHostileBroker(f *testing.F) {
	f.Add([]byte{6, 0, 120, 2, 0x80, 0, 0, 0, 9, 0, 1, 4})
	f.Fuzz(func(t *testing.T, seed []byte) {
		hostile.Answer(t, hostile.Fuzz("mqtt", seed), administered(nowhere()))
	})
}
