package settings

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/internal/testenv"
)

// TestTheProductsOwnToolsSignIn: with the settings of the native naming in its
// environment, and the command that their page has for it, each product's command
// line is the login that they are of, and nobody else.
func TestTheProductsOwnToolsSignIn(t *testing.T) {
	for _, tt := range []struct {
		kind    string
		tool    string
		start   func(t *testing.T) map[string]string
		command string // as a user types it
		ask     string
		want    func(values map[string]string) string
		about   string // the setting whose description has the command, "" where the tool needs none
	}{
		{
			kind: "redis", tool: "redis-cli", command: `redis-cli -u "$REDIS_URL"`, ask: " acl whoami", about: "REDIS_URL",
			start: func(t *testing.T) map[string]string {
				s := testenv.Redis(t, false)
				return map[string]string{"host": s.Host, "port": strconv.Itoa(s.Port), "username": s.User, "password": s.Password, "ssl": "false", "database": "3"}
			},
			want: func(values map[string]string) string { return values["username"] },
		},
		{
			kind: "mysql", tool: "mysql", command: `mysql -u "$MYSQL_USER" "$MYSQL_DATABASE"`, ask: ` -Ne "select substring_index(current_user(), '@', 1), database()"`, about: "MYSQL_USER",
			start: func(t *testing.T) map[string]string {
				s := testenv.MariaDB(t, false)
				return map[string]string{"host": s.Host, "port": strconv.Itoa(s.Port), "username": s.User, "password": s.Password, "database": s.Database, "sslmode": "disable"}
			},
			want: func(values map[string]string) string { return values["username"] + "\t" + values["database"] },
		},
		{
			kind: "postgresql", tool: "psql", command: "psql", ask: ` -Atc "select current_user, current_database()"`,
			start: func(t *testing.T) map[string]string {
				s := testenv.Postgres(t, testenv.PostgresOptions{})
				return map[string]string{"host": s.Host, "port": strconv.Itoa(s.Port), "username": s.User, "password": s.Password, "database": "postgres", "sslmode": "disable"}
			},
			want: func(values map[string]string) string { return values["username"] + "|" + values["database"] },
		},
		{
			kind: "etcd", tool: "etcdctl", command: "etcdctl", ask: ` role list >/dev/null && echo "$ETCDCTL_USER"`,
			start: func(t *testing.T) map[string]string {
				s := testenv.Etcd(t, testenv.EtcdOptions{})
				return map[string]string{"endpoints": s.URL(), "username": s.User, "password": s.Password}
			},
			want: func(values map[string]string) string { return values["username"] },
		},
	} {
		t.Run(tt.tool, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(tt.tool); err != nil {
				t.Skipf("%s is not installed", tt.tool)
			}
			values := tt.start(t)
			r := Request{Kind: tt.kind, Client: "none", Auth: patchbay.AuthSecret, Naming: patchbay.NamingNative, Values: Values{}}
			for name, value := range values {
				r.Values[name] = patchbay.NewSecret(value)
			}
			set, err := Render(r)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("sh", "-c", tt.command+tt.ask)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "USER=somebody"}
			for _, s := range set {
				cmd.Env = append(cmd.Env, s.Name+"="+s.Value.Reveal())
			}
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if got := strings.TrimSpace(string(out)); err != nil || got != tt.want(values) {
				t.Errorf("%s is %q, %v: %s; want %q", tt.command, got, err, stderr.String(), tt.want(values))
			}
			if tt.about != "" && !strings.Contains(Markdown(), tt.command) {
				t.Errorf("the settings' page does not say %s", tt.command)
			}
		})
	}
}

// TestNoToolSignsInAsAnother: what a tool takes from its environment by itself
// names the user, or there is none of it.
func TestNoToolSignsInAsAnother(t *testing.T) {
	r := Request{Kind: "redis", Client: "none", Auth: patchbay.AuthSecret, Naming: patchbay.NamingNative, Values: Values{
		"host": patchbay.NewSecret("h"), "username": patchbay.NewSecret("app"), "password": patchbay.NewSecret("pw"),
	}}
	set, err := Render(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range set {
		if s.Name == "REDISCLI_AUTH" {
			t.Error("redis-cli would sign in as default with another user's password")
		}
	}
}
