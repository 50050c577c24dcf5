package etcd

import (
	"context"
	"errors"
	"slices"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// said reports whether err is one of etcd's own answers. Versions differ in the codes
// that they give with the words.
func said(err error, known ...error) bool {
	is, ok := status.FromError(err)
	return ok && slices.ContainsFunc(known, func(k error) bool { return status.Convert(k).Message() == is.Message() })
}

// message is what the server said, without the code.
func message(err error) string { return status.Convert(err).Message() }

// denied reports that the user may not do what it asked for.
func denied(err error) bool { return said(err, rpctypes.ErrGRPCPermissionDenied) }

// noLongerSignedIn reports that a token is not taken any more: it was not used for a
// while, the server was started anew, or somebody changed a user.
func noLongerSignedIn(err error) bool {
	return said(err, rpctypes.ErrGRPCInvalidAuthToken, rpctypes.ErrGRPCAuthOldRevision)
}

// noSpace reports that the cluster takes no writes.
func noSpace(err error) bool { return said(err, rpctypes.ErrGRPCNoSpace) }

const (
	enableAuth = "etcdctl user add root && etcdctl user grant-role root root && etcdctl auth enable"
	freeSpace  = "etcdctl endpoint status; etcdctl compact REVISION, etcdctl defrag, etcdctl alarm disarm"
)

// fault says what err of a server means, in our words. refusal is the code for a
// sign-in that it refuses: AdminRefused where that is the administrator's, who hears
// what was said too.
func (l *link) fault(ctx context.Context, what string, err error, refusal patchbay.Code) *patchbay.Error {
	if e := (*patchbay.Error)(nil); errors.As(err, &e) {
		return e
	}
	e := l.meaning(ctx, err, refusal)
	e.Message = what + ": " + e.Message
	if refusal == patchbay.AdminRefused {
		e.Said = status.Convert(err).Message()
	}
	return e
}

func (l *link) meaning(ctx context.Context, err error, refusal patchbay.Code) *patchbay.Error {
	if e := over(ctx); e != nil {
		return e
	}
	if e := l.budget.Fault(); e != nil {
		e := *e
		return &e
	}
	address := l.server.Address()
	switch {
	case said(err, rpctypes.ErrGRPCAuthFailed):
		e := patchbay.Errorf(refusal, "%s refuses the user or its password", address)
		if refusal == patchbay.AdminRefused {
			e = e.WithFix("register the cluster again with a user that has the role root, and its password")
		}
		return e
	case said(err, rpctypes.ErrGRPCAuthNotEnabled):
		return patchbay.Errorf(patchbay.NotSupported, "authentication is not enabled on %s: everybody may do everything there, and a login would be nobody's limit", address).
			WithFix(enableAuth)
	case denied(err) && refusal == patchbay.AdminRefused:
		return patchbay.Errorf(patchbay.AdminRights, "the administrator may not do that on %s: it has not the role root", address).
			WithFix("etcdctl user grant-role %s root", quoted(l.user.Username))
	case denied(err), noLongerSignedIn(err):
		return patchbay.Errorf(refusal, "%s does not let the user do that", address)
	case noSpace(err):
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s takes no writes: the space of its database is used up", address).WithFix(freeSpace)
	case said(err, rpctypes.ErrGRPCNotSupportedForLearner):
		return learner(address)
	case said(err, rpctypes.ErrGRPCRequestTooManyRequests):
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s has more requests than it takes", address).AsTransient()
	case said(err, rpctypes.ErrGRPCCorrupt):
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s says that its data is corrupt, and answers nobody", address).WithFix("etcdctl alarm list")
	}
	switch status.Code(err) {
	case codes.DeadlineExceeded:
		return patchbay.Errorf(patchbay.Timeout, "%s does not answer", address).AsTransient()
	case codes.Unimplemented:
		return patchbay.Errorf(patchbay.NotSupported, "%s does not know what an etcd server of version %s knows", address, oldest)
	case codes.ResourceExhausted:
		return patchbay.AsError(l.budget.Refuse("answers with more than %d MiB", maxMessage>>20))
	case codes.Unavailable, codes.Canceled, codes.Unknown, codes.Internal:
		if broke := l.conn.broke.Load(); broke != nil {
			if l.asked { // etcd asks only where it insists
				return patchbay.Errorf(patchbay.CertificateInvalid, "%s wants a certificate of its clients, and Patchbay has none", address).
					WithFix("have etcd serve this URL without --client-cert-auth and --trusted-ca-file")
			}
			return l.tls.DialError(*broke, address)
		}
	}
	return patchbay.Errorf(patchbay.TargetUnreachable, "%s gives no answer that can be used: it is in trouble, or no etcd", address).AsTransient()
}

func learner(address string) *patchbay.Error {
	return patchbay.Errorf(patchbay.TargetUnreachable, "%s is a learner, which lets nobody sign in", address).
		WithFix("register a voting member of the cluster: etcdctl member list")
}

// over is why a call ends whose context has; nil when that has not.
func over(ctx context.Context) *patchbay.Error {
	switch err := ctx.Err(); {
	case errors.Is(err, context.Canceled):
		return patchbay.Errorf(patchbay.Canceled, "%w", context.Canceled)
	case err != nil:
		return patchbay.Errorf(patchbay.Timeout, "no answer came in time").AsTransient()
	}
	return nil
}

// dialFault is of a connection that did not come about.
func dialFault(ctx context.Context, what string, err error, t driver.TLS, server driver.Server) *patchbay.Error {
	e := over(ctx)
	if e == nil {
		e = t.DialError(err, server.Address())
		e.Transient = e.Transient || e.Code == patchbay.NameNotResolved // it was registered, so it will have one again
		switch {
		case driver.HopOf(e) == driver.HopTLS, driver.HopOf(e) == driver.HopEnd && server.Scheme == "https":
			e = e.WithFix("where it has no TLS, and whoever is in between may read the passwords, register it with http://")
		case e.Code == patchbay.CertificateInvalid:
			e = e.WithFix("%s", driver.CertificateFix(e, "the property tls.serverName", "the property tls.ca"))
		}
	}
	copied := *e
	copied.Message = what + ": " + copied.Message
	return &copied
}
