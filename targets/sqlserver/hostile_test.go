package sqlserver_test

import (
	"context"
	"flag"
	"net"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/testenv/hostile"
	"patchbay.dev/patchbay/targets/sqlserver"
)

// The attacks are many, and some leave a call waiting: every so many-th is tried, and all
// of them in the suite that is about nothing else.
var every = flag.Int("every", 12, "try every so many-th attack on the administering driver")

// misbehaviour is what the driver has to call by its name, in whichever stage it comes.
// What is not here is waited for.
var misbehaviour = []string{
	"a-message-that-never-ends", "rows", "a-value-that-never-ends", "features-of-2^31", "features-of-2^32", "a-federation-of-2^32", "a-federation-of-2^31",
	"a-federation-of-options", "columns-of-65534", "a-value-of-2^63", "a-piece-of-2^32", "a-text-of-2^32", "a-variant-of-2^32", "a-type-of-nobody", "a-token-of-nobody",
	"a-token-without-an-end", "a-packet-of-no-length", "a-packet-of-65535", "options-beyond-the-end", "done-and-more", "messages", "errors",
}

func TestAHostileServerCostsItsAdministratorLittle(t *testing.T) {
	if !hostile.Confined(t, 512<<20) {
		return
	}
	open := func(address string) (*driver.GuardedTarget, error) {
		c := driver.Config{
			ID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Sql/servers/orders", Endpoint: address, Properties: []byte(`{"sslmode":"disable"}`),
			Admin: driver.Secrets{"username": patchbay.NewSecret("admin"), "password": patchbay.NewSecret("0123456789abcdef")}, Dialer: &net.Dialer{},
		}
		return driver.Guard{Name: "sqlserver", Admin: c.Admin}.OpenTarget(context.Background(), sqlserver.Driver(), c)
	}
	r := driver.LoginRequest{Mark: driver.Mark{UID: "aaaaaaaaaaaa", Generation: 1}, Name: "pb_aaaaaaaaaaaa_g1", Sub: "shop", Auth: patchbay.AuthSecret, Access: patchbay.Writer,
		Credential: driver.Credential{Public: map[string]string{"username": "pb_aaaaaaaaaaaa_g1"}, Secret: driver.Secrets{"password": driver.NewPassword()}}}
	hostile.Administer(t, hostile.Some(hostile.Against("sql"), *every, misbehaviour...), open, hostile.Calls("shop", r), misbehaviour...)
}
