package mosquitto_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/mosquitto"
)

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func opened(t *testing.T, c driver.Config) drivertest.Opened {
	t.Helper()
	if c.Dialer == nil {
		c.Dialer = &net.Dialer{}
	}
	return drivertest.OpenTarget(t, mosquitto.Driver(), c)
}

// asked is a request for the login of a connection's first generation.
func asked(t *testing.T, target drivertest.Opened, uid string, access patchbay.Access, options map[string]string) driver.LoginRequest {
	t.Helper()
	r := driver.LoginRequest{
		Mark: driver.Mark{UID: uid, Generation: 1, Connection: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/web/providers/Microsoft.ServiceLinker/linkers/orders"},
		Name: "pb_" + uid + "_g1", Auth: patchbay.AuthSecret, Access: access, Options: options,
	}
	c, err := target.NewCredential(soon(t), r)
	if err != nil {
		t.Fatal(err)
	}
	r.Credential = c
	return r
}

// made is asked, and there.
func made(t *testing.T, target drivertest.Opened, uid string, access patchbay.Access, options map[string]string) driver.LoginRequest {
	t.Helper()
	r := asked(t, target, uid, access, options)
	if err := target.EnsureLogin(soon(t), r); err != nil {
		t.Fatal(err)
	}
	return r
}

// exact fails unless the login is there, with exactly its rights, and signs in.
func exact(t *testing.T, s *testenv.MosquittoServer, target drivertest.Opened, r driver.LoginRequest) {
	t.Helper()
	state, err := target.InspectLogin(soon(t), r)
	if err != nil || !state.Exists || !state.Ours || len(state.Missing)+len(state.Excess) > 0 {
		t.Fatalf("%+v, %v", state, err)
	}
	c, err := signIn(soon(t), s, r.Credential)
	if err != nil {
		t.Fatal(err)
	}
	c.Bye()
}

func wantCode(t *testing.T, err error, want patchbay.Code) *patchbay.Error {
	t.Helper()
	if patchbay.CodeOf(err) != want {
		t.Fatalf("%v, want %s", err, want)
	}
	return patchbay.AsError(err)
}

// shell runs a fix as an administrator does, whose mosquitto_ctrl finds the broker.
func shell(t *testing.T, s *testenv.MosquittoServer, fix string) {
	t.Helper()
	home := t.TempDir()
	options := fmt.Sprintf("-h %s\n-p %d\n-u %s\n-P %s\n", s.Host, s.Port, s.Admin, s.Password)
	if err := os.WriteFile(filepath.Join(home, "mosquitto_ctrl"), []byte(options), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(soon(t), "sh", "-c", fix)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "XDG_CONFIG_HOME=" + home, "HOME=" + home}
	// What is there already it complains of, and does the rest.
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Logf("%s: %v\n%s", fix, err, out)
	}
}

func TestAnAdministratorNeedsTheRightsThatTheFixGives(t *testing.T) {
	s := testenv.Mosquitto(t, testenv.MosquittoConfig{})
	const name = "it's \"pb\""
	if err := s.MustControl(soon(t), map[string]any{"command": "createClient", "username": name, "password": "pw"}); err != nil {
		t.Fatal(err)
	}
	c := register(s, scope)
	c.Admin = driver.Secrets{"username": patchbay.NewSecret(name), "password": patchbay.NewSecret("pw")}
	target := opened(t, c)
	_, err := target.Inspect(soon(t), "")
	e := wantCode(t, err, patchbay.AdminRights)
	shell(t, s, e.Fix)
	info, err := target.Inspect(soon(t), "")
	if err != nil || !strings.HasPrefix(info.Version, "2.") || len(info.Warnings) > 0 {
		t.Fatalf("after the fix: %+v, %v", info, err)
	}
	r := made(t, target, "adm", patchbay.Writer, options)
	exact(t, s, target, r)
	// Each is needed, and taken away later it is told, before anything has happened.
	const role = "patchbay-administrator"
	for _, right := range [][2]string{
		{"subscribeLiteral", "$CONTROL/dynamic-security/v1/response"}, {"publishClientSend", "$CONTROL/dynamic-security/v1"},
	} {
		err := s.MustControl(soon(t), map[string]any{"command": "removeRoleACL", "rolename": role, "acltype": right[0], "topic": right[1]})
		if err != nil {
			t.Fatal(err)
		}
		e := wantCode(t, target.RemoveLogin(soon(t), r), patchbay.AdminRights)
		exact(t, s, opened(t, register(s, scope)), r)
		shell(t, s, e.Fix)
	}
	// What is not denied may be received by default: it has to be denied to be missing.
	if err := s.MustControl(soon(t), map[string]any{"command": "removeRoleACL", "rolename": role, "acltype": "publishClientReceive", "topic": "$CONTROL/dynamic-security/v1/response"},
		map[string]any{"command": "setDefaultACLAccess", "acls": []map[string]any{{"acltype": "publishClientReceive", "allow": false}}}); err != nil {
		t.Fatal(err)
	}
	_, err = target.Inspect(soon(t), "")
	e = wantCode(t, err, patchbay.AdminRights)
	shell(t, s, e.Fix)
	if err := target.RemoveLogin(soon(t), r); err != nil {
		t.Error(err)
	}
}

func TestWhoIsRefusedAndWhoIsNoBrokerOfOurs(t *testing.T) {
	s := testenv.Mosquitto(t, testenv.MosquittoConfig{})
	c := register(s, nil)
	c.Admin = driver.Secrets{"username": patchbay.NewSecret("admin"), "password": patchbay.NewSecret("somebody's-else")}
	_, err := opened(t, c).Inspect(soon(t), "")
	e := wantCode(t, err, patchbay.AdminRefused)
	if e.Fix == "" || strings.Contains(e.Error()+e.Fix, "somebody's-else") {
		t.Errorf("%v, %s", e, e.Fix)
	}
	bare := testenv.Mosquitto(t, testenv.MosquittoConfig{NoPlugin: true})
	_, err = opened(t, register(bare, nil)).Inspect(soon(t), "")
	if e := wantCode(t, err, patchbay.NotSupported); !strings.Contains(e.Message, "no dynamic security plugin") {
		t.Error(e)
	}
	_, err = opened(t, register(s, nil)).Inspect(soon(t), "shop")
	_ = wantCode(t, err, patchbay.ChildMissing)
}

func TestLoginsSurviveARestartAndABrokerThatCouldNotSaveForgetsThem(t *testing.T) {
	s := testenv.Mosquitto(t, testenv.MosquittoConfig{})
	target := opened(t, register(s, scope))
	kept := made(t, target, "kept", patchbay.Writer, options)
	if err := s.Restart(soon(t)); err != nil {
		t.Fatal(err)
	}
	exact(t, s, target, kept)
	// Neither the file nor its directory is writable for the broker any more.
	chmod := func(file, dir os.FileMode) {
		t.Helper()
		if err := errors.Join(os.Chmod(filepath.Join(s.ConfigDir(), "dynamic-security.json"), file), os.Chmod(s.ConfigDir(), dir)); err != nil {
			t.Fatal(err)
		}
	}
	chmod(0o400, 0o500)
	forgotten := made(t, target, "forgotten", patchbay.Writer, options)
	exact(t, s, target, forgotten)
	if err := s.Restart(soon(t)); err != nil {
		t.Fatal(err)
	}
	exact(t, s, target, kept)
	state, err := target.InspectLogin(soon(t), forgotten)
	if err != nil || state.Exists {
		t.Fatalf("%+v, %v", state, err)
	}
	if owned, err := target.Owned(soon(t)); err != nil || len(owned) != 1 {
		t.Errorf("%v, %v", owned, err)
	}
	chmod(0o600, 0o700)
	if err := target.EnsureLogin(soon(t), forgotten); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(soon(t)); err != nil {
		t.Fatal(err)
	}
	exact(t, s, target, forgotten)
}

func TestTLSSaysWhoIsToldThePassword(t *testing.T) {
	s := testenv.Mosquitto(t, testenv.MosquittoConfig{Secure: true})
	target := opened(t, register(s, scope))
	info, err := target.Inspect(soon(t), "")
	if err != nil || info.TLS == "" || info.Values["ssl"] != "true" || info.Values["ca"] != string(s.CA) || len(info.Warnings) > 0 {
		t.Fatalf("%+v, %v", info, err)
	}
	r := made(t, target, "tls", patchbay.Writer, options)
	exact(t, s, target, r)
	result, err := target.Probe(soon(t), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Access: r.Access, Options: r.Options})
	if err != nil || result.TLS == "" {
		t.Errorf("%+v, %v", result, err)
	}
	other := testenv.Mosquitto(t, testenv.MosquittoConfig{Secure: true})
	stranger := register(s, map[string]any{"tls": map[string]any{"ca": string(other.CA)}})
	_, err = opened(t, stranger).Inspect(soon(t), "")
	if e := wantCode(t, err, patchbay.CertificateInvalid); e.Fix == "" {
		t.Error("no fix")
	}
	named := register(s, map[string]any{"tls": map[string]any{"ca": string(s.CA), "serverName": "localhost"}})
	if _, err := opened(t, named).Inspect(soon(t), ""); err != nil {
		t.Error(err)
	}
	misnamed := register(s, map[string]any{"tls": map[string]any{"ca": string(s.CA), "serverName": "mqtt.example"}})
	_, err = opened(t, misnamed).Inspect(soon(t), "")
	_ = wantCode(t, err, patchbay.CertificateInvalid)
	// An application whose library looks for the name that it connects to.
	nameless := opened(t, register(s, map[string]any{"tls": map[string]any{"mode": "verify-ca", "ca": string(s.CA), "serverName": "mqtt.example"}}))
	if _, err := nameless.Inspect(soon(t), ""); err != nil {
		t.Error(err)
	}
	_, err = opened(t, register(s, map[string]any{"tls": map[string]any{"mode": "verify-ca", "ca": string(s.CA), "serverName": "mqtt.example"}})).
		Probe(soon(t), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Reading: driver.Reading{Mode: driver.TLSVerifyFull, Named: true}})
	_ = wantCode(t, err, patchbay.CertificateInvalid)
}

// recorder remembers what is sent.
type recorder struct {
	mu   sync.Mutex
	sent bytes.Buffer
	to   string // another address than the one that is asked for; "": that one
	// change is what comes instead of what the broker sends.
	change func([]byte)
	before func(text []byte)
}

func (r *recorder) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if r.to != "" {
		address = r.to
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	return &recorded{conn, r}, err
}

type recorded struct {
	net.Conn
	r *recorder
}

func (c *recorded) Write(p []byte) (int, error) {
	c.r.mu.Lock()
	c.r.sent.Write(p)
	c.r.mu.Unlock()
	if c.r.before != nil {
		c.r.before(p)
	}
	return c.Conn.Write(p)
}

func (c *recorded) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.r.change != nil {
		c.r.change(p[:n])
	}
	return n, err
}

func TestNoPasswordIsToldToWhoIsNotKnown(t *testing.T) {
	s := testenv.Mosquitto(t, testenv.MosquittoConfig{})
	password := "a-password-that-nobody-hears"
	covered := register(s, map[string]any{"tls": map[string]any{}})
	covered.Endpoint = "mqtts://" + s.Addr()
	covered.Admin["password"] = patchbay.NewSecret(password)
	heard := &recorder{}
	covered.Dialer = heard
	_, err := opened(t, covered).Inspect(soon(t), "") // a broker without TLS hangs up on it
	if e := wantCode(t, err, patchbay.TargetUnreachable); !strings.Contains(e.Fix, "tls.mode=disable") {
		t.Errorf("%v, %s", e, e.Fix)
	}
	if heard.sent.Len() == 0 || strings.Contains(heard.sent.String(), password) {
		t.Error("the password was sent, or nothing was")
	}
	for name, c := range map[string]driver.Config{
		"in the clear, and nothing says that it may be": {Endpoint: "mqtt://10.0.0.1", Properties: []byte(`{}`)},
		"off, and the scheme says TLS":                  {Endpoint: "mqtts://10.0.0.1", Properties: []byte(`{"tls":{"mode":"disable"}}`)},
		"of any name, of any authority":                 {Endpoint: "10.0.0.1", Properties: []byte(`{"tls":{"mode":"verify-ca"}}`)},
		"checks nothing":                                {Endpoint: "10.0.0.1", Properties: []byte(`{"tls":{"mode":"require"}}`)},
		"off, with an authority":                        {Endpoint: "10.0.0.1", Properties: []byte(`{"tls":{"mode":"disable","ca":"x"}}`)},
		"a login in the URL":                            {Endpoint: "mqtts://u:p@10.0.0.1"},
		"two brokers":                                   {Endpoint: "mqtts://10.0.0.1,10.0.0.2"},
		"a topic that is none":                          {Endpoint: "10.0.0.1", Properties: []byte(`{"topics":["a#"]}`)},
		"a page in place of a websocket":                {Endpoint: "10.0.0.1", Properties: []byte(`{"websocket":"https://x"}`)},
	} {
		c.ID, c.Admin, c.Dialer = register(s, nil).ID, register(s, nil).Admin, &net.Dialer{}
		_, err := mosquitto.Driver().Open(soon(t), c)
		if patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAProbeReachesNobody: who hears everything hears nothing of it, and the broker keeps
// nothing.
func TestAProbeReachesNobody(t *testing.T) {
	s := testenv.Mosquitto(t, testenv.MosquittoConfig{})
	target := opened(t, register(s, scope))
	ear, err := publisher(soon(t), s)
	if err != nil {
		t.Fatal(err)
	}
	defer ear.Bye()
	if err := subscribe("#")(soon(t), ear); err != nil {
		t.Fatal(err)
	}
	if _, err := ear.Publish(soon(t), &paho.Publish{Topic: "orders/new", QoS: 1, Retain: true, Payload: []byte("kept")}); err != nil {
		t.Fatal(err)
	}
	if m := <-ear.Received; string(m.Payload) != "kept" {
		t.Fatalf("%s", m.Payload)
	}
	r := made(t, target, "quiet", patchbay.Writer, options)
	result, err := target.Probe(soon(t), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Access: r.Access, Options: r.Options})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", result)
	for _, want := range []string{"publish to invoices/#", "subscribe to orders/+"} {
		if !strings.Contains(strings.Join(result.Allowed, "\n"), want) {
			t.Errorf("it did not %s", want)
		}
	}
	// The next that is heard is what comes after it.
	if _, err := ear.Publish(soon(t), &paho.Publish{Topic: "orders/after", QoS: 1, Payload: []byte("after")}); err != nil {
		t.Fatal(err)
	}
	if m := <-ear.Received; string(m.Payload) != "after" {
		t.Errorf("the probe published %q to %s", m.Payload, m.Topic)
	}
}

func TestABrokerThatTakesNoOffersIsNotTriedToPublish(t *testing.T) {
	s := testenv.Mosquitto(t, testenv.MosquittoConfig{Lines: []string{"max_qos 1"}})
	target := opened(t, register(s, scope))
	r := made(t, target, "qos", patchbay.Writer, options)
	result, err := target.Probe(soon(t), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Access: r.Access, Options: r.Options})
	if err != nil || len(result.NotChecked) == 0 || strings.Contains(strings.Join(result.Allowed, "\n"), "publish") {
		t.Errorf("%+v, %v", result, err)
	}
}

// TestASessionThatIsKeptBringsNobodyAnothersMessages: a broker gives a client id's session to
// whoever comes with that id. What a login may not receive, it does not even so; a client of
// somebody's whose role denies nothing does.
func TestASessionThatIsKeptBringsNobodyAnothersMessages(t *testing.T) {
	s := testenv.Mosquitto(t, testenv.MosquittoConfig{})
	target := opened(t, register(s, nil))
	ours := made(t, target, "theirs", patchbay.Reader, map[string]string{"topics": "orders/#"})
	other := made(t, target, "other", patchbay.Reader, map[string]string{"topics": "payroll/#"})
	connect := func(name, password, id string) *testenv.MosquittoClient {
		c, _, err := s.Connect(soon(t), name, password, id, true)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	as := func(r driver.LoginRequest, id string) *testenv.MosquittoClient {
		return connect(r.Name, r.Credential.Secret["password"].Reveal(), id)
	}
	p, err := publisher(soon(t), s)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Bye()
	say := func(topic string) {
		if err := publish(topic, false)(soon(t), p); err != nil {
			t.Fatal(err)
		}
	}
	// took says what somebody gets who takes a session over in which ours had
	// subscribed to its topics.
	took := func(id string, thief func() *testenv.MosquittoClient) (topics []string) {
		first := as(ours, id)
		if err := subscribe("orders/#")(soon(t), first); err != nil {
			t.Fatal(err)
		}
		first.Bye()
		say("orders/while-away")
		c := thief()
		defer c.Bye()
		say("orders/while-there")
		if err := subscribe("payroll/#")(soon(t), c); err != nil {
			t.Fatal(err)
		}
		say("payroll/last")
		for m := range c.Received {
			if topics = append(topics, m.Topic); m.Topic == "payroll/last" {
				break
			}
		}
		return topics
	}
	if got := took("kitchen", func() *testenv.MosquittoClient { return as(other, "kitchen") }); len(got) != 1 {
		t.Errorf("another login received %v", got)
	}
	if err := s.MustControl(soon(t), map[string]any{"command": "createRole", "rolename": "lax", "acls": []map[string]any{{"acltype": "subscribePattern", "topic": "payroll/#", "allow": true}}},
		map[string]any{"command": "createClient", "username": "lax", "password": "lax"}, map[string]any{"command": "addClientRole", "username": "lax", "rolename": "lax"}); err != nil {
		t.Fatal(err)
	}
	if got := took("cellar", func() *testenv.MosquittoClient { return connect("lax", "lax", "cellar") }); len(got) == 1 {
		t.Error("a client whose role denies nothing received nothing: the test shows nothing")
	}
	// A removed login's session gets nothing more, whoever comes back to it.
	back := as(ours, "attic")
	if err := subscribe("orders/#")(soon(t), back); err != nil {
		t.Fatal(err)
	}
	if err := target.RemoveLogin(soon(t), ours); err != nil {
		t.Fatal(err)
	}
	<-back.Closed
	say("orders/after-removal")
	again := connect("lax", "lax", "attic")
	defer again.Bye()
	if err := subscribe("payroll/#")(soon(t), again); err != nil {
		t.Fatal(err)
	}
	say("payroll/last")
	if m := <-again.Received; m.Topic != "payroll/last" {
		t.Errorf("it received %s", m.Topic)
	}
}

func TestNamesThatLookLikeOursAreSomebodyElses(t *testing.T) {
	s := testenv.Mosquitto(t, testenv.MosquittoConfig{})
	target := opened(t, register(s, scope))
	r := made(t, target, "decoy", patchbay.Writer, options)
	var decoys []string
	for _, name := range []string{"pb_decoy_g", "pb_decoy_g11", "pb_decoy_g1 ", "PB_decoy_g1", "pb_decoy_g1/#", "pb_Decoy_g1", "xpb_decoy_g1", "pb_decoy_g1'; --"} {
		decoys = append(decoys, name)
		if err := s.MustControl(soon(t), map[string]any{"command": "createClient", "username": name, "password": "x"}, map[string]any{"command": "createRole", "rolename": name}); err != nil {
			t.Fatal(err)
		}
	}
	// One that says to be of a connection of ours, and is not called so.
	if err := s.MustControl(soon(t), map[string]any{"command": "createClient", "username": "somebody", "password": "x", "textdescription": `patchbay {"uid":"decoy","generation":1}`}); err != nil {
		t.Fatal(err)
	}
	owned, err := target.Owned(soon(t))
	if err != nil || len(owned) != 1 || owned[0].Name != r.Name || owned[0].Mark != r.Mark {
		t.Errorf("%+v, %v", owned, err)
	}
	if err := target.RemoveLogin(soon(t), r); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(decoys, "somebody") {
		if err := s.MustControl(soon(t), map[string]any{"command": "getClient", "username": name}); err != nil {
			t.Error(err)
		}
	}
}

// TestSomebodyElseIsFaster makes a client of the name between a look and what follows from
// it.
func TestSomebodyElseIsFaster(t *testing.T) {
	s := testenv.Mosquitto(t, testenv.MosquittoConfig{})
	for _, c := range []struct{ at, uid string }{{"createRole", "early"}, {"createClient", "late"}} {
		t.Run(c.at, func(t *testing.T) {
			var once sync.Once
			name := "pb_" + c.uid + "_g1"
			var raced error
			config := register(s, scope)
			config.Dialer = &recorder{before: func(text []byte) {
				if bytes.Contains(text, []byte(`"command":"`+c.at+`"`)) {
					once.Do(func() {
						raced = s.MustControl(context.Background(), map[string]any{"command": "createClient", "username": name, "password": "theirs"})
					})
				}
			}}
			target := opened(t, config)
			r := asked(t, target, c.uid, patchbay.Writer, options)
			err := target.EnsureLogin(soon(t), r)
			if raced != nil {
				t.Fatal(raced)
			}
			_ = wantCode(t, err, patchbay.NotOurs)
			answers, err := s.Control(soon(t), map[string]any{"command": "getClient", "username": name}, map[string]any{"command": "getRole", "rolename": name})
			if err != nil {
				t.Fatal(err)
			}
			if text := fmt.Sprint(answers[0]["data"]); strings.Contains(text, "rolename") || strings.Contains(text, "textdescription") {
				t.Errorf("their client became %s", text)
			}
			if answers[1]["error"] == nil {
				t.Errorf("a role was left: %v", answers[1])
			}
			other, _, err := s.Connect(soon(t), name, "theirs", "", false)
			if err != nil {
				t.Fatal(err)
			}
			other.Bye()
		})
	}
}

// TestWhatACrashLeftIsFoundAndRemoved: a role is made before its client.
func TestWhatACrashLeftIsFoundAndRemoved(t *testing.T) {
	s := testenv.Mosquitto(t, testenv.MosquittoConfig{})
	target := opened(t, register(s, scope))
	r := made(t, target, "crash", patchbay.Reader, options)
	if err := s.MustControl(soon(t), map[string]any{"command": "deleteClient", "username": r.Name}); err != nil {
		t.Fatal(err)
	}
	owned, err := target.Owned(soon(t))
	if err != nil || len(owned) != 1 {
		t.Errorf("%v, %v", owned, err)
	}
	if err := target.RemoveLogin(soon(t), r); err != nil {
		t.Fatal(err)
	}
	if owned, err := target.Owned(soon(t)); err != nil || len(owned) != 0 {
		t.Errorf("%v, %v", owned, err)
	}
}

// TestARepairEndsNoSession: what is right is left alone.
func TestARepairOfWhatIsRightEndsNoSession(t *testing.T) {
	s := testenv.Mosquitto(t, testenv.MosquittoConfig{})
	target := opened(t, register(s, scope))
	r := made(t, target, "alive", patchbay.Writer, options)
	c, err := signIn(soon(t), s, r.Credential)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Bye()
	if err := target.EnsureLogin(soon(t), r); err != nil {
		t.Fatal(err)
	}
	if err := publish("orders/new", false)(soon(t), c); err != nil {
		t.Errorf("the session was ended: %v", err)
	}
}

func TestABrokerThatIsOpenToAllIsWarnedOf(t *testing.T) {
	s := testenv.Mosquitto(t, testenv.MosquittoConfig{Lines: []string{"sys_interval 0"}})
	err := s.MustControl(soon(t),
		map[string]any{"command": "setDefaultACLAccess", "acls": []map[string]any{
			{"acltype": "publishClientSend", "allow": true}, {"acltype": "publishClientReceive", "allow": true}, {"acltype": "subscribe", "allow": true}}},
		map[string]any{"command": "createGroup", "groupname": "guests"}, map[string]any{"command": "setAnonymousGroup", "groupname": "guests"})
	if err != nil {
		t.Fatal(err)
	}
	target := opened(t, register(s, scope))
	info, err := target.Inspect(soon(t), "")
	if err != nil || len(info.Warnings) != 4 || info.Version == "" {
		t.Fatalf("%+v, %v", info, err)
	}
	// And what logins are not given is denied to them all the same.
	r := made(t, target, "open", patchbay.Writer, options)
	for _, a := range actions(s) {
		if strings.Contains(a.Name, "dollar sign") {
			continue // said in the warning
		}
		err := a.Do(soon(t), "", r.Credential)
		if allowed := len(a.Allowed) > 0; allowed != (err == nil) || err != nil && !errors.Is(err, drivertest.ErrRefused) {
			t.Errorf("%s: %v", a.Name, err)
		}
	}
	if _, err := target.Probe(soon(t), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Access: r.Access, Options: r.Options}); err != nil {
		t.Error(err)
	}
}

func TestAnOlderBrokerIsRefused(t *testing.T) {
	s := testenv.Mosquitto(t, testenv.MosquittoConfig{})
	c := register(s, nil)
	c.Dialer = &recorder{change: func(b []byte) {
		if i := bytes.Index(b, []byte("mosquitto version 2.0.")); i >= 0 {
			copy(b[i:], "mosquitto version 1.6.")
		}
	}}
	_, err := opened(t, c).Inspect(soon(t), "")
	if e := wantCode(t, err, patchbay.NotSupported); !strings.Contains(e.Message, "2.0 is needed") {
		t.Error(e)
	}
}
