package mysql_test

import (
	"bytes"
	"database/sql"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/settings"
)

// python works as an application of Python does, with nothing but its environment.
const python = `
import os, sys
try:
    import pymysql as library
except ImportError:
    try:
        import MySQLdb as library
    except ImportError:
        sys.exit(3)
p = "AZURE_MYSQL_"
c = library.connect(host=os.environ[p + "HOST"], port=int(os.environ.get(p + "PORT", 3306)), user=os.environ[p + "USER"], password=os.environ[p + "PASSWORD"], database=os.environ[p + "NAME"])
cursor = c.cursor()
cursor.execute("insert into items (name) values ('of python')")
c.commit()
cursor.execute("select count(*) from items where name = 'of python'")
print(cursor.fetchone()[0])
`

// Programs that know nothing but the settings that were written work with them.
func TestClientsWorkWithWhatIsWrittenForThem(t *testing.T) {
	s := testenv.MariaDB(t, false)
	run(t, s, "create table shop.items (id int auto_increment primary key, name text)")
	target := open(t, config(s, s.Super))
	info, err := target.Inspect(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	writer, reader := ensured(t, target, "shop", patchbay.Writer), ensured(t, target, "shop", patchbay.Reader)
	environment := func(client patchbay.ClientType, naming patchbay.Naming, login map[string]patchbay.Secret) []string {
		values := settings.Values{}
		for name, value := range info.Values {
			values[name] = patchbay.NewSecret(value)
		}
		for name, value := range login {
			values[name] = value
		}
		set, err := settings.Render(settings.Request{Kind: "mysql", Client: client, Auth: patchbay.AuthSecret, Naming: naming, Values: values})
		if err != nil {
			t.Fatal(err)
		}
		env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "LC_ALL=C.UTF-8"}
		for _, one := range set {
			env = append(env, one.Name+"="+one.Value.Reveal())
		}
		return env
	}
	value := func(env []string, name string) string {
		for _, one := range env {
			if text, ok := strings.CutPrefix(one, name+"="); ok {
				return text
			}
		}
		t.Fatalf("no %s in %d settings", name, len(env))
		return ""
	}
	t.Run("go", func(t *testing.T) {
		for login, want := range map[string]error{"writer": nil, "reader": drivertest.ErrRefused} {
			values := writer.Credential.Values()
			if login == "reader" {
				values = reader.Credential.Values()
			}
			db, err := sql.Open("mysql", value(environment("go", patchbay.NamingAzure, values), "AZURE_MYSQL_CONNECTIONSTRING"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			if _, err := db.ExecContext(t.Context(), "insert into items (name) values ('of go')"); !errors.Is(refusal(err), want) {
				t.Errorf("the %s: %v, want %v", login, err, want)
			}
			var n int
			if err := db.QueryRowContext(t.Context(), "select count(*) from items where name = 'of go'").Scan(&n); err != nil {
				t.Errorf("the %s: %v", login, err)
			}
		}
	})
	for name, tt := range map[string]struct {
		client  patchbay.ClientType
		naming  patchbay.Naming
		command []string
		want    string
	}{
		"mysql":  {"none", patchbay.NamingNative, []string{"sh", "-c", `mysql -u "$MYSQL_USER" "$MYSQL_DATABASE" -Ne "insert into items (name) values ('of the client'); select count(*) from items where name = 'of the client'"`}, "1"},
		"python": {"python", patchbay.NamingAzure, []string{"/usr/bin/python3", "-c", python}, "1"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(tt.command[0]); err != nil {
				t.Skipf("%s is not installed", tt.command[0])
			}
			cmd := exec.CommandContext(t.Context(), tt.command[0], tt.command[1:]...)
			cmd.Env = environment(tt.client, tt.naming, writer.Credential.Values())
			var said bytes.Buffer
			cmd.Stderr = &said
			out, err := cmd.Output()
			var ended *exec.ExitError
			if errors.As(err, &ended) && ended.ExitCode() == 3 {
				t.Skip("no library of Python's for MySQL is installed")
			}
			if err != nil || strings.TrimSpace(string(out)) != tt.want {
				t.Errorf("%q, %v: %s", out, err, said.String())
			}
		})
	}
}
