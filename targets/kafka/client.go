package kafka

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	requestLimit = 20 * time.Second
	maxAnswer    = 16 << 20 // bytes of one answer
	keySASL      = 36       // SaslAuthenticate
	keyProduce   = 0
	keyFetch     = 1
)

// client speaks to a cluster in one call of the driver's.
type client struct {
	*kgo.Client
	config  config
	budget  *driver.Budget
	refusal patchbay.Code // of a sign-in

	hangsUp atomic.Bool // a broker ended the connection where a sign-in's answer belongs
	mu      sync.Mutex
	dialed  *patchbay.Error // what the last connection that failed means
	tls     string          // protocol of the last one that did not
}

// connect prepares a client; the first request connects. ctx bounds all that it does.
func (c config) connect(ctx context.Context, d driver.Dialer, who signIn, refusal patchbay.Code) (*client, error) {
	cl := &client{config: c, budget: driver.NewBudget(strings.Join(c.servers, ","), driver.CallBytes), refusal: refusal}
	cl.budget.Renew(ctx)
	// Later versions name a topic by its id, and a probe asks for topics that are not there.
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(keyProduce, 12)
	versions.SetMaxKeyVersion(keyFetch, 12)
	var err error
	cl.Client, err = kgo.NewClient(
		kgo.SeedBrokers(c.servers...), kgo.ClientID("patchbay"), kgo.WithContext(ctx),
		kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
			return cl.dial(ctx, d, network, address)
		}),
		kgo.SASL(boundedRounds{who.sasl(), cl.budget}), kgo.MaxVersions(versions),
		// One of several servers may be away; everything else the engine repeats.
		kgo.RequestRetries(len(c.servers)-1), kgo.RetryTimeout(requestLimit), kgo.RequestTimeoutOverhead(requestLimit),
		kgo.RetryBackoffFn(func(int) time.Duration { return 10 * time.Millisecond }),
		kgo.BrokerMaxReadBytes(maxAnswer), kgo.FetchMaxBytes(1<<20), kgo.FetchMaxPartitionBytes(1<<20), kgo.DisableClientMetrics(), kgo.WithLogger(nil),
	)
	if err != nil {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the registration can't be one of Kafka").WithSaid(err.Error())
	}
	return cl, nil
}

func (s signIn) sasl() sasl.Mechanism {
	switch s.mechanism {
	case plainly:
		return plain.Auth{User: s.Username, Pass: s.Password.Reveal()}.AsMechanism()
	case scram256:
		return scram.Auth{User: s.Username, Pass: s.Password.Reveal()}.AsSha256Mechanism()
	}
	return scram.Auth{User: s.Username, Pass: s.Password.Reveal()}.AsSha512Mechanism()
}

// dial keeps what a failure means: the library forgets, or says it in its own words.
func (c *client) dial(ctx context.Context, d driver.Dialer, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	conn, protocol, err := c.secured(ctx, d, network, address)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		e := c.config.secure.DialError(err, address)
		if e.Code == patchbay.CertificateInvalid && e.Fix == "" {
			e = e.WithFix("%s", driver.CertificateFix(e, "the property tlsServerName", "the property ca"))
		}
		c.dialed = e
		return nil, err
	}
	c.tls = protocol
	return conn, nil
}

func (c *client) secured(ctx context.Context, d driver.Dialer, network, address string) (net.Conn, string, error) {
	raw, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, "", err
	}
	conn := c.budget.Conn(raw)
	if c.config.tls == nil {
		return &wire{Conn: conn, of: c}, "", nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	t := tls.Client(conn, driver.TLSTo(c.config.tls, host))
	if err := t.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, "", err
	}
	return &wire{Conn: t, of: c}, tls.VersionName(t.ConnectionState().Version), nil
}

// wire sees which request an end of the connection is the answer to: some brokers hang
// up on who is not let in.
type wire struct {
	net.Conn
	of   *client
	last atomic.Int32 // the kind of the last request
}

func (w *wire) Write(b []byte) (int, error) {
	if len(b) >= 6 {
		w.last.Store(int32(binary.BigEndian.Uint16(b[4:])))
	}
	return w.Conn.Write(b)
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if errors.Is(err, io.EOF) && w.last.Load() == keySASL {
		w.of.hangsUp.Store(true)
	}
	return n, err
}

// protocol is that of TLS, "" in the clear.
func (c *client) protocol() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tls
}

// fault says in our words why a request failed. What the other side said is for who
// administers it.
func (c *client) fault(ctx context.Context, what string, err error) *patchbay.Error {
	e := c.meaning(ctx, err)
	e.Message = what + ": " + e.Message
	if err != nil && c.refusal == patchbay.AdminRefused {
		e.Said = err.Error()
	}
	return e
}

func (c *client) meaning(ctx context.Context, err error) *patchbay.Error {
	const cluster = "the Kafka cluster"
	c.mu.Lock()
	dialed := c.dialed
	c.mu.Unlock()
	var timeout net.Error
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return patchbay.Errorf(patchbay.Canceled, "%w", context.Canceled)
	case c.budget.Fault() != nil:
		e := *c.budget.Fault()
		return &e
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return patchbay.Errorf(patchbay.NotSupported, "its listener does not take the way to sign in that was registered").
			WithFix("have the brokers take it (sasl.enabled.mechanisms), or register it again with another mechanism or adminMechanism")
	case errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, kerr.IllegalSaslState), c.hangsUp.Load():
		return c.refused()
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		return c.config.lacksRights()
	case errors.Is(err, kerr.SecurityDisabled):
		return patchbay.Errorf(patchbay.NotSupported, "the cluster has no authorizer: whoever signs in may do everything").
			WithFix("set authorizer.class.name on the brokers (org.apache.kafka.metadata.authorizer.StandardAuthorizer)")
	case errors.Is(err, kerr.UnsupportedVersion):
		return patchbay.Errorf(patchbay.NotSupported, "the cluster is too old: it has to have version 2.8 at least")
	}
	if known := (*kerr.Error)(nil); errors.As(err, &known) {
		e := patchbay.Errorf(patchbay.TargetUnreachable, "the cluster answers with error %d", known.Code)
		e.Transient = known.Retriable
		if !known.Retriable {
			e.Code = c.refusal
		}
		return e
	}
	switch {
	case ctx.Err() == nil && dialed != nil:
		e := *dialed
		e.Transient = e.Transient || e.Code == patchbay.NameNotResolved // it was registered, so it will have one again
		return &e
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return patchbay.Errorf(patchbay.Timeout, "the cluster does not answer").AsTransient()
	}
	return driver.DialError(err, cluster)
}

func (c *client) refused() *patchbay.Error {
	e := patchbay.Errorf(c.refusal, "the cluster refuses the sign-in")
	if c.refusal == patchbay.AdminRefused {
		e = e.WithFix("see that the administrator has a credential of the registered mechanism: kafka-configs --bootstrap-server %s --describe --entity-type users --entity-name %s", c.config.servers[0], shellWord(c.config.admin.Username))
	}
	return e
}

// lacksRights is what an administrator hears that may not do what is needed.
func (c config) lacksRights() *patchbay.Error {
	return patchbay.Errorf(patchbay.AdminRights, "the administrator may not read and change logins and rules: it needs Describe and Alter on the cluster").
		WithFix("kafka-acls --bootstrap-server %s --command-config ADMIN.properties --add --allow-principal %s --operation Describe --operation Alter --cluster",
			c.servers[0], shellWord(principalOf(c.admin.Username)))
}

// shellWord is text as one word of a shell.
func shellWord(text string) string {
	return "'" + strings.ReplaceAll(driver.Quoted(text), "'", `'\''`) + "'"
}

// code is an error code of an answer as an error; message, if any, goes along.
func code(number int16, message *string) error {
	err := kerr.ErrorForCode(number)
	if err != nil && message != nil && *message != "" {
		return fmt.Errorf("%w: %s", err, *message)
	}
	return err
}

// bounded gives ctx a deadline if it has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, 3*requestLimit)
}
