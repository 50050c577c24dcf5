// Package natsserver runs a NATS server inside this process: operator mode with
// JWT users, JetStream, a system account and one application account, on a
// loopback port of its own. The demonstration and the tests use it; it is the
// real server, started without a configuration file.
package natsserver

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/renameio/v2"
	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"patchbay.dev/patchbay"
)

// Config says where the server keeps its things and where it listens.
type Config struct {
	// Dir holds keys, account JWTs and streams; a server started on it again is
	// the same server, on the same port. "" makes a temporary directory that
	// Stop removes.
	Dir string
	// Port is 0 for the port that Dir was last served on, or any free one.
	Port int
	// MaxPayload is in bytes; 0 for the product's default of one megabyte.
	MaxPayload int32
	// TLS makes the server require it; TLSFirst before its greeting.
	TLS      *tls.Config
	TLSFirst bool
	// Features are the product's feature flags, by name.
	Features map[string]bool
}

// Server is a running NATS server.
type Server struct {
	srv       *server.Server
	dir       string
	temporary bool
	state     state
	system    patchbay.Secret
	tls       bool
}

// state is what survives a restart, beside the account JWTs.
type state struct {
	Port            int    `json:"port"`
	Operator        string `json:"operator"`        // seed of the operator's identity
	OperatorSigning string `json:"operatorSigning"` // seed of its signing key
	System          string `json:"system"`          // seed of the system account
	Account         string `json:"account"`         // seed of the application account
}

// startLimit bounds the wait for the listener; JetStream may have streams to
// recover.
const startLimit = 30 * time.Second

// Start starts a server and returns when it accepts connections. The caller
// stops it.
func Start(ctx context.Context, c Config) (*Server, error) {
	s := &Server{dir: c.Dir, tls: c.TLS != nil}
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "patchbay-nats-")
		if err != nil {
			return nil, fmt.Errorf("nats server: %w", err)
		}
		s.dir, s.temporary = dir, true
	}
	if err := s.start(ctx, c); err != nil {
		s.Stop()
		return nil, fmt.Errorf("nats server: %w", err)
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, c Config) error {
	if err := s.load(); err != nil {
		return err
	}
	operator, err := s.operator()
	if err != nil {
		return err
	}
	resolver, err := s.resolver()
	if err != nil {
		return err
	}
	port := c.Port
	if port == 0 {
		port = s.state.Port
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s.srv, err = server.NewServer(&server.Options{
		ServerName: "patchbay",
		Host:       "127.0.0.1", Port: port,
		NoLog: true, NoSigs: true,
		MaxPayload: c.MaxPayload,
		JetStream:  true, StoreDir: filepath.Join(s.dir, "jetstream"),
		JetStreamMaxMemory: 64 << 20, JetStreamMaxStore: 256 << 20,
		TrustedOperators: []*jwt.OperatorClaims{operator},
		AccountResolver:  resolver, SystemAccount: operator.SystemAccount,
		TLSConfig: c.TLS, TLS: c.TLS != nil, TLSTimeout: 5, TLSHandshakeFirst: c.TLSFirst,
		FeatureFlags: c.Features,
	})
	if err != nil {
		resolver.Close()
		return err
	}
	s.srv.Start()
	limit := startLimit
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline))
	}
	if !s.srv.ReadyForConnections(limit) {
		return errors.New("it does not accept connections")
	}
	address, ok := s.srv.Addr().(*net.TCPAddr)
	if !ok {
		return errors.New("it does not listen on TCP")
	}
	s.state.Port = address.Port
	return s.save()
}

// Stop ends the server and waits for it. A temporary directory is removed;
// any other stays, to be started again.
func (s *Server) Stop() {
	if s.srv != nil {
		s.srv.Shutdown()
		s.srv.WaitForShutdown()
	}
	if s.temporary {
		_ = os.RemoveAll(s.dir)
	}
}

// URL is where clients connect.
func (s *Server) URL() string {
	scheme := "nats"
	if s.tls {
		scheme = "tls"
	}
	return scheme + "://" + s.Endpoint()
}

// Endpoint is host:port.
func (s *Server) Endpoint() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.state.Port))
}

// Account is the public key of the application account.
func (s *Server) Account() string { return public(s.state.Account) }

// Admin is the admin credential that a target of kind nats is registered
// with: operatorSeed and systemCreds.
func (s *Server) Admin() map[string]patchbay.Secret {
	return map[string]patchbay.Secret{
		"operatorSeed": patchbay.NewSecret(s.state.OperatorSigning),
		"systemCreds":  s.system,
	}
}

// Properties are the properties that a target of kind nats is registered with;
// a scope goes beside them.
func (s *Server) Properties() map[string]any {
	return map[string]any{"account": s.Account()}
}

// AccountCreds are the credentials of a new user of the application account who
// may do everything there, in the form of a creds file.
func (s *Server) AccountCreds(name string) (patchbay.Secret, error) {
	return newUser(name, s.state.Account)
}

// AccountSeed is the application account's own key, for tests that play
// somebody who administers the account by other means.
func (s *Server) AccountSeed() patchbay.Secret { return patchbay.NewSecret(s.state.Account) }

// OperatorSeed is the key of the operator's identity; Admin has its signing key.
func (s *Server) OperatorSeed() patchbay.Secret { return patchbay.NewSecret(s.state.Operator) }

// SystemSeed is the system account's key.
func (s *Server) SystemSeed() patchbay.Secret { return patchbay.NewSecret(s.state.System) }

func (s *Server) statePath() string { return filepath.Join(s.dir, "keys.json") }

// load reads the state, or makes one for a new directory.
func (s *Server) load() error {
	data, err := os.ReadFile(s.statePath())
	switch {
	case err == nil:
		if err := json.Unmarshal(data, &s.state); err != nil {
			return fmt.Errorf("%s: %w", s.statePath(), err)
		}
	case errors.Is(err, fs.ErrNotExist):
		for seed, create := range map[*string]func() (nkeys.KeyPair, error){
			&s.state.Operator: nkeys.CreateOperator, &s.state.OperatorSigning: nkeys.CreateOperator,
			&s.state.System: nkeys.CreateAccount, &s.state.Account: nkeys.CreateAccount,
		} {
			pair, err := create()
			if err != nil {
				return err
			}
			if *seed, err = seedOf(pair); err != nil {
				return err
			}
		}
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return err
		}
		if err := s.save(); err != nil {
			return err
		}
	default:
		return err
	}
	s.system, err = newUser("patchbay", s.state.System)
	return err
}

func (s *Server) save() error {
	data, err := json.Marshal(s.state)
	if err != nil {
		return err
	}
	return renameio.WriteFile(s.statePath(), data, 0o600)
}

func (s *Server) operator() (*jwt.OperatorClaims, error) {
	identity, err := nkeys.FromSeed([]byte(s.state.Operator))
	if err != nil {
		return nil, err
	}
	claims := jwt.NewOperatorClaims(public(s.state.Operator))
	claims.Name = "patchbay"
	claims.SystemAccount = public(s.state.System)
	claims.SigningKeys.Add(public(s.state.OperatorSigning))
	token, err := claims.Encode(identity)
	if err != nil {
		return nil, err
	}
	return jwt.DecodeOperatorClaims(token)
}

// resolver is the account store. Accounts that it has are kept as they are:
// whatever was pushed to them survives a restart.
func (s *Server) resolver() (*server.DirAccResolver, error) {
	signer, err := nkeys.FromSeed([]byte(s.state.OperatorSigning))
	if err != nil {
		return nil, err
	}
	resolver, err := server.NewDirAccResolver(filepath.Join(s.dir, "accounts"), 0, 0, server.NoDelete)
	if err != nil {
		return nil, err
	}
	system := jwt.NewAccountClaims(public(s.state.System))
	system.Name = "SYS"
	application := jwt.NewAccountClaims(public(s.state.Account))
	application.Name = "APP"
	application.Limits.JetStreamLimits = jwt.JetStreamLimits{
		MemoryStorage: jwt.NoLimit, DiskStorage: jwt.NoLimit, Streams: jwt.NoLimit, Consumer: jwt.NoLimit,
	}
	for _, claims := range []*jwt.AccountClaims{system, application} {
		if token, err := resolver.LoadAcc(claims.Subject); err == nil && token != "" {
			continue
		}
		token, err := claims.Encode(signer)
		if err == nil {
			err = resolver.Store(claims.Subject, token)
		}
		if err != nil {
			resolver.Close()
			return nil, err
		}
	}
	return resolver, nil
}

// newUser signs an unrestricted user of the account with that seed.
func newUser(name, accountSeed string) (patchbay.Secret, error) {
	account, err := nkeys.FromSeed([]byte(accountSeed))
	if err != nil {
		return patchbay.Secret{}, err
	}
	user, err := nkeys.CreateUser()
	if err != nil {
		return patchbay.Secret{}, err
	}
	key, err := user.PublicKey()
	if err != nil {
		return patchbay.Secret{}, err
	}
	claims := jwt.NewUserClaims(key)
	claims.Name = name
	token, err := claims.Encode(account)
	if err != nil {
		return patchbay.Secret{}, err
	}
	seed, err := user.Seed()
	if err != nil {
		return patchbay.Secret{}, err
	}
	creds, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		return patchbay.Secret{}, err
	}
	return patchbay.NewSecret(string(creds)), nil
}

func seedOf(pair nkeys.KeyPair) (string, error) {
	seed, err := pair.Seed()
	return string(seed), err
}

// public is the public key of a seed that this package made.
func public(seed string) string {
	pair, err := nkeys.FromSeed([]byte(seed))
	if err != nil {
		return ""
	}
	key, err := pair.PublicKey()
	if err != nil {
		return ""
	}
	return key
}
