package nats

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/jwt/v2"
	natsgo "github.com/nats-io/nats.go"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

const (
	// requestLimit bounds a request whose context has no deadline.
	requestLimit = 10 * time.Second
	// stragglers is how long the other servers of a cluster may take behind
	// the first one's answer.
	stragglers = 2 * time.Second

	claimsUpdate  = "$SYS.REQ.CLAIMS.UPDATE"
	accountUpdate = "$SYS.REQ.ACCOUNT.%s.CLAIMS.UPDATE"
	// accountUpdateOld is what tools of the first servers with accounts use.
	accountUpdateOld = "$SYS.ACCOUNT.%s.CLAIMS.UPDATE"
	accountLookup    = "$SYS.REQ.ACCOUNT.%s.CLAIMS.LOOKUP"
	accountConns     = "$SYS.REQ.ACCOUNT.%s.CONNZ"
	accountStream    = "$SYS.REQ.ACCOUNT.%s.JSZ"
	serverPing       = "$SYS.REQ.SERVER.PING"
	serverConns      = "$SYS.REQ.SERVER.%s.CONNZ"
	serverKick       = "$SYS.REQ.SERVER.%s.KICK"
	serverVars       = "$SYS.REQ.SERVER.PING.VARZ"
)

// admin keeps one connection to the system account warm. A lost one is dialed
// anew by the next call, so that a call knows at once whether the server can
// be reached, instead of waiting for a reconnect of unknown length.
type admin struct {
	config
	turn chan struct{} // holds the right to look at the fields below
	c    *session
	done bool
}

// session is one connection to the system account.
type session struct {
	nc         *link
	connection connection
	account    string
	vars       vars
	trusted    map[string]bool // operator keys that the server accepts accounts of
	watch      *watch          // used by whoever has the account's turn
	// suspect says that an answer did not come in time: the server may have
	// gone without a word.
	suspect atomic.Bool
	// last is what was read last. Whoever has it changes nothing in it.
	last atomic.Pointer[reading]
	// values counts what was read of the server's JSON in this call.
	values atomic.Int64
}

// renew begins a call.
func (s *session) renew(ctx context.Context) {
	s.nc.wire.budget.Renew(ctx)
	s.values.Store(0)
}

// vars is what we read of a server's VARZ.
type vars struct {
	Version   string `json:"version"`
	System    string `json:"system_account"`
	Operators []struct {
		Subject string `json:"sub"`
		Nats    struct {
			SigningKeys []string `json:"signing_keys"`
			Strict      bool     `json:"strict_signing_key_usage"`
		} `json:"nats"`
	} `json:"trusted_operators_claim"`
	JetStream struct {
		Config *struct{} `json:"config"`
	} `json:"jetstream"`
}

func newAdmin(c config) *admin { return &admin{config: c, turn: make(chan struct{}, 1)} }

func (a *admin) close() {
	a.turn <- struct{}{}
	defer func() { <-a.turn }()
	a.done = true
	if a.c != nil {
		a.c.nc.Close()
		a.c = nil
	}
}

// session returns a connection that was open a moment ago.
func (a *admin) session(ctx context.Context) (*session, error) {
	const what = "administer the NATS server"
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return nil, fault(ctx, what, ctx.Err(), nil, patchbay.AdminRefused)
	}
	if ctx.Err() != nil {
		return nil, fault(ctx, what, ctx.Err(), nil, patchbay.AdminRefused)
	}
	if a.done {
		return nil, patchbay.Errorf(patchbay.Internal, "%s: the target was closed", what)
	}
	call := ctx
	ctx, cancel := bounded(ctx)
	defer cancel()
	if a.c != nil && a.c.alive(ctx) {
		a.c.renew(call)
		return a.c, nil
	}
	nc, err := a.connect(ctx, what, a.servers, a.dialer, a.system, patchbay.AdminRefused, natsgo.NoEcho())
	if err != nil {
		return nil, err
	}
	nc.wire.budget.Renew(call)
	c := &session{nc: nc, account: a.account, connection: connection{server: nc.ConnectedServerId()}}
	c.connection.id, _ = nc.GetClientID() // every server of our oldest version has one
	if c.watch, err = newWatch(ctx, c); err == nil {
		err = c.meet(ctx, a.issuer)
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	a.c = c
	return c, nil
}

// connect signs in. The connection does not come back by itself when it is
// lost.
func (c *config) connect(ctx context.Context, what string, servers []string, d driver.Dialer, l login, refusal patchbay.Code, more ...natsgo.Option) (*link, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if ctx.Err() != nil {
		return nil, fault(ctx, what, ctx.Err(), nil, refusal)
	}
	deadline, _ := ctx.Deadline()
	if wantsTLS(servers) {
		secured := *c
		secured.secure = true
		c = &secured
	}
	dialer := &contextDialer{config: c, login: l, ctx: ctx, next: d, budget: driver.NewBudget(strings.Join(servers, ","), driver.CallBytes)}
	defer dialer.release()
	options := []natsgo.Option{
		natsgo.Name("patchbay"), natsgo.NoReconnect(), natsgo.IgnoreDiscoveredServers(), natsgo.DontRandomize(),
		natsgo.Timeout(max(time.Until(deadline), time.Millisecond)),
		natsgo.SetCustomDialer(dialer), natsgo.SkipHostLookup(), natsgo.FlusherTimeout(requestLimit),
		// Without a handler of ours the library prints to the standard error.
		natsgo.ErrorHandler(func(*natsgo.Conn, *natsgo.Subscription, error) {}),
	}
	if c.secure {
		options = append(options, natsgo.Secure())
	}
	if c.tlsFirst {
		options = append(options, natsgo.TLSHandshakeFirst())
	}
	switch {
	case l.jwt != "":
		options = append(options, natsgo.UserJWTAndSeed(l.jwt, l.seed))
	case l.token != "":
		options = append(options, natsgo.Token(l.token))
	default:
		options = append(options, natsgo.UserInfo(l.username, l.password))
	}
	nc, err := natsgo.Connect(strings.Join(servers, ","), append(options, more...)...)
	if err != nil {
		return nil, fault(ctx, what, err, dialer.failure(), refusal)
	}
	return &link{nc, dialer.wire}, nil
}

// bounded gives ctx a deadline if it has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, requestLimit)
}

// meet asks the server which operators it trusts: what is signed with any
// other key it stores, and then refuses, until the account is gone with the
// next restart. So that is checked before anything is signed.
func (s *session) meet(ctx context.Context, issuer string) error {
	const what = "ask the NATS server about itself"
	replies, err := s.gather(ctx, what, serverVars, nil, 1)
	if err != nil {
		if errors.Is(err, natsgo.ErrNoResponders) {
			return patchbay.Errorf(patchbay.AdminRights, "%s is not of a user of the system account", adminSystem).
				WithFix("nsc generate creds --account SYS --name patchbay")
		}
		return err
	}
	if err := replies[0].into(&s.vars); err != nil {
		return unreadable(what, err)
	}
	if older(s.vars.Version, oldest) {
		return patchbay.Errorf(patchbay.NotSupported, "the NATS server has version %s, and has to have %s at least", driver.Quoted(s.vars.Version), strings.Join(oldest, "."))
	}
	if len(s.vars.Operators) == 0 {
		return patchbay.Errorf(patchbay.NotSupported, "the NATS server is not in operator mode: it has no trusted operator")
	}
	s.trusted = map[string]bool{}
	for _, operator := range s.vars.Operators {
		if !operator.Nats.Strict {
			s.trusted[operator.Subject] = true
		}
		for _, key := range operator.Nats.SigningKeys {
			s.trusted[key] = true
		}
	}
	if !s.trusted[issuer] {
		return patchbay.Errorf(patchbay.AdminRefused, "the server does not accept accounts signed with the registered operator key %s: it is neither its operator's nor one of that operator's signing keys", issuer).
			WithFix("nsc describe operator")
	}
	return nil
}

// oldest is the first version of the server that takes account updates with
// headers.
var oldest = []string{"2", "9", "15"}

// older compares versions; of what is not three numbers it says no.
func older(version string, than []string) bool {
	version, _, _ = strings.Cut(strings.TrimPrefix(version, "v"), "-")
	parts := strings.Split(version, ".")
	for i := range min(len(parts), len(than)) {
		have, err1 := strconv.Atoi(parts[i])
		want, err2 := strconv.Atoi(than[i])
		if err1 != nil || err2 != nil {
			return false
		}
		if have != want {
			return have < want
		}
	}
	return false
}

// reply is the envelope of the monitoring subjects, or for the others the
// message itself.
type reply struct {
	raw    []byte
	Data   json.RawMessage `json:"data"`
	Statsz json.RawMessage `json:"statsz"`
	Error  *struct {
		Code        int    `json:"code"`
		Description string `json:"description"`
	} `json:"error"`
}

func (r reply) into(v any) error {
	if r.Error != nil {
		return errors.New(short(r.Error.Description))
	}
	return json.Unmarshal(r.Data, v)
}

// request is gather for a subject that one server's answer is enough for.
func (s *session) request(ctx context.Context, what, subject string, body []byte) ([]byte, error) {
	replies, err := s.gather(ctx, what, subject, body, 1)
	if err != nil {
		return nil, err
	}
	return replies[0].raw, nil
}

// gather sends a request that every server of a cluster answers, and waits for
// n answers; when some came, the rest may be missing. Nobody there to answer
// is an error that wraps [natsgo.ErrNoResponders].
func (s *session) gather(ctx context.Context, what, subject string, body []byte, n int) ([]reply, error) {
	return s.gatherMsg(ctx, what, &natsgo.Msg{Subject: subject, Data: body}, n)
}

func (s *session) gatherMsg(ctx context.Context, what string, request *natsgo.Msg, n int) ([]reply, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	defer s.nc.during(ctx)()
	inbox := s.nc.NewRespInbox()
	answers, err := s.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, s.lost(ctx, what, err)
	}
	defer func() { _ = answers.Unsubscribe() }()
	_ = answers.SetPendingLimits(maxPending, driver.CallBytes) // it is there, and they are positive
	request.Reply = inbox
	if err := s.nc.PublishMsg(request); err != nil {
		return nil, s.lost(ctx, what, err)
	}
	var replies []reply
	wait := ctx
	for len(replies) < n {
		m, err := answers.NextMsgWithContext(wait)
		if err != nil {
			if len(replies) > 0 && ctx.Err() == nil && s.nc.IsConnected() {
				break
			}
			if errors.Is(err, natsgo.ErrNoResponders) {
				return nil, fmt.Errorf("%s: %w", what, err)
			}
			return nil, s.lost(ctx, what, err)
		}
		r := reply{raw: m.Data}
		if err := s.charge(m.Data); err != nil {
			return nil, s.lost(ctx, what, err)
		}
		_ = json.Unmarshal(m.Data, &r) // a JWT is no JSON
		replies = append(replies, r)
		if len(replies) == 1 && n > 1 {
			var stop context.CancelFunc
			wait, stop = context.WithTimeout(ctx, stragglers)
			defer stop()
		}
	}
	return replies, nil
}

// lost says why a request got no answer.
func (s *session) lost(ctx context.Context, what string, err error) error {
	s.suspect.Store(true)
	return fault(ctx, what, err, s.nc.misbehaved(), patchbay.AdminRefused)
}

// alive reports whether the connection can be used, and asks the server when
// the last answer did not come.
func (s *session) alive(ctx context.Context) bool {
	if s.nc.misbehaved() != nil {
		s.nc.Close()
	}
	if s.suspect.Load() && s.nc.IsConnected() {
		ctx, cancel := context.WithTimeout(ctx, stragglers)
		defer cancel()
		defer s.nc.during(ctx)()
		if s.nc.FlushWithContext(ctx) == nil {
			s.suspect.Store(false)
		} else {
			s.nc.Close()
		}
	}
	return s.nc.IsConnected()
}

// knows reports whether a connection is open. A server that is not there any
// more knows none.
func (s *session) knows(ctx context.Context, c connection) (bool, error) {
	replies, err := s.gather(ctx, "look for a connection", fmt.Sprintf(serverConns, c.server), fmt.Appendf(nil, `{"cid":%d}`, c.id), 1)
	if errors.Is(err, natsgo.ErrNoResponders) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var list struct {
		Connections []struct {
			ID uint64 `json:"cid"`
		} `json:"connections"`
	}
	if replies[0].Error != nil {
		return false, nil // there is none
	}
	if err := replies[0].into(&list); err != nil {
		return false, unreadable("look for a connection", err)
	}
	return len(list.Connections) > 0, nil
}

// servers is how many servers the cluster has now.
func (s *session) servers(ctx context.Context) (int, error) {
	const what = "count the NATS servers"
	replies, err := s.gather(ctx, what, serverPing, nil, 1)
	if err != nil {
		return 0, err
	}
	var stats struct {
		Active int `json:"active_servers"`
	}
	if err := json.Unmarshal(replies[0].Statsz, &stats); err != nil {
		return 0, unreadable(what, err)
	}
	return min(max(stats.Active, 1), maxPending), nil
}

// lookup is the account's JWT.
func (s *session) lookup(ctx context.Context) (string, error) {
	const what = "read the account"
	subject := fmt.Sprintf(accountLookup, s.account)
	token, err := s.request(ctx, what, subject, nil)
	if errors.Is(err, natsgo.ErrNoResponders) {
		return "", patchbay.Errorf(patchbay.NotSupported, "the NATS server does not take account updates: its account resolver is not the full one").
			WithFix("set resolver { type: full, dir: … } in the server's configuration")
	}
	if err != nil {
		return "", err
	}
	if len(token) == 0 {
		// A server that has just joined its cluster may not have it yet.
		n, err := s.servers(ctx)
		if err != nil {
			return "", err
		}
		replies, err := s.gather(ctx, what, subject, nil, n)
		if err != nil {
			return "", err
		}
		for _, r := range replies {
			if len(r.raw) > 0 {
				token = r.raw
			}
		}
	}
	if len(token) == 0 {
		return "", patchbay.Errorf(patchbay.TargetNotFound, "the NATS server has no account %s", s.account).
			WithFix("nsc push --account NAME")
	}
	return string(token), nil
}

// open is the account of a token, if somebody signed it whom the server
// trusts: what we sign again must have been valid before.
func (s *session) open(token string) (*account, error) {
	_, payload, _ := strings.Cut(token, ".")
	payload, _, _ = strings.Cut(payload, ".")
	if text, err := base64.RawURLEncoding.DecodeString(payload); err == nil {
		if err := s.charge(text); err != nil {
			return nil, err
		}
	}
	a, err := parseAccount(token, s.account)
	if err != nil {
		return nil, patchbay.Errorf(patchbay.NotSupported, "the account %s can't be edited: what the server has is not a JWT of it, of the second version", s.account).
			WithFix("nsc upgrade-jwt").WithSaid(err.Error())
	}
	if !s.trusted[a.issuer] {
		return nil, patchbay.Errorf(patchbay.AdminRights, "the account %s is signed by %s, whom the server does not trust", s.account, a.issuer)
	}
	return a, nil
}

// reading is an account as a token says it.
type reading struct {
	token   string
	account *account
}

// read is the account as it is, to look at only: a look at one login reads it several
// times, and it has every other login of the account in it too. So what the same token
// says is not read out of it again.
func (t *target) read(ctx context.Context) (*session, *account, error) {
	s, err := t.admin.session(ctx)
	if err != nil {
		return nil, nil, err
	}
	token, err := s.lookup(ctx)
	if err != nil {
		return nil, nil, err
	}
	if last := s.last.Load(); last != nil && last.token == token {
		return s, last.account, nil
	}
	a, err := s.open(token)
	if err != nil {
		return s, nil, err
	}
	s.last.Store(&reading{token, a})
	return s, a, nil
}

// limit is how large an account's JWT may be, in bytes.
func (s *session) limit() int64 { return min(s.nc.MaxPayload(), jwt.MaxTokenSize) }

// push replaces the account's JWT on every server. It returns when all have
// applied it: connections that it refuses are closed by then.
func (s *session) push(ctx context.Context, token string, does map[owner]op) error {
	const what = "push the account"
	m := natsgo.NewMsg(claimsUpdate)
	m.Data = []byte(token)
	m.Header.Set(editsHeader, writeEdits(does))
	if limit := s.limit(); int64(m.Size()) > limit {
		return patchbay.Errorf(patchbay.Conflict, "the account's JWT would have %d bytes, and the server takes at most %d in one message: the account has as many logins as it can hold", len(token), limit).
			WithFix("raise max_payload in the server's configuration, or connect to another account")
	}
	n, err := s.servers(ctx)
	if err != nil {
		return err
	}
	replies, err := s.gatherMsg(ctx, what, m, n)
	if err != nil {
		if errors.Is(err, natsgo.ErrNoResponders) {
			return patchbay.Errorf(patchbay.NotSupported, "the NATS server does not take account updates")
		}
		return err
	}
	for _, r := range replies {
		if r.Error != nil {
			return patchbay.Errorf(patchbay.AdminRefused, "the NATS server refuses the account's update").WithSaid(r.Error.Description)
		}
	}
	return nil
}
