package testenv

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"net"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// KafkaModel says what a [KafkaCluster] is.
const KafkaModel = "franz-go's kfake, which speaks Kafka's protocol and keeps its credentials and rules"

// KafkaOptions are what a cluster may have.
type KafkaOptions struct {
	TLS     bool
	Brokers int // 0 is one
	// More is for the model itself.
	More []kfake.Opt
}

// KafkaCluster is a model of a cluster in this process, with an administrator that may
// change logins and rules and nothing else, and a super user.
type KafkaCluster struct {
	*kfake.Cluster
	Admin, Super, Password string
	CA                     []byte // PEM; nil without TLS
	tls                    *tls.Config
}

// Kafka starts a cluster that ends with the test.
func Kafka(t testing.TB, o KafkaOptions) *KafkaCluster {
	t.Helper()
	c := &KafkaCluster{Admin: "patchbay-admin", Super: "root", Password: randomHex(16)}
	right := func(may kmsg.ACLOperation) kfake.ACL {
		return kfake.ACL{Resource: kmsg.ACLResourceTypeCluster, Name: "kafka-cluster", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: may, Allow: true}
	}
	options := []kfake.Opt{
		kfake.NumBrokers(max(o.Brokers, 1)), kfake.ListenFn(listenKafka), kfake.EnableSASL(), kfake.EnableACLs(),
		kfake.Superuser("SCRAM-SHA-512", c.Super, c.Password),
		kfake.User("SCRAM-SHA-512", c.Admin, c.Password, right(kmsg.ACLOperationDescribe), right(kmsg.ACLOperationAlter)),
	}
	if o.TLS {
		a, err := newAuthority()
		if err != nil {
			t.Fatal(err)
		}
		cert, key, err := a.issue("kafka", []string{"kafka.test"}, []net.IP{net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		c.CA = a.pem
		c.tls = &tls.Config{InsecureSkipVerify: true} // #nosec G402 -- of the test's own eyes
		options = append(options, kfake.TLS(&tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}))
	}
	var err error
	if c.Cluster, err = kfake.NewCluster(append(options, o.More...)...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Client signs in with a SCRAM-SHA-512 password; the caller closes it.
func (c *KafkaCluster) Client(ctx context.Context, name, password string, more ...kgo.Opt) (*kgo.Client, error) {
	options := []kgo.Opt{
		kgo.SeedBrokers(c.ListenAddrs()...), kgo.WithContext(ctx), kgo.DisableClientMetrics(),
		kgo.SASL(scram.Auth{User: name, Pass: password}.AsSha512Mechanism()), kgo.RequestRetries(1),
	}
	if c.tls != nil {
		options = append(options, kgo.DialTLSConfig(c.tls.Clone()))
	}
	return kgo.NewClient(append(options, more...)...)
}

// As asks something as the super user.
func (c *KafkaCluster) As(ctx context.Context, do func(*kgo.Client) error) error {
	cl, err := c.Client(ctx, c.Super, c.Password)
	if err != nil {
		return err
	}
	defer cl.Close()
	return do(cl)
}

// listenKafka has the model say which ways to sign in it takes, as brokers do: it says so
// only where it refuses one, and kafkajs then signs in to nobody.
func listenKafka(network, address string) (net.Listener, error) {
	l, err := net.Listen(network, address)
	return kafkaListener{l}, err
}

type kafkaListener struct{ net.Listener }

func (l kafkaListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &kafkaConn{Conn: conn}, nil
}

type kafkaConn struct {
	net.Conn
	asked atomic.Int64 // the number of the last SaslHandshake
}

func (c *kafkaConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	const handshake = 17
	if n > 8 && binary.BigEndian.Uint16(p) == handshake { // the model reads a request behind its size
		c.asked.Store(int64(binary.BigEndian.Uint32(p[4:])) + 1)
	}
	return n, err
}

func (c *kafkaConn) Write(p []byte) (int, error) {
	const whole = 4 + 4 + 2 + 4 // size, number, code, no mechanisms
	if len(p) != whole || int64(binary.BigEndian.Uint32(p[4:]))+1 != c.asked.Load() {
		return c.Conn.Write(p)
	}
	said := append([]byte(nil), p[:10]...)
	said = binary.BigEndian.AppendUint32(said, 2)
	for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
		said = append(binary.BigEndian.AppendUint16(said, uint16(len(mechanism))), mechanism...)
	}
	binary.BigEndian.PutUint32(said, uint32(len(said)-4))
	_, err := c.Conn.Write(said)
	return len(p), err
}
