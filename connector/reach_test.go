package connector_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/joho/godotenv"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/natsserver"
	"patchbay.dev/patchbay/internal/testenv"
)

// An owner makes its bucket with the official client and what is in the settings
// file; that such a login reaches further than its access is said when it is made,
// and of one that does not nothing is.
func TestAnOwnerOfABucketIsToldWhatItReachesAndMakesIt(t *testing.T) {
	s := testenv.NATS(t, natsserver.Config{})
	p := newPlace(t)
	properties := maps.Clone(s.Properties())
	properties["inbox"], properties["subjects"], properties["streams"] = "private", []string{"orders.>"}, []string{"KV_config"}
	text, err := json.Marshal(properties)
	if err != nil {
		t.Fatal(err)
	}
	admin := map[string]string{}
	for name, secret := range s.Admin() {
		admin[name] = secret.Reveal()
	}
	broker := p.register(patchbay.Resource{ID: p.group + "/providers/Patchbay.Services/natsServers/broker", Driver: "nats", Endpoint: s.Endpoint(), Properties: text}, admin)
	spec := patchbay.Spec{Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: broker}, Auth: &patchbay.Auth{Type: patchbay.AuthSecret}, Client: "go", Access: patchbay.Owner}
	op := p.put(spec)
	p.done(op)
	if !strings.Contains(op.Message, "every subject and stream of the account") {
		t.Errorf("the create says %q", op.Message)
	}
	env, err := godotenv.Read(p.file)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := natsgo.Connect(env["NATS_URL"], natsgo.UserJWTAndSeed(env["NATS_USER_JWT"], env["NATS_NKEY_SEED"]), natsgo.CustomInboxPrefix(env["NATS_INBOX_PREFIX"]))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "config"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.PutString(t.Context(), "greeting", "hello"); err != nil {
		t.Error(err)
	}
	for group, result := range p.validated() {
		if result != patchbay.Success {
			t.Errorf("%s is %s", group, result)
		}
	}
	spec.Access, spec.Options = patchbay.Reader, map[string]string{"subjects": "orders.>"}
	op = p.put(spec)
	p.done(op)
	if strings.Contains(op.Message, "account") {
		t.Errorf("of a reader of subjects it is said: %q", op.Message)
	}
}
