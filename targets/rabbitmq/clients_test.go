package rabbitmq_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/settings"
)

// child is the variable that makes this program one that was connected.
const child = "PATCHBAY_TEST_CHILD"

// work is what an application in Go does that knows nothing but its settings.
func work() error {
	conn, err := amqp.Dial(os.Getenv("AMQP_URL"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	if err := ch.PublishWithContext(context.Background(), "", "jobs", false, false, amqp.Publishing{Body: []byte("of Go")}); err != nil {
		return err
	}
	m, ok, err := ch.Get("jobs", true)
	if err != nil || !ok {
		return fmt.Errorf("nothing came: %w", err)
	}
	fmt.Println(string(m.Body))
	return nil
}

const inPython = `
import os, pika
c = pika.BlockingConnection(pika.URLParameters(os.environ["RABBITMQ_URL"]))
ch = c.channel()
ch.basic_publish("", "jobs", b"of Python")
print(ch.basic_get("jobs", auto_ack=True)[2].decode())
c.close()
`

const inAShell = `amqp-publish --url="$RABBITMQ_URL" -r jobs -b "of a shell" && amqp-get --url="$RABBITMQ_URL" -q jobs`

// Libraries that are told nothing but the settings do an application's work with them:
// in a virtual host whose name has to be escaped, in the clear and with TLS.
func TestLibrariesWorkWithTheirSettings(t *testing.T) {
	s := shared(t)
	plainAt, at := vhost(t, s, "clients"), vhost(t, s, "/clients of 100%&?#")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config driver.Config
		vhost  string
		client patchbay.ClientType
		run    []string
		want   string
	}{
		"amqp091-go":                     {register(s), at, "go", []string{self}, "of Go"},
		"amqp091-go with TLS":            {secured(s, "127.0.0.1", "ca", string(s.CA)), at, "go", []string{self}, "of Go"},
		"amqp091-go with TLS and a name": {secured(s, "127.0.0.1", "ca", string(s.CA), "tlsServerName", "localhost"), at, "go", []string{self}, "of Go"},
		"pika":                           {register(s), at, "python", []string{"/usr/bin/python3", "-c", inPython}, "of Python"},
		"pika with TLS":                  {secured(s, "127.0.0.1", "ca", string(s.CA)), at, "python", []string{"/usr/bin/python3", "-c", inPython}, "of Python"},
		"amqp-tools":                     {register(s), plainAt, "none", []string{"/bin/sh", "-c", inAShell}, "of a shell"},
	} {
		t.Run(name, func(t *testing.T) {
			missing := map[string]string{"/usr/bin/python3": "import pika", "/bin/sh": ""}
			if script, needs := missing[c.run[0]]; needs && os.Getenv("PATCHBAY_TESTENV") != "required" {
				probe := exec.Command("/bin/sh", "-c", "command -v amqp-publish")
				if script != "" {
					probe = exec.Command(c.run[0], "-c", script)
				}
				if probe.Run() != nil {
					t.Skipf("it is not installed: `make deps` installs it")
				}
			}
			target := opened(t, c.config)
			sub := driver.SegmentOf(c.vhost)
			info, err := target.Inspect(t.Context(), sub)
			if err != nil {
				t.Fatal(err)
			}
			r := made(t, target, "client", sub, patchbay.Writer, map[string]string{"queues": "jobs"})
			home := t.TempDir()
			values := settings.Values{}
			for name, value := range info.Values {
				values[name] = patchbay.NewSecret(value)
			}
			for name, value := range r.Credential.Values() {
				values[name] = value
			}
			if info.Values["ca"] != "" {
				values["caFile"] = patchbay.NewSecret(filepath.Join(home, settings.AuthorityFile))
			}
			set, err := settings.Render(settings.Request{Kind: "rabbitmq", Client: c.client, Auth: patchbay.AuthSecret, Naming: patchbay.NamingNative, Values: values})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, c.run[0], c.run[1:]...)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LC_ALL=C.UTF-8", child + "=1"}
			for _, one := range set {
				if !one.File {
					cmd.Env = append(cmd.Env, one.Name+"="+one.Value.Reveal())
				} else if err := os.WriteFile(filepath.Join(home, one.Name), []byte(one.Value.Reveal()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			out, err := cmd.CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != c.want {
				t.Errorf("it says %q, %v", out, err)
			}
			if info.Values["ca"] == "" {
				return
			}
			// Without the authority that was written it does not get in.
			if err := os.WriteFile(filepath.Join(home, settings.AuthorityFile), []byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			again := exec.CommandContext(ctx, c.run[0], c.run[1:]...)
			again.Env = cmd.Env
			if out, err := again.CombinedOutput(); err == nil {
				t.Errorf("without its authority it says %q", out)
			}
		})
	}
}
