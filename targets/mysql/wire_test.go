package mysql

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// A model of MySQL 8.4, after the documents of its protocol: there is no MySQL server
// where these tests run. It proves what is sent to one that keeps to them, and nothing
// about one that does not.
// https://dev.mysql.com/doc/dev/mysql-server/latest/page_caching_sha2_authentication_exchanges.html
type model struct {
	t       *testing.T
	version string
	cached  bool // the server needs no more than a proof
	asked   []string
	told    string // the password, as it came
	secure  *tls.Config

	mu       sync.Mutex
	accounts map[string]*modelAccount
}

// modelAccount is one of the host %.
type modelAccount struct {
	attribute string
	locked    bool
	rights    map[string]bool // columns of mysql.db
}

const modelSalt = "12345678abcdefghijkl"

func packetOf(number byte, body string) []byte {
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(body))|uint32(number)<<24)
	return append(head, body...)
}

// DialContext makes a model of it that a session is opened with.
func (m *model) DialContext(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		defer func() { _ = server.Close() }()
		m.serve(server)
	}()
	return client, nil
}

func read(r io.Reader) (number byte, body []byte, err error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	body = make([]byte, int(head[0])|int(head[1])<<8|int(head[2])<<16)
	_, err = io.ReadFull(r, body)
	return head[3], body, err
}

const modelOK = "\x00\x00\x00\x02\x00\x00\x00"

func (m *model) serve(c net.Conn) {
	// Without TLS; with plugins, results one after the other, and no deprecated ends.
	can := "\xf7"
	if m.secure != nil {
		can = "\xff"
	}
	if _, err := c.Write(packetOf(0, "\x0a"+m.version+"\x00\x01\x00\x00\x00"+modelSalt[:8]+"\x00\xff"+can+"\x21\x02\x00\x0f\x80\x15"+strings.Repeat("\x00", 10)+modelSalt[8:]+"\x00caching_sha2_password\x00")); err != nil {
		return
	}
	number, body, err := read(c)
	if err != nil {
		return
	}
	if m.secure != nil && len(body) == 32 {
		c = tls.Server(c, m.secure)
		if number, _, err = read(c); err != nil {
			return
		}
	}
	if m.cached {
		_, _ = c.Write(packetOf(number+1, "\x01\x03"))
		number++
	} else {
		if _, err := c.Write(packetOf(number+1, "\x01\x04")); err != nil {
			return
		}
		if number, err = m.hear(c); err != nil {
			return
		}
	}
	if _, err := c.Write(packetOf(number+1, modelOK)); err != nil {
		return
	}
	for {
		_, body, err := read(c)
		if err != nil || body[0] == 1 {
			return
		}
		if body[0] != 3 {
			_, _ = c.Write(packetOf(1, modelOK))
			continue
		}
		if _, err := c.Write(m.answer(string(body[1:]))); err != nil {
			return
		}
	}
}

// answer carries statements out, and says what came of it.
func (m *model) answer(statements string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := strings.Split(statements, "; ")
	var out []byte
	number := byte(1)
	for i, statement := range all {
		m.asked = append(m.asked, statement)
		more := i < len(all)-1
		columns, rows, failed := m.run(statement)
		if failed != "" {
			return append(out, packetOf(number, failed)...)
		}
		status := "\x02\x00"
		if more {
			status = "\x0a\x00"
		}
		packets := []string{"\x00\x00\x00" + status + "\x00\x00"}
		if columns != nil {
			packets = []string{string(rune(len(columns)))}
			for _, c := range columns {
				packets = append(packets, "\x03def\x00\x00\x00"+short(c)+"\x00\x0c\x21\x00\xff\x00\x00\x00\xfd\x00\x00\x00\x00\x00")
			}
			packets = append(packets, "\xfe\x00\x00"+status)
			for _, row := range rows {
				var text string
				for _, v := range row {
					text += short(v)
				}
				packets = append(packets, text)
			}
			packets = append(packets, "\xfe\x00\x00"+status)
		}
		for _, p := range packets {
			out = append(out, packetOf(number, p)...)
			number++
		}
	}
	return out
}

// short is a text with its length before it.
func short(text string) string {
	if len(text) > 250 {
		return "\xfc" + string(binary.LittleEndian.AppendUint16(nil, uint16(len(text)))) + text
	}
	return string([]byte{byte(len(text))}) + text
}

var (
	modelCreate = regexp.MustCompile(`^(create|alter) user '(pb_[a-z0-9_]+)'@'%' identified with caching_sha2_password by '[^']+' require (?:none|ssl) password expire never account unlock password history 0 password reuse interval 0 day attribute '(.*)'$`)
	modelLock   = regexp.MustCompile(`^alter user '(pb_[a-z0-9_]+)'@'%' account lock(?: attribute '(.*)')?$`)
	modelGrant  = regexp.MustCompile("^grant ([A-Z ,]+) on `shop`.\\* to '(pb_[a-z0-9_]+)'@'%'$")
	modelDrop   = regexp.MustCompile(`^drop user (?:if exists )?'(pb_[a-z0-9_]+)'@'%'$`)
	modelName   = regexp.MustCompile(`(?:User|USER) = '(pb_[a-z0-9_]+)'$`)
)

var modelColumns = map[string]string{"SELECT": "Select_priv", "SHOW VIEW": "Show_view_priv", "INSERT": "Insert_priv", "UPDATE": "Update_priv", "DELETE": "Delete_priv",
	"EXECUTE": "Execute_priv", "CREATE TEMPORARY TABLES": "Create_tmp_table_priv"}

// run is what MySQL 8.4 does with one of our statements, as its manual has it. What it
// would not know is a syntax error.
func (m *model) run(statement string) (columns []string, rows [][]string, failed string) {
	const (
		syntax = "\xff\x28\x04#42000no such syntax"
		exists = "\xff\x74\x05#HY000operation failed" // 1396
		nobody = "\xff\x82\x05#42000not allowed to create a user with GRANT"
	)
	account := func(name string) *modelAccount { return m.accounts[name] }
	if f := modelCreate.FindStringSubmatch(statement); f != nil {
		a := account(f[2])
		if (f[1] == "create") == (a != nil) {
			return nil, nil, exists
		}
		if a == nil {
			a = &modelAccount{rights: map[string]bool{}}
			m.accounts[f[2]] = a
		}
		a.attribute, a.locked = strings.ReplaceAll(f[3], "''", "'"), false
		return nil, nil, ""
	}
	if f := modelLock.FindStringSubmatch(statement); f != nil && account(f[1]) != nil {
		account(f[1]).locked = true
		return nil, nil, ""
	}
	if f := modelGrant.FindStringSubmatch(statement); f != nil {
		if account(f[2]) == nil {
			return nil, nil, nobody
		}
		for w := range strings.SplitSeq(f[1], ", ") {
			if modelColumns[w] == "" && account(f[2]) != nil {
				return nil, nil, syntax
			}
			account(f[2]).rights[modelColumns[w]] = true
		}
		return nil, nil, ""
	}
	if f := modelDrop.FindStringSubmatch(statement); f != nil {
		if account(f[1]) == nil && !strings.Contains(statement, "if exists") {
			return nil, nil, exists
		}
		delete(m.accounts, f[1])
		return nil, nil, ""
	}
	name, a := "", (*modelAccount)(nil)
	if f := modelName.FindStringSubmatch(statement); f != nil {
		name, a = f[1], account(f[1])
	}
	yes := func(b bool) string {
		if b {
			return "Y"
		}
		return "N"
	}
	switch {
	case strings.HasPrefix(statement, "select @@version"):
		return []string{"v", "c", "l", "r", "u", "a"}, [][]string{{m.version, "MySQL Community Server - GPL", "0", "0", "admin@10.0.0.9", "admin@%"}}, ""
	case strings.HasPrefix(statement, "set session sql_mode = 'NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES', "):
		return nil, nil, ""
	case strings.HasPrefix(statement, "select get_lock("), strings.HasPrefix(statement, "select release_lock("):
		return []string{"n"}, [][]string{{"1"}}, ""
	case strings.Contains(statement, "information_schema.schemata"):
		return []string{"SCHEMA_NAME"}, [][]string{{"shop"}}, ""
	case strings.Contains(statement, "from information_schema.processlist"):
		return []string{"ID", "USER", "HOST"}, nil, ""
	case strings.Contains(statement, "information_schema.innodb_trx"):
		return []string{"n"}, [][]string{{"0"}}, ""
	case statement == "select connection_id()":
		return []string{"n"}, [][]string{{"7"}}, ""
	case strings.Contains(statement, " where definer = 'pb_"):
		return []string{"1"}, nil, ""
	case strings.Contains(statement, "from mysql.user where User = "):
		columns = []string{"Host", "User", "plugin", "account_locked", "password_expired", "ssl_type", "User_attributes", "Select_priv"}
		if a != nil {
			rows = [][]string{{"%", name, "caching_sha2_password", yes(a.locked), "N", "", `{"metadata": ` + a.attribute + `}`, "N"}}
		}
		return columns, rows, ""
	case strings.Contains(statement, "information_schema.user_attributes where USER = "):
		if a != nil {
			rows = [][]string{{name, "%", a.attribute}}
		}
		return []string{"USER", "HOST", "ATTRIBUTE"}, rows, ""
	case strings.Contains(statement, "information_schema.user_attributes where ATTRIBUTE like"):
		for _, name := range slices.Sorted(maps.Keys(m.accounts)) {
			rows = append(rows, []string{name, "%", m.accounts[name].attribute})
		}
		return []string{"USER", "HOST", "ATTRIBUTE"}, rows, ""
	case strings.Contains(statement, "from mysql.db where"):
		columns = []string{"Host", "Db", "User"}
		row := []string{"%", "shop", name}
		for _, c := range slices.Sorted(maps.Values(modelColumns)) {
			columns = append(columns, c)
			row = append(row, yes(a != nil && a.rights[c]))
		}
		if a != nil && len(a.rights) > 0 {
			rows = [][]string{row}
		}
		return columns, rows, ""
	}
	for _, table := range []string{"tables_priv", "procs_priv", "proxies_priv", "role_edges", "default_roles", "global_grants"} {
		if strings.HasPrefix(statement, "select * from mysql."+table+" where ") {
			return []string{"Host", "User"}, nil, ""
		}
	}
	m.t.Errorf("the model does not know: %s", statement)
	return nil, nil, syntax
}

// hear takes the password, encrypted for whoever asks.
func (m *model) hear(c net.Conn) (byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return 0, err
	}
	number, body, err := read(c)
	if m.secure != nil {
		m.told = string(body)
		return number, err
	}
	if err != nil || string(body) != "\x02" {
		return 0, io.EOF
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return 0, err
	}
	if _, err := c.Write(packetOf(number+1, "\x01"+string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))); err != nil {
		return 0, err
	}
	number, body, err = read(c)
	if err != nil {
		return 0, err
	}
	m.told = string(body)
	return number, nil
}

func (m *model) config(t *testing.T, properties string) driver.Config {
	t.Helper()
	m.t = t
	return driver.Config{Endpoint: "db.test:3306", Dialer: m, Properties: []byte(properties),
		Admin: driver.Secrets{"username": patchbay.NewSecret("admin"), "password": patchbay.NewSecret("the administrator's password")}}
}

func openModel(t *testing.T, m *model, properties string) driver.Administrator {
	t.Helper()
	m.accounts = map[string]*modelAccount{}
	target, err := open(t.Context(), m.config(t, properties))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = target.Close() })
	return target.(driver.Administrator)
}

// What MySQL is told, and what is made of its answers: with its mark as an attribute, in
// the statement that makes the account.
func TestAsTheModelOfMySQL84HasIt(t *testing.T) {
	m := &model{version: "8.4.3", cached: true}
	administers := openModel(t, m, `{"sslmode":"disable","passwordPlugin":"caching_sha2_password"}`)
	r := driver.LoginRequest{Mark: driver.Mark{UID: "abc", Generation: 2, Connection: "/it's/a"}, Name: "pb_abc_g2", Sub: "shop", Auth: patchbay.AuthSecret, Access: patchbay.Writer}
	var err error
	if r.Credential, err = administers.NewCredential(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	// It has to be told the password itself, and nobody may listen.
	if err := administers.EnsureLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.CertificateInvalid {
		t.Fatalf("%v, want it refused in the clear", err)
	}
	for _, statement := range m.asked {
		if strings.Contains(statement, r.Credential.Secret["password"].Reveal()) {
			t.Fatal("the password was sent in the clear")
		}
	}
	administers.(*target).server.host = "127.0.0.1" // nobody listens there
	for range 2 {
		if err := administers.EnsureLogin(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.accounts["pb_abc_g2"].attribute; got != `{"patchbay":{"uid":"abc","generation":2,"connection":"/it's/a","kind":"login","name":"pb_abc_g2","database":"shop"}}` {
		t.Errorf("%s", got)
	}
	state, err := administers.InspectLogin(t.Context(), r)
	if err != nil || !state.Ours || len(state.Missing)+len(state.Excess) > 0 {
		t.Errorf("%+v, %v", state, err)
	}
	owned, err := administers.Owned(t.Context())
	if err != nil || len(owned) != 1 || owned[0].Mark != r.Mark || owned[0].Name != r.Name || owned[0].Sub != "shop" {
		t.Errorf("%+v, %v", owned, err)
	}
	m.accounts["pb_abc_g2"].locked = true
	if state, err = administers.InspectLogin(t.Context(), r); err != nil || len(state.Missing) != 1 {
		t.Errorf("%+v, %v", state, err)
	}
	m.accounts["pb_abc_g2"].attribute = "{}"
	if err := administers.EnsureLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.NotOurs {
		t.Errorf("%v, want NotOurs", err)
	}
	if err := administers.RemoveLogin(t.Context(), r); patchbay.CodeOf(err) != patchbay.NotOurs {
		t.Errorf("%v, want NotOurs", err)
	}
	m.accounts["pb_abc_g2"].attribute = markAttribute(r)
	for range 2 {
		if err := administers.RemoveLogin(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	if len(m.accounts) != 0 {
		t.Errorf("%v is left", m.accounts)
	}
}

func markAttribute(r driver.LoginRequest) string {
	text := markOf(r, kindLogin).attribute()
	return strings.ReplaceAll(text[1:len(text)-1], "''", "'")
}

// Who asks for the password itself, and is not proven to be the server, is told nothing.
func TestThePasswordIsToldToNobodyWhoIsNotKnown(t *testing.T) {
	m := &model{version: "8.4.3"}
	_, err := openModel(t, m, `{"sslmode":"disable"}`).Inspect(t.Context(), "")
	if e := patchbay.AsError(err); e == nil || e.Code != patchbay.CertificateInvalid || !strings.Contains(e.Fix, "weakestAuth=password") || m.told != "" {
		t.Errorf("%v; told %q", err, m.told)
	}
	m = &model{version: "8.4.3"}
	if _, err := openModel(t, m, `{"sslmode":"disable","weakestAuth":"password"}`).Owned(t.Context()); err != nil || m.told == "" || strings.Contains(m.told, "administrator") {
		t.Errorf("%v; told %q", err, m.told)
	}
}

// Where its certificate proves who asks, the password is told in TLS, and the session
// goes on in step.
func TestThePasswordIsToldInTLSToWhoIsKnown(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"db.test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	authority, err := json.Marshal(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	if err != nil {
		t.Fatal(err)
	}
	secure := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	m := &model{version: "8.4.3", secure: secure}
	if _, err := openModel(t, m, `{"sslmode":"verify-full","ca":`+string(authority)+`}`).Owned(t.Context()); err != nil || m.told != "the administrator's password\x00" {
		t.Errorf("%v; told %q", err, m.told)
	}
	// Encrypted is not known.
	m = &model{version: "8.4.3", secure: secure}
	_, err = openModel(t, m, `{"sslmode":"require"}`).Owned(t.Context())
	if patchbay.CodeOf(err) != patchbay.CertificateInvalid || m.told != "" {
		t.Errorf("%v; told %q", err, m.told)
	}
}

func TestServersThatAreTooOldAreRefused(t *testing.T) {
	for version, needed := range map[string]string{
		"5.7.44": "8.0.21", "8.0.20": "8.0.21", "8.0.11-TiDB-v7.5.0": "8.0.21", "10.4.34-MariaDB": "10.5", "5.5.5-10.3.39-MariaDB-1": "10.5",
		"8.0.21": "", "8.0.28.mysql_aurora.3.04": "", "8.4.3": "", "9.1.0": "", "10.5.0-MariaDB": "", "11.4.2-MariaDB-log": "", "5.5.5-10.11.6-MariaDB": "",
	} {
		err := parseProduct(version).tooOld("db.test:3306")
		if (err == nil) != (needed == "") || err != nil && (patchbay.CodeOf(err) != patchbay.NotSupported || !strings.Contains(err.Error(), needed+" is needed")) {
			t.Errorf("%s: %v", version, err)
		}
	}
	m := &model{version: "5.7.44", cached: true}
	if _, err := openModel(t, m, `{"sslmode":"disable"}`).Inspect(t.Context(), ""); patchbay.CodeOf(err) != patchbay.NotSupported {
		t.Errorf("%v", err)
	}
}

// Names of logins may be longer than a server's accounts are.
func TestAccountsAreStableAndShortEnough(t *testing.T) {
	long := "pb_" + strings.Repeat("a", 30) + "_g12345"
	if got := account("pb_abc_g1"); got != "pb_abc_g1" {
		t.Errorf("%s", got)
	}
	if one, two := account(long), account(long[:39]+"6"); len(one) != maxAccount || one == two || one != account(long) || !loginName.MatchString(one) {
		t.Errorf("%s, %s", one, two)
	}
}

func TestFromWhereALoginMaySignIn(t *testing.T) {
	for text, want := range map[string]string{
		"": "[%]", "10.1.2.3/32": "[10.1.2.3]", "10.1.2.0/24": "[10.1.2.0/255.255.255.0]", "10.1.2.3/20": "[10.1.0.0/255.255.240.0]", "0.0.0.0/0": "[%]", "::/0": "[%]",
		"fd00::1/128": "[fd00::1]", "::ffff:10.0.0.1/128": "[10.0.0.1]", "::ffff:10.0.0.0/104": "[10.0.0.0/255.0.0.0]", "fd00::/64": "NotSupported",
	} {
		var sources []netip.Prefix
		if text != "" {
			sources = append(sources, netip.MustParsePrefix(text))
		}
		all, err := hosts(sources)
		if got := fmt.Sprint(all); err == nil && got != want || err != nil && string(patchbay.CodeOf(err)) != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
}

// What no server says is refused before the client library makes room for it, or reads
// a file of this machine.
func TestWhatNoServerSaysIsRefused(t *testing.T) {
	for name, said := range map[string]string{
		"columns of 2^64": "\xfe\xff\xff\xff\xff\xff\xff\xff\xff", "columns of 2^24": "\xfd\xff\xff\xff", "columns of 2^16": "\xfc\xff\xff", "a file": "\xfb/etc/passwd",
	} {
		budget := driver.NewBudget("db.test:3306", driver.CallBytes)
		w := &wire{budget: budget, server: &server{}, answers: true, from: bufio.NewReader(strings.NewReader(string(packetOf(1, said))))}
		n, err := w.Read(make([]byte, 100))
		if n != 0 || patchbay.CodeOf(err) != patchbay.TargetMisbehaved {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
	budget := driver.NewBudget("db.test:3306", driver.CallBytes)
	w := &wire{budget: budget, server: &server{}, from: bufio.NewReader(strings.NewReader("\xff\xff\xff\x00"))}
	if _, err := w.Read(make([]byte, 100)); patchbay.CodeOf(err) != patchbay.TargetMisbehaved {
		t.Errorf("%v", err)
	}
}
