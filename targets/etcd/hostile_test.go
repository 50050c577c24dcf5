package etcd_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// liar answers like an etcd that means no good. It stands for what no real one can be
// made to do.
type liar struct {
	pb.UnimplementedAuthServer
	pb.UnimplementedMaintenanceServer
	version string
	answer  func() error // before each answer but a sign-in's
	roles   []string
	signIns atomic.Int64
}

func (l *liar) says() error {
	if l.answer == nil {
		return nil
	}
	return l.answer()
}

func (l *liar) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	return &pb.StatusResponse{Version: l.version, Leader: 1}, nil
}

func (l *liar) Authenticate(context.Context, *pb.AuthenticateRequest) (*pb.AuthenticateResponse, error) {
	l.signIns.Add(1)
	return &pb.AuthenticateResponse{Token: "t"}, nil
}

func (l *liar) UserGet(context.Context, *pb.AuthUserGetRequest) (*pb.AuthUserGetResponse, error) {
	return nil, rpctypes.ErrGRPCUserNotFound
}

func (l *liar) RoleGet(context.Context, *pb.AuthRoleGetRequest) (*pb.AuthRoleGetResponse, error) {
	return nil, rpctypes.ErrGRPCRoleNotFound
}

func (l *liar) RoleList(context.Context, *pb.AuthRoleListRequest) (*pb.AuthRoleListResponse, error) {
	return &pb.AuthRoleListResponse{Roles: l.roles}, l.says()
}

func (l *liar) RoleAdd(context.Context, *pb.AuthRoleAddRequest) (*pb.AuthRoleAddResponse, error) {
	return &pb.AuthRoleAddResponse{}, nil
}

func (l *liar) UserAdd(context.Context, *pb.AuthUserAddRequest) (*pb.AuthUserAddResponse, error) {
	return &pb.AuthUserAddResponse{}, nil
}

func (l *liar) UserGrantRole(context.Context, *pb.AuthUserGrantRoleRequest) (*pb.AuthUserGrantRoleResponse, error) {
	return &pb.AuthUserGrantRoleResponse{}, nil
}

func (l *liar) UserChangePassword(context.Context, *pb.AuthUserChangePasswordRequest) (*pb.AuthUserChangePasswordResponse, error) {
	return &pb.AuthUserChangePasswordResponse{}, nil
}

func (l *liar) RoleGrantPermission(context.Context, *pb.AuthRoleGrantPermissionRequest) (*pb.AuthRoleGrantPermissionResponse, error) {
	return &pb.AuthRoleGrantPermissionResponse{}, nil
}

// registered is a liar as a target.
func (l *liar) registered(t *testing.T) driver.Config {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if l.version == "" {
		l.version = "3.5.9"
	}
	s := grpc.NewServer()
	pb.RegisterAuthServer(s, l)
	pb.RegisterMaintenanceServer(s, l)
	done := make(chan error, 1)
	go func() { done <- s.Serve(listener) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return driver.Config{
		ID:       "/subscriptions/s/resourceGroups/g/providers/Patchbay.Services/etcdServers/liar",
		Endpoint: "http://" + listener.Addr().String(), Properties: []byte(`{"prefixes":["/orders/"]}`), Dialer: &net.Dialer{},
		Admin: driver.Secrets{"username": patchbay.NewSecret("root"), "password": patchbay.NewSecret("pw")},
	}
}

func TestAServerThatSaysYesAndForgetsIsFoundOut(t *testing.T) {
	target := opened(t, (&liar{}).registered(t))
	_ = code(t, "EnsureLogin", target.EnsureLogin(t.Context(), request(t, target, "a", patchbay.Writer, nil)), patchbay.TargetUnreachable, true)
}

func TestAnOldServerIsRefusedWithTheVersionThatIsNeeded(t *testing.T) {
	for _, version := range []string{"3.3.27", "2.3.8", "", "x", "3", "99999999999999999999.9"} {
		l := &liar{version: version}
		if version == "" {
			l.version = " "
		}
		_, err := opened(t, l.registered(t)).Inspect(t.Context(), "")
		if e := code(t, version, err, patchbay.NotSupported, false); !strings.Contains(e.Message, "3.4") {
			t.Errorf("%q: %v", version, err)
		}
		if l.signIns.Load() > 0 {
			t.Errorf("%q: it was told a password", version)
		}
	}
}

func TestAnswersAreBounded(t *testing.T) {
	many := &liar{}
	for i := range 1 << 16 {
		many.roles = append(many.roles, fmt.Sprint(i, strings.Repeat("x", 300)))
	}
	target := opened(t, many.registered(t))
	_, err := target.Owned(t.Context())
	_ = code(t, "a list of 20 MiB", err, patchbay.TargetMisbehaved, false)

	never := &liar{answer: func() error { return rpctypes.ErrGRPCInvalidAuthToken }}
	target = opened(t, never.registered(t))
	if _, err := target.Owned(t.Context()); err == nil {
		t.Error("a token that is never taken is")
	}
	if n := never.signIns.Load(); n > 20 {
		t.Errorf("it signs in %d times", n)
	}

	// Its words are the administrator's alone, and nobody's that asks for a connection.
	canary := &liar{answer: func() error { return errors.New("CanaryInTheMine") }}
	target = opened(t, canary.registered(t))
	_, err = target.Owned(t.Context())
	e := patchbay.AsError(err)
	if e == nil || strings.Contains(fmt.Sprint(e.Error(), e.Fix), "Canary") || !strings.Contains(e.Said, "CanaryInTheMine") {
		t.Errorf("%v; it says %q", err, e.Said)
	}
}
