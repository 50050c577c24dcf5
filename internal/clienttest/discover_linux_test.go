package clienttest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"patchbay.dev/patchbay/internal/testenv"
	testdocker "patchbay.dev/patchbay/internal/testenv/docker"
	"patchbay.dev/patchbay/internal/testenv/netns"
	"patchbay.dev/patchbay/internal/testenv/sshd"
	testsystemd "patchbay.dev/patchbay/internal/testenv/systemd"
)

// database is a container's command that does what the images of PostgreSQL do, with
// the programs of this machine.
const database = `set -e
for d in /usr/lib/postgresql/*/bin; do export PATH=$d:/usr/bin; done
printf %s "$POSTGRES_PASSWORD" > /tmp/pw
initdb -D /data/db -U postgres --pwfile /tmp/pw -A scram-sha-256 -E UTF8 --locale C
echo 'host all all all scram-sha-256' >> /data/db/pg_hba.conf
echo "create database $POSTGRES_DB" | postgres --single -D /data/db postgres
exec postgres -D /data/db -c listen_addresses='*' -k /tmp`

// host registers the machine, as docs/sources.md says it.
func (cp *controlPlane) host(name, address, login, private, public string) {
	cp.t.Helper()
	key := filepath.Join(cp.t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(private), 0o600); err != nil {
		cp.t.Fatal(err)
	}
	cp.mustPatchbay("host", "add", name, "--endpoint", address, "--user", login, "--key-file", key, "--host-key", strings.TrimSpace(public))
}

// TestAComposeProjectOnAHostInThreeCommands is docs/sources.md, "Find what runs", on
// another machine: what runs is found, registered with the credential that its image
// keeps, and connected.
func TestAComposeProjectOnAHostInThreeCommands(t *testing.T) {
	program := testdocker.Compose(t)
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb"); len(found) == 0 {
		t.Skip("NOT CHECKED: three commands from a Compose project to a connection: PostgreSQL is not where Debian has it, and its container can't be made")
	}
	m := sshd.Start(t, sshd.Options{Setup: `mkdir /run/sbin; cp '` + program + `' /run/sbin/docker-compose; mount --bind /run/sbin /usr/local/sbin`})
	e := testdocker.StartWith(t, testdocker.Docker, testdocker.Options{Beside: m.Pid()})
	m.Must("ln", "-s", e.Socket, "/run/docker.sock")
	web, db := e.Image(t, testdocker.App), e.Image(t, "postgres:16", "ENV OF=the-tests")
	dir := filepath.Join(t.TempDir(), "shop")
	project := fmt.Sprintf(`services:
  web:
    image: %s
  db:
    image: %s
    user: "65534"
    environment: {POSTGRES_PASSWORD: c4n4ry-of-the-image, POSTGRES_DB: shop}
    entrypoint: ["/bin/sh", "-c", %q]
    volumes: ["/usr:/usr:ro", "/usr/bin:/bin:ro", "/usr/lib:/lib:ro", "/lib64:/lib64:ro", "/etc/passwd:/etc/passwd:ro"]
    tmpfs: ["/tmp:mode=1777", "/data:mode=1777"]
    ports: ["15432:5432"]
`, web, db, strings.ReplaceAll(database, "$", "$$"))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(project), 0o600); err != nil {
		t.Fatal(err)
	}
	compose := func(args ...string) string {
		return m.Must(append([]string{"env", "-C", dir, "DOCKER_HOST=unix:///run/docker.sock", "docker-compose"}, args...)...)
	}
	compose("up", "--detach")
	t.Cleanup(func() { compose("down", "--timeout", "0") })
	address := net.JoinHostPort(m.Host, "15432")
	m.Until("sh", "-c", `PGPASSWORD=c4n4ry-of-the-image psql -h "$1" -p 15432 -U postgres -c 'select 1' shop`, "sh", m.Host)

	cp := start(t, finished)
	cp.host("web1", m.Address, "root", m.Key.Private, m.HostKey.Public)

	found := cp.mustPatchbay("discover", "--host", "web1", "-o", "table")
	for _, want := range []string{"service web of the Compose project shop", "service db of the Compose project shop", "PostgreSQL", address, dir} {
		if !strings.Contains(found, want) {
			t.Errorf("found is, without %s:\n%s", want, found)
		}
	}
	said := cp.mustPatchbay("discover", "--host", "web1", "--yes", "web", "db", "--take-credentials")
	cp.mustPatchbay("connection", "create", "postgres", "--source", "web", "--target", "db/shop", "--client-type", "go", "--connection", "orders")

	for _, text := range []string{found, said, cp.mustPatchbay("resource", "list"), cp.requests.tail(1 << 20)} {
		if strings.Contains(text, "c4n4ry") {
			t.Error("the administrator's password is shown")
		}
	}
	cp.mustPatchbay("connection", "validate", "web/orders")
	has := compose("exec", "-T", "web", "/app", "once")
	_, line, _ := strings.Cut(has, "AZURE_POSTGRESQL_CONNECTIONSTRING=")
	line, _, _ = strings.Cut(line, "\n")
	if who := signedIn(t.Context(), t, map[string]string{"AZURE_POSTGRESQL_CONNECTIONSTRING": line}); !strings.HasPrefix(who, "pb_") {
		t.Errorf("what the application has signs %q in", who)
	}
	if again := compose("up", "--detach"); strings.Contains(again, "Recreate") {
		t.Errorf("Compose makes it anew: %s", again)
	}
	cp.mustPatchbay("connection", "delete", "web/orders", "--yes")
	if left, _ := filepath.Glob(filepath.Join(dir, "*override*")); len(left) > 0 {
		t.Errorf("there is left %v", left)
	}
}

// TestUnitsOfAMachineThatWasBootedAreFound: a machine with systemd as its first
// process, by SSH.
func TestUnitsOfAMachineThatWasBootedAreFound(t *testing.T) {
	program := testsystemd.Application(t)
	m := testsystemd.Boot(t, filepath.Dir(program))
	wire := m.Wire(t, 2222)
	user, machine := sshd.NewKey(t, ""), sshd.NewKey(t, "")
	run := func(stdin string, argv ...string) string {
		t.Helper()
		cmd := m.Command(t.Context(), argv...)
		cmd.Stdin = strings.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v: %s", argv, err, out)
		}
		return string(out)
	}
	for path, text := range map[string]string{
		"/var/lib/far/keys": user.Public, "/var/lib/far/host": machine.Private,
		"/etc/systemd/system/shop.service": fmt.Sprintf("[Unit]\nDescription=The shop\n[Service]\nType=notify\nExecStart=%s -out /var/lib/far/seen\n[Install]\nWantedBy=%s\n", program, testsystemd.Target),
		"/etc/systemd/system/far.service": "[Service]\nRuntimeDirectory=sshd\nExecStart=/usr/sbin/sshd -D -e -f /dev/null -p 2222 -o ListenAddress=127.0.0.1 -o HostKey=/var/lib/far/host -o AuthorizedKeysFile=/var/lib/far/keys " +
			"-o StrictModes=no -o UsePAM=no -o PidFile=none -o PermitRootLogin=yes -o \"Subsystem=sftp internal-sftp\"\n",
	} {
		run(text, "sh", "-c", `mkdir -p "${1%/*}" && umask 077 && cat > "$1"`, "sh", path)
	}
	run("", "systemctl", "daemon-reload")
	run("", "systemctl", "enable", "--now", "shop.service")
	run("", "systemctl", "start", "far.service")
	run("", "sh", "-c", "until ss -ltn | grep -q ':2222 '; do :; done")

	// The database is at the same address for the server and for the machine.
	pg := testenv.Postgres(t, testenv.PostgresOptions{})
	if err := pg.Exec(t.Context(), "postgres", `CREATE DATABASE shop`); err != nil {
		t.Fatal(err)
	}
	address := relay(t, "127.0.0.1", pg.Addr())
	if _, err := netns.Of(t, m.Pid()).ExposeAt(t, address, pg.Addr()); err != nil {
		t.Fatal(err)
	}

	cp := start(t, finished)
	cp.host("far", wire.Address, "root", user.Private, machine.Public)
	found := cp.mustPatchbay("discover", "systemd", "--host", "far", "-o", "table")
	for _, want := range []string{"unit shop.service (The shop)", "application", "active", "not registered"} {
		if !strings.Contains(found, want) {
			t.Errorf("found is, without %s:\n%s", want, found)
		}
	}
	if strings.Contains(found, "dbus") {
		t.Errorf("the distribution's units are applications:\n%s", found)
	}
	cp.mustPatchbay("discover", "systemd", "--host", "far", "--yes", "shop")
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(pg.Password), 0o600); err != nil {
		t.Fatal(err)
	}
	cp.mustPatchbay("resource", "add", "postgres", "orders", "--endpoint", address, "--admin", pg.User, "--admin-password-file", password, "--sslmode", "disable")
	cp.mustPatchbay("connection", "create", "postgres", "--source", "shop", "--target", "orders/shop", "--client-type", "go", "--connection", "orders")
	if has := run("", "cat", "/var/lib/far/seen"); !strings.Contains(has, "user=pb_") {
		t.Errorf("the application has %s", has)
	}
	cp.mustPatchbay("connection", "validate", "shop/orders")
	if found := cp.mustPatchbay("discover", "systemd", "--host", "far", "-o", "table"); !strings.Contains(found, "connected: shop/orders") {
		t.Errorf("found is\n%s", found)
	}
	cp.mustPatchbay("connection", "delete", "shop/orders", "--yes")
	if has := run("", "sh", "-c", "cat /var/lib/far/seen; ls /etc/systemd/system"); strings.Contains(has, "user=pb_") || strings.Contains(has, "shop.service.d") {
		t.Errorf("in the end the machine has %s", has)
	}
}
