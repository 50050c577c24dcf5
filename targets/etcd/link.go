package etcd

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	// callLimit bounds a call whose context has no deadline.
	callLimit = 30 * time.Second
	// askLimit bounds asking one server of several how it is: the next one may answer.
	askLimit = 5 * time.Second
	// maxMessage bounds one answer, in bytes: the names of ten thousand roles are a
	// tenth of it.
	maxMessage = 16 << 20
	// maxHeaders bounds what stands before an answer.
	maxHeaders = 64 << 10
	// renewals is how often a sign-in is repeated for one request: with tokens that
	// are signed (--auth-token jwt), whoever changes any user makes all invalid.
	renewals = 8
)

// link is one connection to a server, and who is signed in on it. It does not come
// back when it is lost.
type link struct {
	server driver.Server
	tls    driver.TLS
	state  *tls.ConnectionState // nil in the clear
	asked  bool                 // for a certificate of the client's
	conn   *bounded
	budget *driver.Budget
	grpc   *grpc.ClientConn
	user   driver.UserPassword

	auth pb.AuthClient
	kv   pb.KVClient

	mu    sync.Mutex
	token string
}

// connect signs in to the first of the servers that takes it.
func connect(ctx context.Context, what string, servers []driver.Server, t driver.TLS, d driver.Dialer, user driver.UserPassword, refusal patchbay.Code) (*link, *pb.StatusResponse, error) {
	var first *patchbay.Error
	for _, server := range servers {
		l, state, e := connectTo(ctx, what, server, t, d, user, refusal)
		if e == nil {
			return l, state, nil
		}
		if first == nil {
			first = e
		}
		// Another server would say the same, or nobody waits any more.
		if ctx.Err() != nil || e.Code == refusal || e.Code == patchbay.NotSupported {
			return nil, nil, e
		}
	}
	return nil, nil, first
}

func connectTo(ctx context.Context, what string, server driver.Server, t driver.TLS, d driver.Dialer, user driver.UserPassword, refusal patchbay.Code) (*link, *pb.StatusResponse, *patchbay.Error) {
	if e := over(ctx); e != nil {
		e.Message = what + ": " + e.Message
		return nil, nil, e
	}
	l := &link{server: server, tls: t, user: user, budget: driver.NewBudget(server.Address(), driver.CallBytes)}
	l.budget.Renew(ctx)
	if err := l.dial(ctx, d); err != nil {
		return nil, nil, dialFault(ctx, what, err, t, server)
	}
	state, err := l.status(ctx)
	if unsaid := said(err, rpctypes.ErrGRPCUserEmpty); err == nil || unsaid {
		// The newest tell it only to who has signed in.
		if !unsaid {
			err = l.meets(state)
		}
		if err == nil || unsaid {
			err = l.signIn(ctx)
		}
		if err == nil && unsaid {
			if state, err = l.status(ctx); err == nil {
				err = l.meets(state)
			}
		}
	}
	if err != nil {
		e := l.fault(ctx, what, err, refusal)
		l.close()
		return nil, nil, e
	}
	return l, state, nil
}

// dial opens the connection, TLS included, so that what goes wrong there is known for
// what it is, and gives it to the library.
func (l *link) dial(ctx context.Context, d driver.Dialer) error {
	conn, err := d.DialContext(ctx, "tcp", l.server.Address())
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	transport := insecure.NewCredentials()
	conn = l.budget.Conn(conn)
	if l.server.Scheme == "https" {
		settings, err := l.tls.Config(l.server.Host)
		if err != nil {
			return err
		}
		settings.NextProtos = []string{"h2"}
		settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			l.asked = true
			return &tls.Certificate{}, nil
		}
		client := tls.Client(conn, settings)
		if err := client.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return err
		}
		state := client.ConnectionState()
		l.state, conn = &state, client
		transport = done{transport, state}
	}
	l.conn = &bounded{Conn: conn}
	var once atomic.Bool
	l.grpc, err = grpc.NewClient("passthrough:///"+l.server.Address(),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			if once.Swap(true) {
				return nil, net.ErrClosed
			}
			return l.conn, nil
		}),
		grpc.WithTransportCredentials(transport), grpc.WithUserAgent("patchbay"), grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithIdleTimeout(0),
		grpc.WithMaxHeaderListSize(maxHeaders), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		_ = conn.Close()
		return err
	}
	l.auth, l.kv = pb.NewAuthClient(l.grpc), pb.NewKVClient(l.grpc)
	return nil
}

// done is for a connection on which TLS is agreed already.
type done struct {
	credentials.TransportCredentials
	state tls.ConnectionState
}

func (d done) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return conn, credentials.TLSInfo{State: d.state, CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}, nil
}

func (d done) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

func (d done) Clone() credentials.TransportCredentials { return d }

// bounded remembers why a connection ended: the library says it in words only.
type bounded struct {
	net.Conn
	broke atomic.Pointer[error]
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	if err != nil {
		b.broke.CompareAndSwap(nil, &err)
	}
	return n, err
}

func (b *bounded) Write(p []byte) (int, error) {
	n, err := b.Conn.Write(p)
	if err != nil {
		b.broke.CompareAndSwap(nil, &err)
	}
	return n, err
}

func (l *link) close() {
	_ = l.grpc.Close()
	_ = l.conn.Close() // the library closes only what it has dialed
}

// status asks the server how it is. It needs no rights.
func (l *link) status(ctx context.Context) (*pb.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	return ask(ctx, l, pb.NewMaintenanceClient(l.grpc).Status, &pb.StatusRequest{})
}

// oldest is the first version whose users have what we need.
const oldest = "3.4"

// meets refuses what can't be administered, before a password is told.
func (l *link) meets(state *pb.StatusResponse) error {
	address := l.server.Address()
	switch {
	case older(state.GetVersion()):
		return patchbay.Errorf(patchbay.NotSupported, "%s is etcd %s, and has to be %s at least", address, driver.Quoted(state.GetVersion()), oldest)
	case state.GetIsLearner():
		return learner(address)
	case state.GetLeader() == 0:
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s has no leader: the cluster has lost too many of its members, or is choosing one", address).AsTransient()
	}
	return nil
}

// older reports whether a version is from before [oldest]. Of what is no version it
// says yes.
func older(version string) bool {
	number := func(text string) int {
		n := 0
		for _, r := range text {
			if r < '0' || r > '9' || n > 1000 {
				return -1
			}
			n = 10*n + int(r-'0')
		}
		return n
	}
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	return number(major) < 3 || number(major) == 3 && number(minor) < 4
}

func (l *link) signIn(ctx context.Context) error {
	token, err := l.tokenOf(ctx, l.user.Username, l.user.Password.Reveal())
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.token = token
	l.mu.Unlock()
	return nil
}

func (l *link) tokenOf(ctx context.Context, name, password string) (string, error) {
	answer, err := l.auth.Authenticate(ctx, &pb.AuthenticateRequest{Name: name, Password: password})
	return answer.GetToken(), err
}

// signsIn reports whether a user has that password.
func (l *link) signsIn(ctx context.Context, name, password string) (bool, error) {
	_, err := l.tokenOf(ctx, name, password)
	switch {
	case err == nil:
		return true, nil
	case said(err, rpctypes.ErrGRPCAuthFailed), strings.HasSuffix(message(err), noPassword):
		return false, nil
	}
	return false, err
}

// noPassword is what etcd says of a user that signs in with certificates alone; it has
// no code for it.
const noPassword = "password was given for no password user"

// signed is ctx with what says who asks.
func (l *link) signed(ctx context.Context) context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.token == "" {
		return ctx
	}
	return metadata.AppendToOutgoingContext(ctx, rpctypes.TokenFieldNameGRPC, l.token)
}

// ask makes a request as who is signed in, and signs in anew where the token is not
// taken any more: what was asked has had no effect then.
func ask[Q, A any](ctx context.Context, l *link, f func(context.Context, Q, ...grpc.CallOption) (A, error), q Q) (A, error) {
	answer, err := f(l.signed(ctx), q)
	for range renewals {
		if !noLongerSignedIn(err) {
			break
		}
		if err := l.signIn(ctx); err != nil {
			return answer, err
		}
		answer, err = f(l.signed(ctx), q)
	}
	return answer, err
}

// version is the protocol of the connection; "" in the clear.
func (l *link) version() string {
	if l.state == nil {
		return ""
	}
	return tls.VersionName(l.state.Version)
}
