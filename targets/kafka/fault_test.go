package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/kafka"
)

// login is a request with its credential.
func login(t *testing.T, target driver.Administrator, uid string, access patchbay.Access, options map[string]string) driver.LoginRequest {
	t.Helper()
	r := driver.LoginRequest{
		Mark: driver.Mark{UID: uid, Generation: 1, Connection: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Web/sites/it's, a=\"web\"&uid=x/*"},
		Name: "pb_" + uid + "_g1", Auth: patchbay.AuthSecret, Access: access, Options: options,
	}
	c, err := target.NewCredential(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	r.Credential = c
	return r
}

func made(t *testing.T, target driver.Administrator, uid string, access patchbay.Access, options map[string]string) driver.LoginRequest {
	t.Helper()
	r := login(t, target, uid, access, options)
	if err := target.EnsureLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return r
}

func wantCode(t *testing.T, err error, want patchbay.Code, words ...string) *patchbay.Error {
	t.Helper()
	if patchbay.CodeOf(err) != want {
		t.Fatalf("%v, want %s", err, want)
	}
	e := patchbay.AsError(err)
	for _, word := range words {
		if !strings.Contains(e.Message+" "+e.Fix, word) {
			t.Errorf("%s / %s: nothing of %q", e.Message, e.Fix, word)
		}
	}
	return e
}

func TestARaceForTheNameIsLost(t *testing.T) {
	c := cluster(t, testenv.KafkaOptions{})
	target := drivertest.OpenTarget(t, kafka.Driver(), register(c, scope))
	r := login(t, target, "race", patchbay.Writer, nil)
	// Between our mark and our credential somebody makes one of that name.
	var came atomic.Bool
	c.ControlKey(30, func(kmsg.Request) (kmsg.Response, error, bool) { // CreateACLs
		c.KeepControl()
		if came.Swap(true) {
			return nil, nil, false
		}
		c.SleepControl(func() {
			if err := c.As(t.Context(), func(cl *kgo.Client) error { return scramOf(t.Context(), cl, r.Name, 2, 8192) }); err != nil {
				t.Error(err)
			}
		})
		return nil, nil, false
	})
	_ = wantCode(t, target.EnsureLogin(t.Context(), r), patchbay.NotOurs, "nothing of it was touched")
	if now := stateOf(t, c, r.Name); !strings.Contains(now, "8192") || !strings.Contains(now, " 0 ") {
		t.Errorf("somebody else's login is %s", now)
	}
	_ = wantCode(t, target.RemoveLogin(t.Context(), r), patchbay.NotOurs)
}

func TestNamesThatAreOnlyLikeOursAreLeftAlone(t *testing.T) {
	c := cluster(t, testenv.KafkaOptions{})
	target := drivertest.OpenTarget(t, kafka.Driver(), register(c, scope))
	decoys := []string{"pb_like_g1x", "pb_like_g10", "xpb_like_g1", "PB_LIKE_G1", "pb_like_g1 ", "pb_like"}
	before := map[string]string{}
	for _, name := range decoys {
		err := c.As(t.Context(), func(cl *kgo.Client) error {
			return errors.Join(scramOf(t.Context(), cl, name, 2, 4096), acl(t.Context(), cl, name, func(c *kmsg.CreateACLsRequestCreation) {
				c.ResourceType, c.ResourceName, c.Operation = kmsg.ACLResourceTypeTopic, "invoices", kmsg.ACLOperationRead
			}))
		})
		if err != nil {
			t.Fatal(err)
		}
		before[name] = stateOf(t, c, name)
	}
	// One that is marked as another's is not ours either.
	marked := login(t, target, "marked", patchbay.Reader, nil)
	err := c.As(t.Context(), func(cl *kgo.Client) error {
		return acl(t.Context(), cl, marked.Name, func(c *kmsg.CreateACLsRequestCreation) {
			c.ResourceType, c.ResourceName, c.Operation, c.PermissionType = kmsg.ACLResourceTypeGroup, "patchbay-principal?connection=x&generation=1&uid=another", kmsg.ACLOperationAll, kmsg.ACLPermissionTypeDeny
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	_ = wantCode(t, target.EnsureLogin(t.Context(), marked), patchbay.NotOurs)
	_ = wantCode(t, target.RemoveLogin(t.Context(), marked), patchbay.NotOurs)

	r := made(t, target, "like", patchbay.Owner, nil)
	if owned, err := target.Owned(t.Context()); err != nil || len(owned) != 2 || !slices.ContainsFunc(owned, func(o driver.Owned) bool { return o.Mark == r.Mark && o.Name == r.Name }) {
		t.Errorf("%+v, %v", owned, err)
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	for name, was := range before {
		if now := stateOf(t, c, name); now != was {
			t.Errorf("%q was %s, and is %s", name, was, now)
		}
	}
}

func TestHostileNamesAreRefused(t *testing.T) {
	c := cluster(t, testenv.KafkaOptions{})
	target := drivertest.OpenTarget(t, kafka.Driver(), register(c, nil))
	for _, name := range []string{"", "pb_A_g1", "*", "pb_*_g1", "pb_x_g1,User:*", "pb_x\x00_g1", "pb_" + strings.Repeat("x", 300) + "_g1", "ANONYMOUS"} {
		r := driver.LoginRequest{Mark: driver.Mark{UID: "x", Generation: 1}, Name: name, Auth: patchbay.AuthSecret, Access: patchbay.Reader, Options: map[string]string{"topics": "orders.*"}}
		_ = wantCode(t, target.EnsureLogin(t.Context(), r), patchbay.InvalidArgument)
		_ = wantCode(t, target.RemoveLogin(t.Context(), r), patchbay.InvalidArgument)
	}
	for option, values := range map[string][]string{
		"topics":        {"", "*", "_*", "__consumer_offsets", "__c*", "a b", "orders.*.x", "..", "ö", strings.Repeat("x", 250), "x\ny"},
		"groups":        {"*", "a b", "a\"", "a'b", "x*y"},
		"transactional": {"*", " *", "a\x00"},
		"hosts":         {"*", "10.0.0.0/8", "db.test", "0.0.0.0", "fe80::1%eth0"},
		"tpoics":        {"orders"},
	} {
		for _, value := range values {
			options := map[string]string{"topics": "orders.*"}
			options[option] = value
			r := driver.LoginRequest{Mark: driver.Mark{UID: "x", Generation: 1}, Name: "pb_x_g1", Auth: patchbay.AuthSecret, Access: patchbay.Reader, Options: options}
			_, err := target.NewCredential(t.Context(), r)
			_ = wantCode(t, err, patchbay.InvalidArgument)
		}
	}
}

func TestARequestStaysWithinTheRegistration(t *testing.T) {
	c := cluster(t, testenv.KafkaOptions{})
	target := drivertest.OpenTarget(t, kafka.Driver(), register(c, map[string]any{"topics": []string{"orders.*"}, "groups": []string{"billing-*"}}))
	for options, ok := range map[[2]string]bool{
		{"topics", "orders.new"}: true, {"topics", "orders.eu.*"}: true, {"topics", "orders*"}: false, {"topics", "payroll"}: false, {"topics", "orders.new,payroll"}: false,
		{"groups", "billing-1"}: true, {"groups", "billing*"}: false, {"groups", "other"}: false,
	} {
		r := driver.LoginRequest{Mark: driver.Mark{UID: "x", Generation: 1}, Name: "pb_x_g1", Auth: patchbay.AuthSecret, Access: patchbay.Writer, Options: map[string]string{options[0]: options[1]}}
		_, err := target.NewCredential(t.Context(), r)
		if ok != (err == nil) {
			t.Errorf("%v: %v", options, err)
		}
	}
	r := login(t, target, "x", patchbay.Writer, nil)
	if got := r.Credential.Public["group"]; got != "billing-pb_x" {
		t.Errorf("the group is %q", got)
	}
}

func TestRightsCountFromTheNamedAddressesAlone(t *testing.T) {
	c := cluster(t, testenv.KafkaOptions{})
	target := drivertest.OpenTarget(t, kafka.Driver(), register(c, scope))
	for hosts, ok := range map[string]bool{"127.0.0.1": true, "127.0.0.1,192.0.2.1": true, "192.0.2.1": false} {
		r := made(t, target, fmt.Sprintf("h%d", len(hosts)), patchbay.Reader, map[string]string{"hosts": hosts})
		if state, err := target.InspectLogin(t.Context(), r); err != nil || len(state.Missing)+len(state.Excess) > 0 {
			t.Errorf("%+v, %v", state, err)
		}
		err := as(c, consume("invoices"))(t.Context(), "", r.Credential)
		if ok && err != nil || !ok && !errors.Is(err, drivertest.ErrRefused) {
			t.Errorf("from 127.0.0.1 with hosts %s: %v", hosts, err)
		}
	}
}

func TestTheAdministratorsRights(t *testing.T) {
	c := cluster(t, testenv.KafkaOptions{})
	t.Run("wrong password", func(t *testing.T) {
		config := register(c, scope)
		config.Admin = driver.Secrets{"username": patchbay.NewSecret(c.Admin), "password": patchbay.NewSecret("not-the-password")}
		target := drivertest.OpenTarget(t, kafka.Driver(), config)
		_, err := target.Inspect(t.Context(), "")
		if e := wantCode(t, err, patchbay.AdminRefused, "--entity-name 'patchbay-admin'"); e.Transient {
			t.Error("it is transient")
		}
	})
	for _, may := range []kmsg.ACLOperation{kmsg.ACLOperationAlter, kmsg.ACLOperationDescribe} {
		t.Run("without "+may.String(), func(t *testing.T) {
			target := drivertest.OpenTarget(t, kafka.Driver(), register(c, scope))
			r := made(t, target, "rights"+strings.ToLower(may.String()), patchbay.Writer, nil)
			before := stateOf(t, c, r.Name)
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			must(c.As(t.Context(), func(cl *kgo.Client) error {
				return unacl(t.Context(), cl, c.Admin, func(f *kmsg.DeleteACLsRequestFilter) { f.Operation = may })
			}))
			// Alter implies Describe.
			broken := may == kmsg.ACLOperationAlter
			next := login(t, target, "other", patchbay.Reader, nil)
			_, inspected := target.Inspect(t.Context(), "")
			for what, err := range map[string]error{"inspect": inspected, "ensure": target.EnsureLogin(t.Context(), next)} {
				if !broken {
					if err != nil {
						t.Errorf("%s: %v", what, err)
					}
					continue
				}
				_ = wantCode(t, err, patchbay.AdminRights, "--operation Describe --operation Alter --cluster", "'User:patchbay-admin'")
			}
			if broken {
				_ = wantCode(t, target.RemoveLogin(t.Context(), r), patchbay.AdminRights)
				if now := stateOf(t, c, r.Name); now != before {
					t.Errorf("half done: it was %s, and is %s", before, now)
				}
			}
			// The fix, as the command sends it.
			must(c.As(t.Context(), func(cl *kgo.Client) error {
				return acl(t.Context(), cl, c.Admin, func(a *kmsg.CreateACLsRequestCreation) {
					a.ResourceType, a.ResourceName, a.Operation = kmsg.ACLResourceTypeCluster, "kafka-cluster", may
				})
			}))
			_, err := target.Inspect(t.Context(), "")
			must(err)
			must(target.RemoveLogin(t.Context(), next))
			must(target.RemoveLogin(t.Context(), r))
		})
	}
}

func TestLoginsSurviveARestart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	more := []kfake.Opt{kfake.Ports(port), kfake.DataDir(t.TempDir())}
	c := cluster(t, testenv.KafkaOptions{More: more})
	target := drivertest.OpenTarget(t, kafka.Driver(), register(c, scope))
	r := made(t, target, "restart", patchbay.Writer, nil)
	before := stateOf(t, c, r.Name)
	c.Close()
	if _, err := target.InspectLogin(t.Context(), r); !patchbay.IsTransient(err) {
		t.Errorf("while it is away: %v", err)
	}
	again := testenv.Kafka(t, testenv.KafkaOptions{More: more})
	again.Password = c.Password // kept, as all credentials
	if now := stateOf(t, again, r.Name); now != before {
		t.Errorf("it was %s, and is %s", before, now)
	}
	if state, err := target.InspectLogin(t.Context(), r); err != nil || !state.Ours || len(state.Missing)+len(state.Excess) > 0 {
		t.Errorf("%+v, %v", state, err)
	}
	if _, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Access: r.Access}); err != nil {
		t.Error(err)
	}
}

func TestAClusterThatIsTooOld(t *testing.T) {
	c := testenv.Kafka(t, testenv.KafkaOptions{More: []kfake.Opt{kfake.MaxVersions(kversion.V2_7_0())}})
	target := drivertest.OpenTarget(t, kafka.Driver(), register(c, scope))
	_, err := target.Inspect(t.Context(), "")
	_ = wantCode(t, err, patchbay.NotSupported, "2.8 at least")
}

func TestAClusterThatForgets(t *testing.T) {
	c := cluster(t, testenv.KafkaOptions{})
	target := drivertest.OpenTarget(t, kafka.Driver(), register(c, scope))
	r := login(t, target, "forgets", patchbay.Writer, nil)
	c.ControlKey(51, func(q kmsg.Request) (kmsg.Response, error, bool) { // AlterUserScramCredentials
		c.KeepControl()
		answer := q.ResponseKind().(*kmsg.AlterUserSCRAMCredentialsResponse)
		answer.Results = append(answer.Results, kmsg.AlterUserSCRAMCredentialsResponseResult{User: r.Name})
		return answer, nil, true
	})
	// The deadline is what is waited for.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := target.EnsureLogin(ctx, r)
	if !patchbay.IsTransient(err) {
		t.Errorf("%v, want it transient", err)
	}
}

func TestTLSIsCheckedAsRegistered(t *testing.T) {
	c := cluster(t, testenv.KafkaOptions{TLS: true})
	other, err := testenv.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct {
		name       string
		properties map[string]any
		want       patchbay.Code
	}{
		{"the authority", nil, ""},
		{"nobody's authority", map[string]any{"ca": ""}, patchbay.CertificateInvalid},
		{"another authority", map[string]any{"ca": string(other.PEM())}, patchbay.CertificateInvalid},
		{"a name of the certificate", map[string]any{"tlsServerName": "kafka.test"}, ""},
		{"another name", map[string]any{"tlsServerName": "elsewhere.test"}, patchbay.CertificateInvalid},
		{"another name, not looked at", map[string]any{"tlsServerName": "elsewhere.test", "sslmode": "verify-ca"}, ""},
		{"whoever answers", map[string]any{"ca": "", "sslmode": "require"}, ""},
	} {
		t.Run(one.name, func(t *testing.T) {
			target := drivertest.OpenTarget(t, kafka.Driver(), register(c, one.properties))
			info, err := target.Inspect(t.Context(), "")
			if patchbay.CodeOf(err) != one.want {
				t.Fatalf("%v, want %q", err, one.want)
			}
			if err == nil && !strings.HasPrefix(info.TLS, "TLS") {
				t.Errorf("TLS %q", info.TLS)
			}
			if e := patchbay.AsError(err); e != nil && e.Fix == "" {
				t.Error("it does not say what helps")
			}
		})
	}
	t.Run("a listener without TLS", func(t *testing.T) {
		plain := cluster(t, testenv.KafkaOptions{})
		target := drivertest.OpenTarget(t, kafka.Driver(), register(plain, map[string]any{"sslmode": "verify-full"}))
		// The model waits for the rest of what it takes for a request.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := target.Inspect(ctx, ""); err == nil {
			t.Error("it was spoken to in the clear")
		}
	})
	t.Run("a probe is as strict as the application's library", func(t *testing.T) {
		target := drivertest.OpenTarget(t, kafka.Driver(), register(c, map[string]any{"topics": []string{"orders.*"}, "sslmode": "verify-ca", "tlsServerName": "elsewhere.test"}))
		r := made(t, target, "strict", patchbay.Reader, nil)
		p := driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Access: r.Access}
		if _, err := target.Probe(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		p.Reading = driver.Reading{Mode: driver.TLSVerifyFull, Named: true}
		_, err := target.Probe(t.Context(), p)
		_ = wantCode(t, err, patchbay.CertificateInvalid)
	})
	t.Run("a password is told to nobody unknown", func(t *testing.T) {
		for _, mode := range []string{"disable", "require", "verify-ca"} {
			properties := map[string]any{"ca": "", "sslmode": mode, "adminMechanism": "plain"}
			_, err := kafka.Driver().Open(t.Context(), register(c, properties))
			_ = wantCode(t, err, patchbay.InvalidArgument, "verify-full")
		}
	})
}

// TestWhatEverybodyMayIsNotCounted: it is neither given nor taken by us.
func TestWhatEverybodyMayIsNotCounted(t *testing.T) {
	c := cluster(t, testenv.KafkaOptions{})
	err := c.As(t.Context(), func(cl *kgo.Client) error {
		return acl(t.Context(), cl, "*", func(c *kmsg.CreateACLsRequestCreation) {
			c.ResourceType, c.ResourceName, c.Operation = kmsg.ACLResourceTypeTopic, "*", kmsg.ACLOperationDescribe
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	target := drivertest.OpenTarget(t, kafka.Driver(), register(c, scope))
	r := made(t, target, "all", patchbay.Reader, nil)
	result, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Access: r.Access})
	if err != nil || len(result.Warnings) != 1 || !strings.Contains(result.Warnings[0], "User:*") {
		t.Errorf("%+v, %v", result, err)
	}
}

func TestAProbeLeavesNothing(t *testing.T) {
	c := cluster(t, testenv.KafkaOptions{Brokers: 2})
	target := drivertest.OpenTarget(t, kafka.Driver(), register(c, scope))
	r := made(t, target, "leaves", patchbay.Owner, map[string]string{"groups": "readers"})
	if _, err := target.Probe(t.Context(), driver.ProbeRequest{Credential: r.Credential, Dialer: &net.Dialer{}, Access: r.Access, Options: r.Options}); err != nil {
		t.Fatal(err)
	}
	if c.GroupInfo("readers") != nil {
		t.Error("there is a group")
	}
	err := c.As(t.Context(), func(cl *kgo.Client) error {
		all, err := kmsg.NewPtrMetadataRequest().RequestWith(t.Context(), cl)
		if err == nil && len(all.Topics) != 4 {
			t.Errorf("there are %d topics, want 4", len(all.Topics))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if info := c.PartitionInfo("invoices", 0); info == nil || info.HighWatermark != 1 {
		t.Errorf("something was written: %+v", info)
	}
}

// TestARoundsNumberIsTheLogins: another password has another number, and neither bound,
// which tools choose, is anybody's.
func TestARoundsNumberIsTheLogins(t *testing.T) {
	seen := map[int32]bool{}
	for i := range 1000 {
		n := kafka.IterationsOf(fmt.Sprintf("pb_%d_g1", i))
		if n <= 4096 || n >= 16384 {
			t.Fatalf("%d", n)
		}
		seen[n] = true
	}
	if len(seen) < 900 {
		t.Errorf("1,000 logins have %d numbers", len(seen))
	}
}
