package mysql_test

import (
	"context"
	"flag"
	"net"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/testenv/hostile"
)

// The attacks are many, and some leave a call waiting: every so many-th is
// tried, and all of them in the suite that is about nothing else.
var every = flag.Int("every", 8, "try every so many-th attack on the administering driver")

// misbehaviour is what the driver has to call by its name. What is not here the
// client library refuses, or waits for.
var misbehaviour = []string{"columns-of-2^64-1", "columns-of-2^46", "columns-of-2^31", "a-file-of-the-client", "rows-for-ever", "a-packet-that-never-ends"}

func TestAHostileServerCostsItsAdministratorLittle(t *testing.T) {
	if !hostile.Confined(t, 512<<20) {
		return
	}
	open := func(address string) (*driver.GuardedTarget, error) {
		c := driver.Config{
			ID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.DBforMySQL/flexibleServers/orders", Endpoint: address, Properties: []byte(`{"sslmode":"prefer"}`),
			Admin: driver.Secrets{"username": patchbay.NewSecret("admin"), "password": patchbay.NewSecret("0123456789abcdef")}, Dialer: &net.Dialer{},
		}
		return driver.Guard{Name: "mysql", Admin: c.Admin}.OpenTarget(context.Background(), mysqltargetDriver, c)
	}
	r := driver.LoginRequest{Mark: driver.Mark{UID: "aaaaaaaaaaaa", Generation: 1}, Name: "pb_aaaaaaaaaaaa_g1", Sub: "shop", Auth: patchbay.AuthSecret, Access: patchbay.Writer,
		Credential: driver.Credential{Public: map[string]string{"username": "pb_aaaaaaaaaaaa_g1"}, Secret: driver.Secrets{"password": driver.NewPassword()}}}
	hostile.Administer(t, hostile.Some(hostile.Against("mysql"), *every, misbehaviour...), open, hostile.Calls("shop", r), misbehaviour...)
}
