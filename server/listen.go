package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/sync/errgroup"

	"patchbay.dev/patchbay"
)

// InfoFile is, in the data directory, where the command line finds the server
// that runs.
const InfoFile = "server.json"

// Info is what InfoFile holds.
type Info struct {
	URL  string `json:"url"`
	HTTP string `json:"http,omitempty"`
	CA   string `json:"ca"` // the path of ca.crt
	PID  int    `json:"pid"`
}

type listeners struct {
	mu    sync.Mutex
	https net.Listener
	http  net.Listener
}

// Listen opens the listeners, so that URL and HTTPURL are known; Serve does it
// when it was not done.
func (s *Server) Listen() error {
	l := &s.listeners
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.https != nil {
		return nil
	}
	https, err := new(net.ListenConfig).Listen(s.stopping, "tcp", s.opts.Address)
	if err != nil {
		return listenError(s.opts.Address, err)
	}
	if s.opts.HTTPAddress != "" {
		plain, err := new(net.ListenConfig).Listen(s.stopping, "tcp", s.opts.HTTPAddress)
		if err == nil {
			err = mustBeLoopback(plain)
		}
		if err != nil {
			_ = https.Close()
			return listenError(s.opts.HTTPAddress, err)
		}
		l.http = plain
	}
	l.https = https
	return nil
}

func listenError(address string, err error) error {
	var known *patchbay.Error
	if errors.As(err, &known) {
		return known
	}
	return patchbay.Errorf(patchbay.InvalidArgument, "the server can't listen on %s: %w", address, err)
}

// checkLoopback refuses an address for plain HTTP that others can reach.
func checkLoopback(address string) error {
	if address == "" {
		return nil
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return patchbay.Errorf(patchbay.InvalidArgument, "the address for plain HTTP has to be host:port, not %q", address)
	}
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
		return nil
	}
	return notLoopback(address)
}

func notLoopback(address string) error {
	return patchbay.Errorf(patchbay.InvalidArgument,
		"plain HTTP is served on loopback addresses only, and %s is none: tokens and settings would cross the network in the clear", address).
		WithFix("use a loopback address such as 127.0.0.1:7080, or HTTPS")
}

// mustBeLoopback looks at what localhost resolved to.
func mustBeLoopback(l net.Listener) error {
	if a, ok := l.Addr().(*net.TCPAddr); ok && a.IP.IsLoopback() {
		return nil
	}
	err := notLoopback(l.Addr().String())
	_ = l.Close()
	return err
}

// URL is where the server answers HTTPS: the public URL, or the listener's
// address; "" before Listen.
func (s *Server) URL() string {
	if s.public != "" {
		return s.public
	}
	return s.listenerURL("https://", func(l *listeners) net.Listener { return l.https })
}

// HTTPURL is where it answers plain HTTP; "" when nowhere.
func (s *Server) HTTPURL() string {
	return s.listenerURL("http://", func(l *listeners) net.Listener { return l.http })
}

func (s *Server) listenerURL(scheme string, which func(*listeners) net.Listener) string {
	s.listeners.mu.Lock()
	defer s.listeners.mu.Unlock()
	l := which(&s.listeners)
	if l == nil {
		return ""
	}
	a, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return scheme + l.Addr().String()
	}
	if a.IP.IsUnspecified() {
		return scheme + net.JoinHostPort("localhost", port(a))
	}
	return scheme + a.String()
}

func port(a *net.TCPAddr) string {
	_, p, _ := net.SplitHostPort(a.String())
	return p
}

// CA is the path of the authority that clients trust.
func (s *Server) CA() string { return filepath.Join(s.opts.Dir, CAFile) }

// Serve answers until ctx is done, and then lets the requests that run end, for
// at most Drain. It writes InfoFile when it listens and removes it at the end.
func (s *Server) Serve(ctx context.Context) error {
	if err := s.Listen(); err != nil {
		return err
	}
	s.listeners.mu.Lock()
	https, plain := s.listeners.https, s.listeners.http
	s.listeners.mu.Unlock()

	forget, err := s.announce()
	if err != nil {
		_ = https.Close()
		if plain != nil {
			_ = plain.Close()
		}
		return err
	}
	defer forget()

	secure := s.httpServer()
	secure.TLSConfig = s.tls.config()
	servers := []*http.Server{secure}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return served(secure.ServeTLS(https, "", "")) })
	if plain != nil {
		p := s.httpServer()
		servers = append(servers, p)
		group.Go(func() error { return served(p.Serve(plain)) })
	}
	s.log.Info("the server answers", "url", s.URL(), "http", s.HTTPURL(), "ca", s.CA())
	group.Go(func() error {
		<-ctx.Done()
		s.stop()
		s.log.Info("the server stops; requests that run are let end", "limit", s.opts.Drain)
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Drain)
		defer cancel()
		for _, h := range servers {
			if err := h.Shutdown(drain); err != nil {
				s.log.Warn("requests were still running and are cut off", "error", err)
				_ = h.Close()
			}
		}
		return nil
	})
	group.Go(func() error { return s.sumUpRefusals(ctx) })
	defer s.flushRefusals(context.WithoutCancel(ctx))
	return group.Wait()
}

func served(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return patchbay.Errorf(patchbay.Internal, "serve: %w", err)
}

func (s *Server) httpServer() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      s.opts.Timeout + 30*time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // handshakes of port scanners
	}
}

// announce writes InfoFile; the func that it gives removes it, unless another
// server has written its own meanwhile.
func (s *Server) announce() (func(), error) {
	url := s.listenerURL("https://", func(l *listeners) net.Listener { return l.https })
	text, err := json.MarshalIndent(Info{URL: url, HTTP: s.HTTPURL(), CA: s.CA(), PID: os.Getpid()}, "", "  ")
	if err != nil {
		return nil, patchbay.Errorf(patchbay.Internal, "encode %s: %w", InfoFile, err)
	}
	text = append(text, '\n')
	path := filepath.Join(s.opts.Dir, InfoFile)
	if err := renameio.WriteFile(path, text, 0o644); err != nil {
		return nil, patchbay.Errorf(patchbay.Internal, "write %s: %w", path, err)
	}
	return func() {
		if now, err := os.ReadFile(path); err == nil && bytes.Equal(now, text) {
			_ = os.Remove(path)
		}
	}, nil
}

// makeDir makes the data directory and gives its absolute path: what InfoFile
// says must mean the same to whoever reads it from elsewhere.
func makeDir(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err == nil {
		err = os.MkdirAll(abs, 0o700)
	}
	if err != nil {
		return "", patchbay.Errorf(patchbay.InvalidArgument, "the data directory can't be made: %w", err)
	}
	return abs, nil
}
