package s3_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/settings"
)

// program is what an application is: it has its environment, and nothing else.
const program = "PATCHBAY_S3_PROGRAM"

// goProgram is a program in Go, which is this binary in a process of its own: minio-go
// with what the settings say. Its keys it finds by itself, where AWS' libraries do.
func goProgram() int {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	answer, err := goApplication(ctx)
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
		return 1
	}
	_, _ = os.Stdout.WriteString(answer)
	return 0
}

func goApplication(ctx context.Context) (string, error) {
	at, err := url.Parse(os.Getenv("AWS_ENDPOINT_URL_S3"))
	if err != nil {
		return "", err
	}
	authority, err := os.ReadFile(os.Getenv("AWS_CA_BUNDLE"))
	if err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return "", errors.New("no authority")
	}
	c, err := minio.New(at.Host, &minio.Options{
		Creds: credentials.NewEnvAWS(), Secure: at.Scheme == "https", Region: os.Getenv("AWS_REGION"),
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
	})
	if err != nil {
		return "", err
	}
	bucket := os.Getenv("S3_BUCKET")
	if _, err := c.PutObject(ctx, bucket, "go", strings.NewReader("hello"), 5, minio.PutObjectOptions{}); err != nil {
		return "", err
	}
	for o := range c.ListObjects(ctx, bucket, minio.ListObjectsOptions{Prefix: "go"}) {
		if o.Err != nil {
			return "", o.Err
		}
	}
	o, err := c.GetObject(ctx, bucket, "go", minio.GetObjectOptions{})
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(o)
	return string(text), errors.Join(err, o.Close(), c.RemoveObject(ctx, bucket, "go", minio.RemoveObjectOptions{}))
}

// Debian's boto3 is of before it read the endpoint by itself.
const pythonProgram = `
import io, os, sys
try:
    import boto3
except ImportError as e:
    print(e, file=sys.stderr); sys.exit(3)
c = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"], region_name=os.environ["AWS_REGION"])
b = os.environ["S3_BUCKET"]
c.head_bucket(Bucket=b)
c.upload_fileobj(io.BytesIO(b"x" * (9 << 20)), b, "python/large")
c.put_object(Bucket=b, Key="python/ä b+c", Body=b"hello")
assert c.list_objects_v2(Bucket=b, Prefix="python/")["KeyCount"] == 2
print(c.get_object(Bucket=b, Key="python/ä b+c")["Body"].read().decode(), end="")
c.delete_objects(Bucket=b, Delete={"Objects": [{"Key": "python/large"}, {"Key": "python/ä b+c"}]})
assert c.list_objects_v2(Bucket=b)["KeyCount"] == 0
`

// What was written is all that a program has, and is enough for it: with a server whose
// certificate is of an authority that nobody else trusts.
func TestClientsReadWhatWasWritten(t *testing.T) {
	s := testenv.VersityGW(t, testenv.VersityGWOptions{TLS: true, Region: "eu-north-1"})
	bucket := aBucket(t, s, "invoices")
	target := opened(t, s, map[string]any{"region": "eu-north-1"})
	info, err := target.Inspect(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		client patchbay.ClientType
		run    []string
	}{
		{"go", nil},
		{"python", []string{"/usr/bin/python3", "-c", pythonProgram}},
	} {
		t.Run(string(c.client), func(t *testing.T) {
			r := made(t, target, "client"+string(c.client), bucket, patchbay.Writer, nil)
			dir := t.TempDir()
			values := settings.Values{"caFile": patchbay.NewSecret(filepath.Join(dir, settings.AuthorityFile))}
			for name, value := range info.Values {
				values[name] = patchbay.NewSecret(value)
			}
			for name, value := range r.Credential.Values() {
				values[name] = value
			}
			set, err := settings.Render(settings.Request{Kind: "s3", Client: c.client, Auth: patchbay.AuthSecret, Naming: patchbay.NamingNative, Values: values})
			if err != nil {
				t.Fatal(err)
			}
			env := []string{"PATH=/usr/bin:/bin", "HOME=" + dir, "LC_ALL=C.UTF-8"}
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
			result, err := probe(t, target, r)
			if err != nil || result.TLS == "" {
				t.Errorf("%+v, %v", result, err)
			}
		})
	}
}
