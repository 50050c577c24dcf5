package kafka_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/settings"
	"patchbay.dev/patchbay/targets/kafka"
)

// TestApplicationsWorkWithWhatIsWritten: a program in Go and one in Node.js know
// nothing but the settings of a connection.
func TestApplicationsWorkWithWhatIsWritten(t *testing.T) {
	c := cluster(t, testenv.KafkaOptions{})
	target := drivertest.OpenTarget(t, kafka.Driver(), register(c, scope))
	info, err := target.Inspect(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	r := made(t, target, "app", patchbay.Writer, map[string]string{"topics": "invoices"})
	values := settings.Values(r.Credential.Values())
	for name, value := range info.Values {
		values[name] = patchbay.NewSecret(value)
	}
	written := func(t *testing.T, naming patchbay.Naming) map[string]string {
		t.Helper()
		all, err := settings.Render(settings.Request{Kind: "kafka", Client: "go", Auth: patchbay.AuthSecret, Naming: naming, Values: values})
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]string{}
		for _, s := range all {
			have[s.Name] = s.Value.Reveal()
		}
		return have
	}
	t.Run("Go", func(t *testing.T) {
		env := written(t, patchbay.NamingNative)
		if env["KAFKA_SECURITY_PROTOCOL"] != "SASL_PLAINTEXT" || env["KAFKA_SASL_MECHANISM"] != "SCRAM-SHA-512" {
			t.Fatalf("%v", env)
		}
		cl, err := kgo.NewClient(
			kgo.SeedBrokers(strings.Split(env["KAFKA_BOOTSTRAP_SERVERS"], ",")...),
			kgo.SASL(scram.Auth{User: env["KAFKA_SASL_USERNAME"], Pass: env["KAFKA_SASL_PASSWORD"]}.AsSha512Mechanism()),
			kgo.ConsumerGroup(env["KAFKA_GROUP_ID"]), kgo.ConsumeTopics(strings.Split(env["KAFKA_TOPICS"], ",")...),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableClientMetrics(),
		)
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		if err := produce(env["KAFKA_TOPICS"])(t.Context(), cl, r.Credential); err != nil {
			t.Fatal(err)
		}
		if err := received(t.Context(), cl); err != nil {
			t.Fatal(err)
		}
		if err := cl.CommitUncommittedOffsets(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("Node.js", func(t *testing.T) {
		program := filepath.Join("..", "..", "settings", "testdata", "libraries", "kafka.mjs")
		node := func(arguments ...string) (string, error) {
			cmd := exec.CommandContext(t.Context(), "node", append([]string{program}, arguments...)...)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
			for name, value := range written(t, patchbay.NamingNative) {
				cmd.Env = append(cmd.Env, name+"="+value)
			}
			said, err := cmd.CombinedOutput()
			return string(said), err
		}
		if said, err := node(); err != nil || !strings.Contains(said, "read") {
			t.Fatalf("%v: %s (tools/deps.sh libraries fetches it)", err, said)
		}
		if said, err := node("payroll"); err == nil || !strings.Contains(said, "Not authorized") {
			t.Errorf("another topic: %v: %s", err, said)
		}
	})
}
