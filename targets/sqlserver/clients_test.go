package sqlserver_test

import (
	"bytes"
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	_ "github.com/microsoft/go-mssqldb"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/settings"
)

// python works as an application of Python does, with nothing but its environment.
const python = `
import os, sys
try:
    import pymssql
except ImportError:
    sys.exit(3)
p = "AZURE_SQL_"
c = pymssql.connect(server=os.environ[p + "SERVER"], port=os.environ[p + "PORT"], user=os.environ[p + "USER"], password=os.environ[p + "PASSWORD"], database=os.environ[p + "DATABASE"], autocommit=True)
cursor = c.cursor()
cursor.execute("select * from items")
print(cursor.fetchall()[0][0])
try:
    cursor.execute("insert into items (name) values (N'of python')")
    print("written")
except pymssql.Error as e:
    print("refused" if "permission was denied" in str(e) else e)
`

// Programs that know nothing but the settings that were written work with them: of what
// the model is, they are as good a witness as of the settings.
func TestClientsWorkWithWhatIsWrittenForThem(t *testing.T) {
	for _, kind := range []int{withLogins, contained, azure} {
		w := modelled(t, kind, testenv.SQLServerOptions{})
		target := w.open(t)
		info, err := target.Inspect(t.Context(), w.mine)
		if err != nil {
			t.Fatal(err)
		}
		for _, access := range []patchbay.Access{patchbay.Reader, patchbay.Writer} {
			r := request(w.mine, access)
			ensure(t, target, r)
			var want error
			if access == patchbay.Reader {
				want = drivertest.ErrRefused
			}
			env := func(client patchbay.ClientType, naming patchbay.Naming) []string {
				return environment(t, info, r, client, naming)
			}
			for name, e := range map[string][]string{"AZURE_SQL_CONNECTIONSTRING": env("go", patchbay.NamingAzure), "DATABASE_URL": env("go", patchbay.NamingNative)} {
				db, err := sql.Open("sqlserver", value(t, e, name))
				if err != nil {
					t.Fatal(err)
				}
				var n int
				if err := db.QueryRowContext(t.Context(), "select count(*) from items").Scan(&n); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if _, err := db.ExecContext(t.Context(), "insert into items (name) values (N'of go')"); !errors.Is(refusal(err), want) {
					t.Errorf("the %s's insert by %s: %v, want %v", access, name, err, want)
				}
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			}
			out, skip := run(t, env("python", patchbay.NamingAzure), "/usr/bin/python3", "-c", python)
			answer := map[patchbay.Access]string{patchbay.Reader: "1\nrefused", patchbay.Writer: "1\nwritten"}[access]
			if !skip && out != answer {
				t.Errorf("the %s in Python: %q, want %q", access, out, answer)
			}
		}
	}
}

func environment(t *testing.T, info driver.TargetInfo, r driver.LoginRequest, client patchbay.ClientType, naming patchbay.Naming) []string {
	t.Helper()
	values := settings.Values(r.Credential.Values())
	for name, value := range info.Values {
		values[name] = patchbay.NewSecret(value)
	}
	set, err := settings.Render(settings.Request{Kind: "sql", Client: client, Auth: patchbay.AuthSecret, Naming: naming, Values: values})
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LC_ALL=C.UTF-8"}
	for _, one := range set {
		env = append(env, one.Name+"="+one.Value.Reveal())
	}
	return env
}

func value(t *testing.T, env []string, name string) string {
	t.Helper()
	for _, one := range env {
		if text, ok := strings.CutPrefix(one, name+"="); ok {
			return text
		}
	}
	t.Fatalf("no %s in %d settings", name, len(env))
	return ""
}

// run is what a program says; skip says that it lacks its library.
func run(t *testing.T, env []string, command ...string) (out string, skip bool) {
	t.Helper()
	if _, err := exec.LookPath(command[0]); err != nil {
		t.Logf("not tried: %s is not installed", command[0])
		return "", true
	}
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Env = env
	var said bytes.Buffer
	cmd.Stderr = &said
	b, err := cmd.Output()
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.ExitCode() == 3 {
		t.Log("not tried: python3-pymssql is not installed")
		return "", true
	}
	if err != nil {
		t.Errorf("%v: %s", err, said.String())
	}
	return strings.TrimSpace(string(b)), false
}
