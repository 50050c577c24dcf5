package external

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/mqttconnect"
)

func probeKafka(ctx context.Context, s *session) error {
	c, err := kgo.NewClient(
		kgo.SeedBrokers(s.at), kgo.Dialer(s.secured), kgo.ClientID("patchbay-probe"),
		kgo.SASL(plain.Auth{User: s.value("username"), Pass: s.value("password")}.AsMechanism()),
		kgo.RequestRetries(0), kgo.RetryTimeout(dialLimit), kgo.WithLogger(nil),
	)
	if err != nil {
		return invalid("the login can't be one of Kafka")
	}
	defer c.Close()
	r := kmsg.NewPtrMetadataRequest()
	r.Topics = []kmsg.MetadataRequestTopic{} // the brokers alone
	broker := c.SeedBrokers()[0]
	_, err = broker.Request(ctx, r)
	if errors.Is(err, kerr.UnsupportedSaslMechanism) {
		return invalid("%s does not take passwords in the form that Confluent's clients send (PLAIN)", s.asked)
	}
	// Some brokers hang up on who is not let in. The connection, and TLS on it,
	// worked a moment ago.
	if errors.Is(err, io.EOF) || errors.Is(err, kerr.SaslAuthenticationFailed) || errors.Is(err, kerr.IllegalSaslState) {
		return s.refused(err)
	}
	if said := (*kerr.Error)(nil); errors.As(err, &said) {
		return busy(s, fmt.Sprintf("error %d of Kafka", said.Code))
	}
	return err
}

// helloBytes is more than a broker says to who signs in.
const helloBytes = 1 << 20

func probeMQTT(ctx context.Context, s *session) error {
	conn, err := s.secured(ctx, "", "")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	budget := driver.NewBudget(s.asked, helloBytes)
	c, err := mqttconnect.Connect(ctx, conn, budget, mqttconnect.Login{Username: s.value("username"), Password: s.value("password")})
	var no *mqttconnect.Refusal
	switch {
	case err == nil:
		c.Close()
		return nil
	case budget.Fault() != nil:
		return budget.Fault()
	case errors.As(err, &no) && no.OfLogin():
		return s.refused(err)
	case errors.As(err, &no):
		return busy(s, fmt.Sprintf("reason code %d of MQTT", no.Code))
	case errors.Is(err, mqttconnect.ErrOlder):
		return invalid("%s speaks an older MQTT than 5, and the login is not tried there", s.asked)
	case errors.Is(err, mqttconnect.ErrProtocol):
		return s.strange("not in MQTT")
	}
	return err
}

func probeNATS(ctx context.Context, s *session) error {
	dialer := &natsDialer{session: s, ctx: ctx}
	patience := dialLimit
	if deadline, ok := ctx.Deadline(); ok { // it would set a deadline of its own
		patience = min(patience, max(time.Until(deadline), time.Millisecond))
	}
	o := []nats.Option{
		nats.SetCustomDialer(dialer), nats.SkipHostLookup(), nats.NoReconnect(), nats.DontRandomize(), nats.Name("patchbay probe"),
		nats.Timeout(patience), nats.IgnoreDiscoveredServers(),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
	host, _, _ := net.SplitHostPort(s.at)
	config, err := s.secure().Config(host)
	if err != nil {
		return err
	}
	url := "nats://" + s.at
	if s.tls != nil {
		o = append(o, nats.Secure(config))
	} else {
		o = append(o, func(o *nats.Options) error { o.TLSConfig = config; return nil }) // where the server asks for it
	}
	switch token, seed := s.value("jwt"), s.value("seed"); {
	case token != "":
		pair, err := nkeys.FromSeed([]byte(seed))
		if err != nil {
			return s.refused(errors.New("the seed is none"))
		}
		o = append(o, nats.UserJWT(
			func() (string, error) { return token, nil },
			func(nonce []byte) ([]byte, error) { return pair.Sign(nonce) }))
	default:
		o = append(o, nats.UserInfo(s.value("username"), s.value("password")))
	}
	c, err := nats.Connect(url, o...)
	if err != nil {
		return s.natsError(err, dialer.failed)
	}
	defer c.Close()
	if state, err := c.TLSConnectionState(); err == nil {
		s.protocol = tls.VersionName(state.Version)
	}
	if err := c.FlushWithContext(ctx); err != nil {
		if last := c.LastError(); last != nil {
			err = last
		}
		return s.natsError(err, nil)
	}
	return nil
}

func (s *session) natsError(err, dialed error) error {
	for _, no := range []error{
		nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired, nats.ErrNkeysNotSupported,
	} {
		if errors.Is(err, no) {
			return s.refused(err)
		}
	}
	if errors.Is(err, nats.ErrSecureConnWanted) {
		return tls.RecordHeaderError{Msg: "no TLS"}
	}
	if errors.Is(err, nats.ErrTimeout) {
		return context.DeadlineExceeded
	}
	if dialed != nil {
		return dialed
	}
	return err
}

// natsDialer gives nats.go a context.
type natsDialer struct {
	session *session
	ctx     context.Context
	failed  error
}

func (d *natsDialer) Dial(network, address string) (net.Conn, error) {
	conn, err := d.session.DialContext(d.ctx, network, address)
	d.failed = err
	return conn, err
}
