package kafka_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"crypto/rand"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/driver/drivertest"
	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/targets/kafka"
)

func TestMain(m *testing.M) {
	kafka.ForTheModel()
	os.Exit(m.Run())
}

// register is c as a target, with more properties.
func register(c *testenv.KafkaCluster, more map[string]any) driver.Config {
	p := map[string]any{"sslmode": "disable"}
	if c.CA != nil {
		p = map[string]any{"ca": string(c.CA)}
	}
	maps.Copy(p, more)
	properties, err := json.Marshal(p)
	if err != nil {
		panic(err) // the test's own mistake
	}
	return driver.Config{
		ID:       "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/kafkaServers/bus",
		Endpoint: strings.Join(c.ListenAddrs(), ","), Properties: properties,
		Dialer: &net.Dialer{},
		Admin:  driver.Secrets{"username": patchbay.NewSecret(c.Admin), "password": patchbay.NewSecret(c.Password)},
	}
}

// scope is what the suite's logins may use.
var scope = map[string]any{"topics": []string{"orders.*", "invoices"}, "transactional": []string{"billing-*"}}

func cluster(t testing.TB, o testenv.KafkaOptions) *testenv.KafkaCluster {
	t.Helper()
	o.More = append(o.More, kfake.SeedTopics(1, "orders.new", "invoices", "payroll", "ordersX"))
	c := testenv.Kafka(t, o)
	err := c.As(t.Context(), func(cl *kgo.Client) error {
		for _, topic := range []string{"orders.new", "invoices", "payroll"} {
			if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte("seed")}).FirstErr(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// judged has a refusal of the product's as the suite wants it.
func judged(err error) error {
	for _, no := range []error{
		io.EOF, // as the model refuses a sign-in
		kerr.SaslAuthenticationFailed, kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed,
		kerr.ClusterAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed,
	} {
		if errors.Is(err, no) {
			return fmt.Errorf("%w: %w", drivertest.ErrRefused, err)
		}
	}
	return err
}

func as(c *testenv.KafkaCluster, do func(context.Context, *kgo.Client, driver.Credential) error, more ...kgo.Opt) func(context.Context, string, driver.Credential) error {
	return func(ctx context.Context, _ string, login driver.Credential) error {
		cl, err := c.Client(ctx, login.Public["username"], login.Secret["password"].Reveal(), more...)
		if err != nil {
			return err
		}
		defer cl.Close()
		return judged(do(ctx, cl, login))
	}
}

func signIn(ctx context.Context, cl *kgo.Client, _ driver.Credential) error { return cl.Ping(ctx) }

// received is the first record that comes, or what is said instead.
func received(ctx context.Context, cl *kgo.Client) error {
	for {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return err
		}
		for _, e := range fetches.Errors() {
			return e.Err
		}
		if fetches.NumRecords() > 0 {
			return nil
		}
	}
}

func consume(topic string) func(context.Context, *kgo.Client, driver.Credential) error {
	return func(ctx context.Context, cl *kgo.Client, _ driver.Credential) error {
		cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}})
		return received(ctx, cl)
	}
}

// consumeIn is a member of a group of the login's own, or of a name.
func consumeIn(c *testenv.KafkaCluster, group string) func(context.Context, string, driver.Credential) error {
	return func(ctx context.Context, sub string, login driver.Credential) error {
		name := group
		if name == "" {
			name = login.Public["group"]
		}
		return as(c, func(ctx context.Context, cl *kgo.Client, _ driver.Credential) error {
			if err := received(ctx, cl); err != nil {
				return err
			}
			return cl.CommitUncommittedOffsets(ctx)
		}, kgo.ConsumerGroup(name), kgo.ConsumeTopics("orders.new"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())(ctx, sub, login)
	}
}

func produce(topic string) func(context.Context, *kgo.Client, driver.Credential) error {
	return func(ctx context.Context, cl *kgo.Client, _ driver.Credential) error {
		return cl.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("x")}).FirstErr()
	}
}

func transact(ctx context.Context, cl *kgo.Client, _ driver.Credential) error {
	if err := cl.BeginTransaction(); err != nil {
		return err
	}
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "invoices", Value: []byte("x")}).FirstErr(); err != nil {
		return err
	}
	return cl.EndTransaction(ctx, kgo.TryCommit)
}

func makeTopic(prefix string) func(context.Context, *kgo.Client, driver.Credential) error {
	return func(ctx context.Context, cl *kgo.Client, _ driver.Credential) error {
		name := prefix + rand.Text()
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, 1
		q := kmsg.NewPtrCreateTopicsRequest()
		q.Topics = append(q.Topics, topic)
		made, err := q.RequestWith(ctx, cl)
		if err == nil {
			err = kerr.ErrorForCode(made.Topics[0].ErrorCode)
		}
		if err != nil {
			return err
		}
		d := kmsg.NewPtrDeleteTopicsRequest()
		one := kmsg.NewDeleteTopicsRequestTopic()
		one.Topic = &name
		d.Topics, d.TopicNames = append(d.Topics, one), []string{name}
		gone, err := d.RequestWith(ctx, cl)
		if err == nil {
			err = kerr.ErrorForCode(gone.Topics[0].ErrorCode)
		}
		return err
	}
}

func deleteTopic(name string) func(context.Context, *kgo.Client, driver.Credential) error {
	return func(ctx context.Context, cl *kgo.Client, _ driver.Credential) error {
		d := kmsg.NewPtrDeleteTopicsRequest()
		one := kmsg.NewDeleteTopicsRequestTopic()
		one.Topic = &name
		d.Topics, d.TopicNames = append(d.Topics, one), []string{name}
		gone, err := d.RequestWith(ctx, cl)
		if err == nil {
			err = kerr.ErrorForCode(gone.Topics[0].ErrorCode)
		}
		return err
	}
}

func configure(name string) func(context.Context, *kgo.Client, driver.Credential) error {
	return func(ctx context.Context, cl *kgo.Client, _ driver.Credential) error {
		value := "3600000"
		config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		config.Name, config.Value = "retention.ms", &value
		on := kmsg.NewIncrementalAlterConfigsRequestResource()
		on.ResourceType, on.ResourceName, on.Configs = kmsg.ConfigResourceTypeTopic, name, append(on.Configs, config)
		q := kmsg.NewPtrIncrementalAlterConfigsRequest()
		q.Resources = append(q.Resources, on)
		answer, err := q.RequestWith(ctx, cl)
		if err == nil {
			err = kerr.ErrorForCode(answer.Resources[0].ErrorCode)
		}
		return err
	}
}

// crown gives a login itself a right.
func crown(ctx context.Context, cl *kgo.Client, login driver.Credential) error {
	return acl(ctx, cl, login.Public["username"], func(c *kmsg.CreateACLsRequestCreation) {
		c.ResourceType, c.ResourceName, c.Operation = kmsg.ACLResourceTypeTopic, "payroll", kmsg.ACLOperationRead
	})
}

func password(ctx context.Context, cl *kgo.Client, login driver.Credential) error {
	return scramOf(ctx, cl, login.Public["username"], 2, 8192)
}

func listRules(ctx context.Context, cl *kgo.Client, _ driver.Credential) error {
	q := kmsg.NewPtrDescribeACLsRequest()
	q.ResourceType, q.ResourcePatternType, q.Operation, q.PermissionType = kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny, kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
	answer, err := q.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(answer.ErrorCode)
	}
	return err
}

// acl makes a rule, past the driver: literal, from everywhere, that allows, unless more
// says otherwise.
func acl(ctx context.Context, cl *kgo.Client, name string, more func(*kmsg.CreateACLsRequestCreation)) error {
	c := kmsg.NewCreateACLsRequestCreation()
	c.Principal, c.Host, c.PermissionType, c.ResourcePatternType = "User:"+name, "*", kmsg.ACLPermissionTypeAllow, kmsg.ACLResourcePatternTypeLiteral
	more(&c)
	q := kmsg.NewPtrCreateACLsRequest()
	q.Creations = append(q.Creations, c)
	answer, err := q.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(answer.Results[0].ErrorCode)
	}
	return err
}

// unacl takes rules away, past the driver.
func unacl(ctx context.Context, cl *kgo.Client, name string, more func(*kmsg.DeleteACLsRequestFilter)) error {
	principal := "User:" + name
	f := kmsg.NewDeleteACLsRequestFilter()
	f.Principal, f.ResourceType, f.ResourcePatternType = &principal, kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny
	f.Operation, f.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
	more(&f)
	q := kmsg.NewPtrDeleteACLsRequest()
	q.Filters = append(q.Filters, f)
	answer, err := q.RequestWith(ctx, cl)
	switch {
	case err != nil:
		return err
	case len(answer.Results[0].MatchingACLs) == 0:
		return errors.New("there was no such rule")
	}
	return kerr.ErrorForCode(answer.Results[0].ErrorCode)
}

func scramOf(ctx context.Context, cl *kgo.Client, name string, mechanism int8, iterations int32) error {
	u := kmsg.NewAlterUserSCRAMCredentialsRequestUpsertion()
	u.Name, u.Mechanism, u.Iterations = name, mechanism, iterations
	u.Salt, u.SaltedPassword = []byte("0123456789abcdef"), []byte(strings.Repeat("x", 64))
	q := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	q.Upsertions = append(q.Upsertions, u)
	answer, err := q.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(answer.Results[0].ErrorCode)
	}
	return err
}

func unscram(ctx context.Context, cl *kgo.Client, name string) error {
	q := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
	q.Deletions = append(q.Deletions, kmsg.AlterUserSCRAMCredentialsRequestDeletion{Name: name, Mechanism: 2})
	answer, err := q.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(answer.Results[0].ErrorCode)
	}
	return err
}

func actions(c *testenv.KafkaCluster) []drivertest.Action {
	all := []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}
	writers, owners := all[1:], all[2:]
	do := func(f func(context.Context, *kgo.Client, driver.Credential) error, more ...kgo.Opt) func(context.Context, string, driver.Credential) error {
		return as(c, f, more...)
	}
	return []drivertest.Action{
		{Name: "read a topic of the prefix", Allowed: all, Do: do(consume("orders.new"))},
		{Name: "read a topic of the name", Allowed: all, Do: do(consume("invoices"))},
		{Name: "read another topic", Do: do(consume("payroll"))},
		{Name: "read a topic whose name is only like the prefix", Do: do(consume("ordersX"))},
		{Name: "read in a group of its own, and commit", Allowed: all, Do: consumeIn(c, "")},
		{Name: "read in another group", Do: consumeIn(c, "payroll")},
		{Name: "write to a topic of the prefix", Allowed: writers, Do: do(produce("orders.new"))},
		{Name: "write to a topic of the name", Allowed: writers, Do: do(produce("invoices"))},
		{Name: "write to another topic", Do: do(produce("payroll"))},
		{Name: "write in a transaction", Allowed: writers, Do: do(transact, kgo.TransactionalID("billing-1"))},
		{Name: "write in another's transaction", Do: do(transact, kgo.TransactionalID("payroll-1"))},
		{Name: "make and delete a topic of the prefix", Allowed: owners, Do: do(makeTopic("orders."))},
		{Name: "make another topic", Do: do(makeTopic("payroll-"))},
		{Name: "delete another topic", Do: do(deleteTopic("payroll"))},
		{Name: "configure a topic", Allowed: owners, Do: do(configure("orders.new"))},
		{Name: "configure another topic", Do: do(configure("payroll"))},
		{Name: "list the rules", Do: do(listRules)},
		{Name: "give itself a right", Do: do(crown)},
		{Name: "change its own password", Do: do(password)},
	}
}

// stays is an open connection. Kafka ends none when a login is removed: it has ended when
// nothing can be done with it any more.
type stays struct {
	cl    *kgo.Client
	login driver.Credential
}

func (s stays) Wait(ctx context.Context) error {
	for {
		q := kmsg.NewPtrMetadataRequest()
		topic := "invoices"
		q.Topics = []kmsg.MetadataRequestTopic{{Topic: &topic}}
		answer, err := q.RequestWith(ctx, s.cl)
		if err == nil {
			err = kerr.ErrorForCode(answer.Topics[0].ErrorCode)
		}
		if err = judged(err); errors.Is(err, drivertest.ErrRefused) {
			return nil
		} else if err != nil {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s stays) Close() { s.cl.Close() }

func drifts(c *testenv.KafkaCluster) []drivertest.Drift {
	by := func(f func(context.Context, *kgo.Client, string) error) func(context.Context, driver.LoginRequest) error {
		return func(ctx context.Context, r driver.LoginRequest) error {
			return c.As(ctx, func(cl *kgo.Client) error { return f(ctx, cl, r.Name) })
		}
	}
	return []drivertest.Drift{
		{Name: "a right was taken away", Access: patchbay.Reader, Missing: true, Make: by(func(ctx context.Context, cl *kgo.Client, name string) error {
			return unacl(ctx, cl, name, func(f *kmsg.DeleteACLsRequestFilter) {
				f.ResourceType, f.Operation = kmsg.ACLResourceTypeTopic, kmsg.ACLOperationRead
			})
		})},
		{Name: "a right was given", Access: patchbay.Reader, Excess: true, Make: by(func(ctx context.Context, cl *kgo.Client, name string) error {
			return acl(ctx, cl, name, func(c *kmsg.CreateACLsRequestCreation) {
				c.ResourceType, c.ResourceName, c.Operation = kmsg.ACLResourceTypeCluster, "kafka-cluster", kmsg.ACLOperationAll
			})
		})},
		{Name: "something was forbidden", Access: patchbay.Writer, Excess: true, Make: by(func(ctx context.Context, cl *kgo.Client, name string) error {
			return acl(ctx, cl, name, func(c *kmsg.CreateACLsRequestCreation) {
				c.ResourceType, c.ResourceName, c.Operation, c.PermissionType = kmsg.ACLResourceTypeTopic, "invoices", kmsg.ACLOperationRead, kmsg.ACLPermissionTypeDeny
			})
		})},
		{Name: "another password", Access: patchbay.Owner, Missing: true, Make: by(func(ctx context.Context, cl *kgo.Client, name string) error {
			return scramOf(ctx, cl, name, 2, 8192)
		})},
		{Name: "no password", Access: patchbay.Reader, Missing: true, Make: by(unscram)},
		{Name: "a second password", Access: patchbay.Reader, Excess: true, Make: by(func(ctx context.Context, cl *kgo.Client, name string) error {
			return scramOf(ctx, cl, name, 1, 4096)
		})},
	}
}

func TestTarget(t *testing.T) {
	c := cluster(t, testenv.KafkaOptions{})
	drivertest.Target(t, drivertest.TargetHarness{
		Driver: kafka.Driver(), Product: "Kafka", Release: 2, Model: testenv.KafkaModel,
		Config: register(c, scope), Subs: []string{""},
		SignIn: as(c, signIn),
		OpenSession: func(ctx context.Context, _ string, login driver.Credential) (drivertest.Session, error) {
			cl, err := c.Client(context.WithoutCancel(ctx), login.Public["username"], login.Secret["password"].Reveal())
			if err != nil {
				return nil, err
			}
			return stays{cl, login}, judged(cl.Ping(ctx))
		},
		Actions: actions(c),
		Wrong: func(login driver.Credential) map[string]driver.Credential {
			with := func(name, word string) driver.Credential {
				return driver.Credential{Public: map[string]string{"username": name}, Secret: driver.Secrets{"password": patchbay.NewSecret(word)}}
			}
			name, word := login.Public["username"], login.Secret["password"].Reveal()
			return map[string]driver.Credential{
				"an altered password": with(name, word[1:]+"x"),
				"another's name":      with(c.Admin, word),
				"a name like it":      with(name+"0", word),
				"no password":         with(name, ""),
			}
		},
		Foreign: func(t testing.TB, _, name string) func() error {
			err := c.As(t.Context(), func(cl *kgo.Client) error {
				if err := acl(t.Context(), cl, name, func(c *kmsg.CreateACLsRequestCreation) {
					c.ResourceType, c.ResourceName, c.Operation = kmsg.ACLResourceTypeTopic, "payroll", kmsg.ACLOperationRead
				}); err != nil {
					return err
				}
				return scramOf(t.Context(), cl, name, 2, 8192)
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				ctx := context.Background()
				err := c.As(ctx, func(cl *kgo.Client) error {
					return errors.Join(unscram(ctx, cl, name), unacl(ctx, cl, name, func(*kmsg.DeleteACLsRequestFilter) {}))
				})
				if err != nil {
					t.Error(err)
				}
			})
			before := stateOf(t, c, name)
			return func() error {
				if now := stateOf(t, c, name); now != before {
					return fmt.Errorf("it was %s, and is %s", before, now)
				}
				return nil
			}
		},
		Drifts: drifts(c),
		Quick:  true,
	})
}

// stateOf is what the cluster has of a login, past the driver.
func stateOf(t testing.TB, c *testenv.KafkaCluster, name string) (text string) {
	t.Helper()
	err := c.As(t.Context(), func(cl *kgo.Client) error {
		q := kmsg.NewPtrDescribeUserSCRAMCredentialsRequest()
		q.Users = []kmsg.DescribeUserSCRAMCredentialsRequestUser{{Name: name}}
		scrams, err := q.RequestWith(t.Context(), cl)
		if err != nil {
			return err
		}
		principal := "User:" + name
		a := kmsg.NewPtrDescribeACLsRequest()
		a.Principal, a.ResourceType, a.ResourcePatternType = &principal, kmsg.ACLResourceTypeAny, kmsg.ACLResourcePatternTypeAny
		a.Operation, a.PermissionType = kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
		rules, err := a.RequestWith(t.Context(), cl)
		if err != nil {
			return err
		}
		var lines []string
		for _, r := range rules.Resources {
			for _, a := range r.ACLs {
				lines = append(lines, fmt.Sprint(r.ResourceType, r.ResourceName, r.ResourcePatternType, a))
			}
		}
		slices.Sort(lines)
		text = fmt.Sprint(scrams.Results[0].CredentialInfos, " ", len(lines), " ", lines)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}
