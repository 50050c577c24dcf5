package postgres_test

import (
	"context"
	"crypto/tls"
	"flag"
	"io"
	"net"
	"net/http/httptest"
	"slices"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/testenv"
	attack "patchbay.dev/patchbay/internal/testenv/hostile"
	"patchbay.dev/patchbay/targets/postgres"
)

// The attacks are many, and some leave a call waiting: every so many-th is
// tried, and all of them in the suite that is about nothing else.
var every = flag.Int("every", 12, "try every so many-th attack on the administering driver")

// misbehaviour is what the driver has to call by its name. What is not here the
// client library refuses, or waits for.
var misbehaviour = []string{
	"notices", "question/notifications", "the-same-parameter", "parameters", "a-parameter-of-a-mebibyte", "message-R-of-2^30", "message-D-of-2^31-1",
	"message-E-of-minus-1", "scram-of-2^31-rounds", "scram-of-ten-million-rounds", "scram-with-a-salt-of-a-mebibyte", "sign-in-again",
}

var hostileRequest = driver.LoginRequest{
	Mark: driver.Mark{UID: "aaaaaaaaaaaa", Generation: 1, Connection: "/c"}, Name: "pb_aaaaaaaaaaaa_g1", Auth: patchbay.AuthSecret, Access: patchbay.Writer, Sub: "orders",
	Credential: driver.Credential{Public: map[string]string{"username": "pb_aaaaaaaaaaaa_g1"}, Secret: driver.Secrets{"password": patchbay.NewSecret("0123456789abcdef")}},
}

func openHostile(username, password string) func(string) (*driver.GuardedTarget, error) {
	return func(address string) (*driver.GuardedTarget, error) {
		admin := driver.Secrets{"username": patchbay.NewSecret(username), "password": patchbay.NewSecret(password)}
		c := driver.Config{ID: hostileID, Endpoint: address, Properties: []byte(`{"weakestAuth":"password"}`), Admin: admin, Dialer: &net.Dialer{}}
		return driver.Guard{Name: "postgres", Admin: admin}.OpenTarget(context.Background(), postgres.Driver(), c)
	}
}

const hostileID = "/subscriptions/s/resourceGroups/g/providers/Microsoft.DBforPostgreSQL/flexibleServers/orders"

func TestAHostileServerCostsItsAdministratorLittle(t *testing.T) {
	if !attack.Confined(t, 512<<20) {
		return
	}
	attacks := attack.Some(attack.Against("postgresql"), *every, misbehaviour...)
	attack.Administer(t, attacks, openHostile("admin", "secret"), attack.Calls("orders", hostileRequest), misbehaviour...)
}

func TestAServerThatTurnsHostileCostsItsAdministratorLittle(t *testing.T) {
	if !attack.Confined(t, 512<<20) {
		return
	}
	s := testenv.Postgres(t, testenv.PostgresOptions{})
	exec(t, s, "postgres", "create database orders")
	// A sign-in is three answers; the calls ask three to a dozen questions more.
	for answers := 3; answers < 15; answers++ {
		if answers%4 != 3 && *every > 1 {
			continue
		}
		attacks := attack.Some(attack.Behind("postgresql", s.Addr(), answers), *every, "notices")
		attack.Administer(t, attacks, openHostile(s.User, s.Password), attack.Calls("orders", hostileRequest))
	}
}

func FuzzAHostileServer(f *testing.F) {
	f.Add([]byte{3, 0, 1, 10, 0x80, 0, 0, 0, 9, 0, 1, 4})
	f.Fuzz(func(t *testing.T, seed []byte) {
		attack.Answer(t, attack.Fuzz("postgresql", seed), openHostile("admin", "secret"))
	})
}

// What is announced below TLS is seen where TLS is read, not before.
func TestTheBoundsAreBehindTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	defer web.Close()
	for _, name := range []string{"postgres/sign-in/message-R-of-2^30", "postgres/question/message-D-of-2^31-1", "postgres/sign-in/scram-of-2^31-rounds"} {
		attacks := attack.Against("postgresql")
		serve := attacks[slices.IndexFunc(attacks, func(a attack.Attack) bool { return a.Name == name })].Serve
		address := attack.Listen(t, func(c net.Conn) {
			request := make([]byte, 8)
			if _, err := io.ReadFull(c, request); err != nil {
				return
			}
			if _, err := c.Write([]byte("S")); err != nil {
				return
			}
			serve(tls.Server(c, web.TLS))
		})
		target, err := openHostile("admin", "secret")(address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := target.Owned(t.Context()); patchbay.CodeOf(err) != patchbay.TargetMisbehaved {
			t.Errorf("%s: %v", name, err)
		}
		_ = target.Close()
	}
}
