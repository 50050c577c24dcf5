package etcd_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/settings"
)

// program is what an application is: it has its environment, and nothing else.
const program = "PATCHBAY_ETCD_PROGRAM"

// goProgram is a program in Go, which is this binary in a process of its own: clientv3
// with what the settings say.
func goProgram() int {
	get := os.Getenv
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	// The authority comes by SSL_CERT_FILE, which Go reads.
	roots, err := x509.SystemCertPool()
	if err != nil {
		return 1
	}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: strings.Split(get("ETCDCTL_ENDPOINTS"), ","), Username: get("ETCDCTL_USER"), Password: get("ETCDCTL_PASSWORD"),
		DialTimeout: 10 * time.Second, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	})
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
		return 1
	}
	defer func() { _ = c.Close() }()
	prefix, _, _ := strings.Cut(get("ETCD_PREFIXES"), ",")
	if _, err := c.Put(ctx, prefix+"go", "hello"); err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
		return 1
	}
	answer, err := c.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil || len(answer.Kvs) == 0 {
		return 1
	}
	_, _ = os.Stdout.Write(answer.Kvs[0].Value)
	return 0
}

const pythonProgram = `
import os, sys
from urllib.parse import urlsplit
try:
    import etcd3
except ImportError as e:
    print(e, file=sys.stderr); sys.exit(3)
at = urlsplit(os.environ["ETCDCTL_ENDPOINTS"].split(",")[0])
c = etcd3.client(host=at.hostname, port=at.port, ca_cert=os.environ.get("ETCDCTL_CACERT"),
                 user=os.environ["ETCDCTL_USER"], password=os.environ["ETCDCTL_PASSWORD"], timeout=20)
prefix = os.environ["ETCD_PREFIXES"].split(",")[0]
c.put(prefix + "python", "hello")
print(c.get(prefix + "python")[0].decode(), end="")
`

// What was written is all that a program has, and is enough for it: with a server whose
// certificate is of an authority that nobody else trusts.
func TestClientsReadWhatWasWritten(t *testing.T) {
	s := testenv.Etcd(t, testenv.EtcdOptions{TLS: true})
	target := opened(t, register(s, map[string]any{"prefixes": []string{"/orders/", "bills"}, "tls": map[string]any{"ca": string(s.CA)}}))
	info, err := target.Inspect(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		client patchbay.ClientType
		run    []string
	}{
		{"go", nil},
		{"python", []string{"/usr/bin/python3", "-c", pythonProgram}},
		{"none", []string{"sh", "-c", `command -v etcdctl >/dev/null || exit 3; etcdctl put "${ETCD_PREFIXES%%,*}sh" hello >/dev/null && printf %s "$(etcdctl get --print-value-only "${ETCD_PREFIXES%%,*}sh")"`}},
	} {
		t.Run(string(c.client), func(t *testing.T) {
			r := made(t, target, "client"+string(c.client), patchbay.Writer, nil)
			dir := t.TempDir()
			values := settings.Values{"caFile": patchbay.NewSecret(filepath.Join(dir, settings.AuthorityFile))}
			for name, value := range info.Values {
				values[name] = patchbay.NewSecret(value)
			}
			for name, value := range r.Credential.Values() {
				values[name] = value
			}
			set, err := settings.Render(settings.Request{Kind: "etcd", Client: c.client, Auth: patchbay.AuthSecret, Naming: patchbay.NamingNative, Values: values})
			if err != nil {
				t.Fatal(err)
			}
			env := []string{"PATH=/usr/bin:/bin", "HOME=" + dir, "ETCDCTL_API=3"}
			for _, one := range set {
				if one.File {
					if err := os.WriteFile(filepath.Join(dir, one.Name), []byte(one.Value.Reveal()), 0o600); err != nil {
						t.Fatal(err)
					}
					continue
				}
				env = append(env, one.Name+"="+one.Value.Reveal())
			}
			if c.run == nil {
				self, err := os.Executable()
				if err != nil {
					t.Fatal(err)
				}
				c.run, env = []string{self}, append(env, program+"=go")
			}
			cmd := exec.CommandContext(t.Context(), c.run[0], c.run[1:]...)
			cmd.Env = env
			var said, problem bytes.Buffer
			cmd.Stdout, cmd.Stderr = &said, &problem
			switch err := cmd.Run(); {
			case cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 3:
				t.Skipf("it is not installed: %s", problem.String())
			case err != nil || said.String() != "hello":
				t.Errorf("it says %q, %v: %s", said.String(), err, problem.String())
			}
			if _, err := probe(t, target, r); err != nil {
				t.Error(err)
			}
		})
	}
}
