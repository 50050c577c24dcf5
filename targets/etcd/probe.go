package etcd

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// probedPrefixes bounds how many prefixes a probe tries.
const probedPrefixes = 8

// PrepareProbe implements [driver.Target].
func (t *target) PrepareProbe(_ context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	for _, s := range t.advertised {
		r.Servers = append(r.Servers, s.Address())
	}
	return r, nil
}

// tryLogin is the driver's Probe. What would change something is put into a transaction
// whose condition never holds: etcd judges the rights to all of it, and does none of it.
func tryLogin(ctx context.Context, c driver.Config, r driver.ProbeRequest) (driver.ProbeResult, error) {
	const what = "sign in to etcd"
	started := time.Now()
	cfg, err := parseConfig(c)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	user, err := driver.Secrets(r.Credential.Values()).UserPassword()
	if err != nil {
		return driver.ProbeResult{}, err
	}
	var scope []permission
	if r.Access != "" {
		if scope, err = cfg.scopeOf(r.Access, r.Options); err != nil {
			return driver.ProbeResult{}, err
		}
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callLimit)
		defer cancel()
	}
	l, _, err := connect(ctx, what, cfg.advertised, cfg.clientTLS.ReadBy(r.Reading), r.Dialer, user, patchbay.LoginRefused)
	if err != nil {
		return driver.ProbeResult{}, err
	}
	defer l.close()
	p := &probe{link: l, scope: scope, result: driver.ProbeResult{TLS: l.version(), Allowed: []string{"sign in"}}}
	if r.Access != "" {
		if err := p.try(ctx); err != nil {
			return driver.ProbeResult{}, l.fault(ctx, "use etcd", err, patchbay.LoginRefused)
		}
	}
	p.result.Took = time.Since(started)
	return p.result, nil
}

// probe is one sign-in as the application.
type probe struct {
	*link
	scope  []permission
	full   bool // the cluster takes no writes
	result driver.ProbeResult
}

func (p *probe) try(ctx context.Context) error {
	for _, within := range p.scope[:min(len(p.scope), probedPrefixes)] {
		for _, trial := range []struct {
			verb string
			may  bool
			do   func(context.Context, permission) error
		}{
			{"read", true, p.read}, {"watch", true, p.watch}, {"write", within.writes(), p.write},
		} {
			if err := p.allowed(trial.do(ctx, within), trial.may, trial.verb+" "+within.keys()); err != nil {
				return err
			}
		}
		for _, key := range outside(within) {
			if slices.ContainsFunc(p.scope, func(other permission) bool { return other.has(key) }) {
				continue
			}
			beyond := permission{key: key, kind: within.kind}
			for verb, do := range map[string]func(context.Context, permission) error{"read": p.read, "watch": p.watch, "write": p.write} {
				if err := p.allowed(do(ctx, beyond), false, verb+" keys beside "+within.key); err != nil {
					return err
				}
			}
		}
	}
	if err := p.allowed(p.read(ctx, permission{key: "\x00", end: "\x00"}), false, "read every key"); err != nil {
		return err
	}
	_, err := ask(ctx, p.link, p.auth.UserList, &pb.AuthUserListRequest{})
	if err == nil && p.full {
		// It is so for everybody, whatever they were given.
		p.result.NotChecked = append(p.result.NotChecked, "administer the cluster: while the space of its database is used up, this version of etcd lets everybody who signs in")
		return nil
	}
	return p.allowed(err, false, "administer the cluster")
}

// allowed notes how a trial ended.
func (p *probe) allowed(err error, may bool, what string) error {
	switch {
	case noSpace(err):
		p.full = true
		p.result.NotChecked = append(p.result.NotChecked, what+": the cluster takes no writes, for the space of its database is used up")
	case err != nil && !denied(err):
		return err
	case may && err != nil:
		return patchbay.Errorf(patchbay.RightsMissing, "it may not %s", what)
	case !may && err == nil:
		return patchbay.Errorf(patchbay.RightsExcess, "it may %s", what)
	case may:
		p.result.Allowed = append(p.result.Allowed, what)
	case !slices.Contains(p.result.Refused, what):
		p.result.Refused = append(p.result.Refused, what)
	}
	return nil
}

// outside are a key right before all that a prefix has, and the one right behind.
func outside(p permission) []string {
	last := len(p.key) - 1
	return []string{p.key[:last] + string([]byte{p.key[last] - 1}) + "\xff", p.end}
}

// has reports whether a key is in the range.
func (p permission) has(key string) bool { return p.key <= key && key < p.end }

// never is a condition that does not hold for any key.
func never(key []byte) []*pb.Compare {
	return []*pb.Compare{{Key: key, Target: pb.Compare_VERSION, Result: pb.Compare_LESS, TargetUnion: &pb.Compare_Version{Version: 0}}}
}

// read gets one key, and asks whether all of the range may be got: to count a million
// would not be little.
func (p *probe) read(ctx context.Context, of permission) error {
	key := []byte(of.key)
	if _, err := ask(ctx, p.link, p.kv.Range, &pb.RangeRequest{Key: key, Limit: 1, KeysOnly: true}); err != nil {
		return err
	}
	_, err := ask(ctx, p.link, p.kv.Txn, &pb.TxnRequest{Compare: never(key), Success: []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key, RangeEnd: []byte(of.end)}}},
	}})
	return err
}

// write asks whether a key may be put, and all of the range be deleted. Its condition is
// about a key that the login may read.
func (p *probe) write(ctx context.Context, of permission) error {
	_, err := ask(ctx, p.link, p.kv.Txn, &pb.TxnRequest{Compare: never([]byte(p.scope[0].key)), Success: []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(of.key + "\x00")}}},
	}})
	if err != nil {
		return err
	}
	_, err = ask(ctx, p.link, p.kv.Txn, &pb.TxnRequest{Compare: never([]byte(p.scope[0].key)), Success: []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(of.key), RangeEnd: []byte(of.end)}}},
	}})
	return err
}

// watch begins a watch, and ends it at once. Before 3.6 a signed token that is not taken
// any more is refused in the same words as a watch.
func (p *probe) watch(ctx context.Context, of permission) error {
	err := p.watchOnce(ctx, of)
	for i := 0; i < renewals && (noLongerSignedIn(err) || denied(err) && slices.Contains(p.scope, of)); i++ {
		if err := p.signIn(ctx); err != nil {
			return err
		}
		err = p.watchOnce(ctx, of)
	}
	return err
}

func (p *probe) watchOnce(ctx context.Context, of permission) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := pb.NewWatchClient(p.grpc).Watch(p.signed(ctx))
	if err != nil {
		return err
	}
	request := &pb.WatchCreateRequest{Key: []byte(of.key), RangeEnd: []byte(of.end)}
	if err := stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: request}}); err != nil {
		return err
	}
	answer, err := stream.Recv()
	switch {
	case err != nil:
		return err
	case !answer.GetCanceled() && answer.GetCreated():
		return nil
	}
	for _, known := range []error{rpctypes.ErrGRPCPermissionDenied, rpctypes.ErrGRPCInvalidAuthToken, rpctypes.ErrGRPCAuthOldRevision} {
		if strings.HasSuffix(answer.GetCancelReason(), message(known)) {
			return known
		}
	}
	return errors.New("the watch was refused")
}
