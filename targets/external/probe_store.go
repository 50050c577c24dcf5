package external

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"

	gocql "github.com/apache/cassandra-gocql-driver/v2"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"patchbay.dev/patchbay"
)

func portOf(at string) uint64 {
	_, port, _ := net.SplitHostPort(at)
	n, _ := strconv.ParseUint(port, 10, 16)
	return n
}

// secured dials with TLS where it comes first.
func (s *session) secured(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := s.DialContext(ctx, "tcp", s.at)
	if err != nil || s.tls == nil {
		return conn, err
	}
	secured := tls.Client(conn, s.tls)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return secured, nil
}

// seed is the server that a cluster's name stands for: MongoDB's SRV records
// say, where the name has some.
func (s *session) seed(ctx context.Context, at string) (string, error) {
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return "", invalid("%s is not host:port", clip(at))
	}
	if s.addressOf(s.service.kind).port != "" || net.ParseIP(host) != nil {
		return at, nil
	}
	_, found, err := s.resolve.LookupSRV(ctx, "mongodb", "tcp", host)
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return at, nil // one server of that name
	case err != nil:
		return "", s.fault(ctx, err)
	case len(found) == 0:
		return at, nil
	}
	name := strings.TrimSuffix(found[0].Target, ".")
	// The servers are below the cluster's own domain, or a record was forged.
	if _, domain, _ := strings.Cut(host, "."); !strings.HasSuffix(strings.ToLower(name), "."+strings.ToLower(domain)) {
		return "", patchbay.Errorf(patchbay.NameNotResolved, "the servers of %s are said to be outside its domain", host)
	}
	if found[0].Port != 0 {
		port = strconv.Itoa(int(found[0].Port))
	}
	return net.JoinHostPort(name, port), nil
}

func probeMongo(ctx context.Context, s *session) error {
	o := options.Client().SetHosts([]string{s.at}).SetDirect(true).SetDialer(s).SetAppName("patchbay probe").
		SetAuth(options.Credential{Username: s.value("username"), AuthSource: s.value("authSource"), Password: s.value("password"), PasswordSet: true}).
		SetServerSelectionTimeout(dialLimit).SetMaxPoolSize(1).SetRetryReads(false).SetTLSConfig(s.tls).
		SetDisableOCSPEndpointCheck(true) // a certificate names whom to ask, and the dialer would not be asked
	c, err := mongo.Connect(o)
	if err != nil {
		return invalid("the login can't be one of MongoDB")
	}
	defer func() { _ = c.Disconnect(context.WithoutCancel(ctx)) }()
	database := s.value("database")
	if database == "" {
		database = "admin"
	}
	err = c.Database(database).RunCommand(ctx, bson.D{{Key: "ping", Value: 1}}).Err()
	var said mongo.CommandError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return err // it hung up in the middle of a sign-in, which is no refusal
	case errors.As(err, &said) && (said.Code == 18 || said.Code == 8000), says(err, "auth error", "authentication failed"):
		return s.refused(err)
	case errors.As(err, &said) && said.Code == 13:
		return nil // it signed in, and may do nothing there
	case errors.As(err, &said):
		return busy(s, fmt.Sprintf("error %d of MongoDB", said.Code))
	}
	return err
}

func probeCassandra(ctx context.Context, s *session) error {
	c := gocql.NewCluster("192.0.2.1") // no address of anybody: the dialer knows where it goes
	c.HostDialer = hostDialer{s}
	c.Authenticator = gocql.PasswordAuthenticator{Username: s.value("username"), Password: s.value("password")}
	c.DisableInitialHostLookup, c.NumConns, c.ProtoVersion = true, 1, 4
	// The time is ctx's: the library's own comes as an error like any other.
	c.Timeout, c.ConnectTimeout, c.Metadata.CacheMode = 2*probeLimit, 2*probeLimit, gocql.Disabled
	c.ReconnectionPolicy = &gocql.ConstantReconnectionPolicy{MaxRetries: 1}
	c.Events.DisableNodeStatusEvents, c.Events.DisableTopologyEvents, c.Events.DisableSchemaEvents = true, true, true
	c.Logger = gocql.NewLogger(gocql.LogLevelNone)
	opened, err := openCassandra(ctx, c)
	if err != nil {
		if says(err, "authentication", "credentials", "unauthorized", "password", "username") {
			return s.refused(err)
		}
		return err
	}
	defer opened.Close()
	return nil
}

// openCassandra opens a session; the library knows no context here, and its
// connections end with ctx's time.
func openCassandra(ctx context.Context, c *gocql.ClusterConfig) (*gocql.Session, error) {
	type opened struct {
		session *gocql.Session
		err     error
	}
	done := make(chan opened, 1)
	go func() {
		session, err := c.CreateSession()
		done <- opened{session, err}
	}()
	select {
	case o := <-done:
		return o.session, o.err
	case <-ctx.Done():
		go func() {
			if o := <-done; o.session != nil {
				o.session.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

type hostDialer struct{ s *session }

func (d hostDialer) DialHost(ctx context.Context, _ *gocql.HostInfo) (*gocql.DialedHost, error) {
	conn, err := d.s.secured(ctx, "tcp", d.s.at)
	if err != nil {
		return nil, err
	}
	return &gocql.DialedHost{Conn: conn, DisableCoalesce: true}, nil
}
