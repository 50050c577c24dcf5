package mongodb_test

import (
	"context"
	"flag"
	"net"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/testenv/hostile"
	"patchbay.dev/patchbay/targets/mongodb"
)

// The attacks are many, and some leave a call waiting: every so many-th is tried.
var every = flag.Int("every", 8, "try every so many-th attack on the administering driver")

// misbehaviour is what the driver has to call by its name.
var misbehaviour = []string{
	"documents-in-documents", "scram-of-2^31-rounds", "scram-of-ten-million-rounds", "a-string-of-2^31", "a-document-of-no-length", "a-document-of-minus-1",
	"compressed-to-2^31", "not-the-last", "message-of-2^31-1", "message-of-minus-1", "message-of-0", "message-of-15",
}

func TestAHostileServerCostsItsAdministratorLittle(t *testing.T) {
	if !hostile.Confined(t, 512<<20) {
		return
	}
	open := func(address string) (*driver.GuardedTarget, error) {
		c := driver.Config{
			ID: "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/mongodbServers/docs", Endpoint: address, Properties: []byte(`{"sslmode":"disable"}`),
			Admin: driver.Secrets{"username": patchbay.NewSecret("admin"), "password": patchbay.NewSecret("0123456789abcdef")}, Dialer: &net.Dialer{},
		}
		return driver.Guard{Name: "mongodb", Admin: c.Admin}.OpenTarget(context.Background(), mongodb.Driver(), c)
	}
	r := driver.LoginRequest{Mark: driver.Mark{UID: "aaaaaaaaaaaa", Generation: 1}, Name: "pb_aaaaaaaaaaaa_g1", Sub: "shop", Auth: patchbay.AuthSecret, Access: patchbay.Writer,
		Credential: driver.Credential{Public: map[string]string{"username": "pb_aaaaaaaaaaaa_g1", "authSource": "shop"}, Secret: driver.Secrets{"password": driver.NewPassword()}}}
	hostile.Administer(t, hostile.Some(hostile.Against("mongodb"), *every, misbehaviour...), open, hostile.Calls("shop", r), misbehaviour...)
}
