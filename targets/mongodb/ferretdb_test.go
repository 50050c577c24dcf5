package mongodb_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/settings"
)

// FerretDB is a server that nobody here has written: what the driver says of the protocol
// and of SCRAM, it understands. Its users have no roles, so that no login can be made.

// ferret is it as a target.
func ferret(s *testenv.FerretServer) driver.Config {
	properties := `{"sslmode":"disable"}`
	if s.CA != nil {
		raw, err := bson.MarshalExtJSON(bson.D{{Key: "ca", Value: string(s.CA)}}, false, false)
		if err != nil {
			panic(err) // the test's own mistake
		}
		properties = string(raw)
	}
	return driver.Config{
		ID:       "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/mongodbServers/docs",
		Endpoint: "mongodb://" + s.Addr(), Properties: []byte(properties), Dialer: &net.Dialer{},
		Admin: driver.Secrets{"username": patchbay.NewSecret(s.User), "password": patchbay.NewSecret(s.Password), "database": patchbay.NewSecret(s.Database)},
	}
}

// ferretUser makes one as its manual has it, with MongoDB's library, and gives it as a
// login.
func ferretUser(t *testing.T, s *testenv.FerretServer, target drivertest.Opened, name, password string) driver.Credential {
	t.Helper()
	o := options.Client().SetHosts([]string{s.Addr()}).SetDirect(true).SetServerSelectionTimeout(10 * time.Second).
		SetAuth(options.Credential{Username: s.User, Password: s.Password, AuthSource: s.Database, AuthMechanism: "SCRAM-SHA-256"})
	if s.CA != nil {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(s.CA)
		o.SetTLSConfig(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
	}
	c, err := mongo.Connect(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Disconnect(context.Background()) }()
	err = c.Database("shop").RunCommand(t.Context(), bson.D{{Key: "createUser", Value: name}, {Key: "roles", Value: bson.A{}}, {Key: "pwd", Value: password}}).Err()
	if err != nil {
		t.Fatal(err)
	}
	credential, err := target.Administrator.(driver.GivenLogins).Given("shop", name, patchbay.NewSecret(password))
	if err != nil {
		t.Fatal(err)
	}
	return credential
}

func TestFerretDBIsSignedInToAndNotAdministered(t *testing.T) {
	s := testenv.Ferret(t, false)
	c := ferret(s)
	target := opened(t, c)
	// It takes no comma or equals sign in a name, from MongoDB's library either.
	for name, password := range map[string]string{"app": "0123456789abcdef", "it's me": "pässword Ⅸ/@:"} {
		credential := ferretUser(t, s, target, name, password)
		signsIn := driver.ProbeRequest{Credential: credential, Dialer: c.Dialer, Sub: "shop"}
		if result, err := target.Probe(t.Context(), signsIn); err != nil || len(result.Allowed) != 1 {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
		signsIn.Credential.Secret = driver.Secrets{"password": patchbay.NewSecret(password + "x")}
		_, err := target.Probe(t.Context(), signsIn)
		_ = wantCode(t, err, patchbay.LoginRefused, name)
	}
	_, err := target.Inspect(t.Context(), "shop")
	_ = wantCode(t, err, patchbay.NotSupported, "external")
	r := request(t, target, "ferret", patchbay.Writer)
	_ = wantCode(t, target.EnsureLogin(t.Context(), r), patchbay.NotSupported, "external")
	_ = wantCode(t, target.RemoveLogin(t.Context(), r), patchbay.NotSupported, "external")
	wrong := c
	wrong.Admin = driver.Secrets{"username": patchbay.NewSecret(s.User), "password": patchbay.NewSecret("wrong-0123456789"), "database": patchbay.NewSecret(s.Database)}
	_, err = opened(t, wrong).Inspect(t.Context(), "shop")
	_ = wantCode(t, err, patchbay.AdminRefused, s.User)
}

func TestClientsReadWhatWasWrittenOfFerretDB(t *testing.T) {
	s := testenv.Ferret(t, true)
	target := opened(t, ferret(s))
	for client, run := range clients(t) {
		t.Run(string(client), func(t *testing.T) {
			credential := ferretUser(t, s, target, "app"+string(client), "0123456789abcdef")
			values := settings.Values(credential.Values())
			for name, value := range map[string]string{"servers": s.Addr(), "sslmode": "verify-full", "database": "shop", "ca": string(s.CA)} {
				values[name] = patchbay.NewSecret(value)
			}
			work(t, client, run, values)
		})
	}
}
