package testenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"patchbay.dev/patchbay/internal/natsserver"
)

// NATSServer is a running NATS server with eyes and hands of its own, which
// share no code with the product: they see and change the application account
// as another administrator would.
type NATSServer struct{ *natsserver.Server }

// StartNATS starts a server in this process; the caller stops it.
func StartNATS(ctx context.Context, c natsserver.Config) (*NATSServer, error) {
	s, err := natsserver.Start(ctx, c)
	if err != nil {
		return nil, err
	}
	return &NATSServer{s}, nil
}

// NATS starts a server that ends with the test.
func NATS(t testing.TB, c natsserver.Config) *NATSServer {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	s, err := StartNATS(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Connect connects as an unrestricted user of the application account. The
// caller closes the connection.
func (s *NATSServer) Connect(options ...nats.Option) (*nats.Conn, error) {
	creds, err := s.AccountCreds("testenv")
	if err != nil {
		return nil, err
	}
	return s.connect(creds.Reveal(), options...)
}

func (s *NATSServer) connect(creds string, options ...nats.Option) (*nats.Conn, error) {
	return nats.Connect(s.URL(), append(options, nats.UserCredentialBytes([]byte(creds)), nats.NoReconnect())...)
}

// Claims are the application account's, as the server has them now.
func (s *NATSServer) Claims(ctx context.Context) (*jwt.AccountClaims, error) {
	token, err := s.ask(ctx, "$SYS.REQ.ACCOUNT."+s.Account()+".CLAIMS.LOOKUP", nil)
	if err != nil {
		return nil, err
	}
	return jwt.DecodeAccountClaims(string(token))
}

// Push replaces the application account's claims.
func (s *NATSServer) Push(ctx context.Context, claims *jwt.AccountClaims) error {
	operator, err := nkeys.FromSeed([]byte(s.OperatorSeed().Reveal()))
	if err != nil {
		return err
	}
	token, err := claims.Encode(operator)
	if err != nil {
		return err
	}
	return s.PushToken(ctx, token)
}

// PushToken replaces the application account's JWT.
func (s *NATSServer) PushToken(ctx context.Context, token string) error {
	answer, err := s.ask(ctx, "$SYS.REQ.CLAIMS.UPDATE", []byte(token))
	if err != nil {
		return err
	}
	var r struct {
		Data struct {
			Code int `json:"code"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer, &r); err != nil || r.Data.Code != http.StatusOK {
		return fmt.Errorf("push the account: %s", answer)
	}
	return nil
}

// Users are the signing keys with a scope that the account has: by role, what
// each allows. Two keys of one role are an error.
func (s *NATSServer) Users(ctx context.Context) (map[string]*jwt.UserScope, error) {
	claims, err := s.Claims(ctx)
	if err != nil {
		return nil, err
	}
	users := map[string]*jwt.UserScope{}
	for _, scope := range claims.SigningKeys {
		user, ok := scope.(*jwt.UserScope)
		if !ok {
			continue
		}
		if users[user.Role] != nil {
			return nil, errors.New("two signing keys have the role " + user.Role)
		}
		users[user.Role] = user
	}
	return users, nil
}

// ask sends a request as the system account.
func (s *NATSServer) ask(ctx context.Context, subject string, body []byte) ([]byte, error) {
	c, err := s.connect(s.Admin()["systemCreds"].Reveal())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	m, err := c.RequestWithContext(ctx, subject, body)
	if err != nil {
		return nil, err
	}
	return m.Data, nil
}
