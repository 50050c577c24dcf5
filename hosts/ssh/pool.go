package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
)

// How many channels there are to a host at once. One more is the file server's: seven
// together. sshd refuses a connection's eleventh (MaxSessions), and one that was closed
// counts for a moment longer than is seen from here.
const (
	maxPrograms = 3
	maxLocks    = 3
	maxDials    = 64 // sshd does not count them
	maxConns    = 10 // where a connection may have few sessions
	sshSessions = 10 // that sshd lets a connection have, unless it says less
	connectTime = 20 * time.Second
	aliveEvery  = 15 * time.Second // how often a host is asked whether it is there
	aliveTime   = 15 * time.Second // how long it may take to say so
)

// pool is the connections to a host.
type pool struct {
	settings
	every, within time.Duration // of asking whether it is there; tests ask more often

	programs, locks, dials chan struct{} // places

	dialing chan struct{} // a place for who makes a connection

	mu     sync.Mutex
	conns  []*conn
	closed bool
}

func newPool(s settings) *pool {
	return &pool{
		settings: s, every: aliveEvery, within: aliveTime,
		programs: make(chan struct{}, maxPrograms), locks: make(chan struct{}, maxLocks), dials: make(chan struct{}, maxDials), dialing: make(chan struct{}, 1),
	}
}

// conn is a connection that somebody has signed in on.
type conn struct {
	client *ssh.Client
	cut    func() // ends it, and whatever it was about to send
	done   chan struct{}

	// Of the pool's mu:
	sessions, limit int
	served          bool // it has had a session
}

func (c *conn) alive() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// take waits for a place.
func take(ctx context.Context, places chan struct{}) (leave func(), err error) {
	select {
	case places <- struct{}{}:
		return sync.OnceFunc(func() { <-places }), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// errClosed is of a host that is not used any more.
var errClosed = errors.New("the host is closed")

// living are the connections that are there.
func (p *pool) living() ([]*conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	var alive []*conn
	for _, c := range p.conns {
		if c.alive() {
			alive = append(alive, c)
		}
	}
	p.conns = alive
	return append([]*conn(nil), alive...), nil
}

// get is a connection, made when there is none. with takes what is wanted of one,
// or says that it can't be had; a new one always has it.
func (p *pool) get(ctx context.Context, with func(*conn) bool) (*conn, error) {
	if c, _, err := p.have(with); c != nil || err != nil {
		return c, err
	}
	leave, err := take(ctx, p.dialing)
	if err != nil {
		return nil, err
	}
	defer leave()
	c, alive, err := p.have(with) // by now
	if c != nil || err != nil {
		return c, err
	}
	if alive >= maxConns {
		return nil, p.tooFew()
	}
	if c, err = p.connect(ctx); err != nil {
		return nil, err
	}
	if with != nil {
		with(c)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.cut()
		return nil, errClosed
	}
	p.conns = append(p.conns, c)
	return c, nil
}

// have is a connection that is there and will do, and how many there are.
func (p *pool) have(with func(*conn) bool) (*conn, int, error) {
	alive, err := p.living()
	if err != nil {
		return nil, 0, err
	}
	for _, c := range alive {
		if with == nil || with(c) {
			return c, len(alive), nil
		}
	}
	return nil, len(alive), nil
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	conns := p.conns
	p.conns = nil
	p.mu.Unlock()
	for _, c := range conns {
		_ = c.client.Close()
		<-c.done
	}
}

// connect makes a connection, through all stops.
func (p *pool) connect(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	signers, end, err := p.sign()
	if err != nil {
		return nil, err
	}
	defer end()
	var auth []ssh.AuthMethod
	if len(signers) > 0 {
		auth = append(auth, ssh.PublicKeys(signers...))
	}
	if p.password != "" {
		auth = append(auth, ssh.Password(p.password), ssh.KeyboardInteractive(func(_, _ string, questions []string, echos []bool) ([]string, error) {
			answers := make([]string, len(questions))
			for i := range questions {
				if !echos[i] {
					answers[i] = p.password
				}
			}
			return answers, nil
		}))
	}
	var passed []*ssh.Client
	var bottom net.Conn
	shut := func() {
		if tcp, ok := bottom.(interface{ SetLinger(int) error }); ok {
			_ = tcp.SetLinger(0) // what was not sent is not sent any more
		}
		if bottom != nil {
			_ = bottom.Close()
		}
	}
	for i, s := range p.stops {
		var raw net.Conn
		if i == 0 {
			if raw, err = p.dialer.DialContext(ctx, "tcp", s.address); err == nil {
				bottom = raw
				defer context.AfterFunc(ctx, shut)()
			}
		} else {
			raw, err = passed[i-1].DialContext(ctx, "tcp", s.address)
		}
		if err != nil {
			shut()
			if ended := ctx.Err(); ended != nil && !errors.Is(ended, context.DeadlineExceeded) {
				return nil, ended
			}
			if i > 0 {
				return nil, p.behind(p.stops[i-1], s, err)
			}
			return nil, unreachable(err, s.address)
		}
		proven, said := false, ""
		made, channels, requests, err := ssh.NewClientConn(raw, s.address, &ssh.ClientConfig{
			User: s.user, Auth: auth, HostKeyAlgorithms: s.algorithms(), ClientVersion: "SSH-2.0-Patchbay",
			HostKeyCallback: func(host string, from net.Addr, key ssh.PublicKey) error {
				err := s.check(host, from, key)
				proven = err == nil
				return err
			},
			BannerCallback: func(text string) error {
				said = driver.LastWords([]byte(text), nil)
				return nil
			},
		})
		if err != nil {
			shut()
			if ended := ctx.Err(); ended != nil && !errors.Is(ended, context.DeadlineExceeded) {
				return nil, ended
			}
			return nil, p.refused(s, err, ctx.Err() != nil, proven, said)
		}
		passed = append(passed, ssh.NewClient(made, channels, requests))
	}
	c := &conn{client: passed[len(passed)-1], done: make(chan struct{}), limit: sshSessions}
	c.cut = func() { shut(); _ = c.client.Close() }
	go func() {
		_ = c.client.Wait()
		close(c.done)
		for _, each := range passed {
			_ = each.Close()
		}
		_ = bottom.Close()
	}()
	go p.keepAlive(c)
	return c, nil
}

func (p *pool) sign() ([]ssh.Signer, func(), error) {
	if p.signers == nil {
		return nil, func() {}, nil
	}
	return p.signers()
}

// keepAlive ends a connection whose other end does not answer.
func (p *pool) keepAlive(c *conn) {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
		}
		late := time.AfterFunc(p.within, c.cut)
		_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
		late.Stop()
		if err != nil {
			c.cut()
			return
		}
	}
}

// refused is a host that does not let in. Whether it has proven to be the host, and what
// it said to who signs in, tells more than the error.
func (p *pool) refused(s stop, err error, late, proven bool, said string) error {
	var known *patchbay.Error
	var disagree *ssh.AlgorithmNegotiationError
	switch {
	case errors.As(err, &known): // the host key
		return known
	case late:
		return patchbay.Errorf(patchbay.TargetUnreachable, "no answer from %s in time: it was reached, and lets nobody in", s.address).AsTransient()
	case errors.As(err, &disagree) && strings.Contains(disagree.What, "host key"):
		return patchbay.Errorf(patchbay.CertificateInvalid, "%s has no host key of the kinds that are registered (%s), and can't show that it is the one", s.address, strings.Join(s.algorithms(), ", ")).
			WithFix("ssh-keyscan -p %s %s   (compare it with the machine itself, and register the host with that key)", portOf(s.address), hostOf(s.address))
	case errors.As(err, &disagree):
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s has no %s that is still safe", s.address, disagree.What)
	case strings.Contains(err.Error(), "unable to authenticate"), strings.Contains(err.Error(), "unexpected message type 51"): // a refusal where a question was due
		e := patchbay.Errorf(patchbay.AdminRefused, "%s does not let %s sign in", s.address, s.user)
		if p.public != "" {
			return e.WithFix("echo '%s' >> ~%s/.ssh/authorized_keys   (on %s)", p.public, s.user, hostOf(s.address))
		}
		return e.WithFix("ssh -p %s %s@%s   (with the same key or password)", portOf(s.address), s.user, hostOf(s.address))
	case proven: // so does sshd with an account that PAM closes, while the machine boots too
		if said != "" {
			said = ": it says: " + said
		}
		return patchbay.Errorf(patchbay.TargetUnreachable, "%s ends the connection while %s signs in%s", s.address, s.user, said).AsTransient().
			WithFix("journalctl -u ssh -u sshd   (on %s: it is not up yet, or does not let %s in)", hostOf(s.address), s.user)
	}
	return notSSH(s.address)
}

// behind is a host that a jump host does not lead to.
func (p *pool) behind(jump, to stop, err error) error {
	e := forwardError(jump.address, err)
	if e == nil {
		return patchbay.Errorf(patchbay.TargetUnreachable, "the jump host %s makes no connection to %s", jump.address, to.address).AsTransient().
			WithFix("ssh -p %s %s@%s nc -vz %s %s", portOf(jump.address), jump.user, hostOf(jump.address), hostOf(to.address), portOf(to.address))
	}
	return e
}

// lost is what is said of something that was cut.
func (p *pool) lost() error {
	return &patchbay.Error{
		Code: patchbay.TargetUnreachable, Message: fmt.Sprintf("the connection to the host %s (%s) was cut", p.name, p.at()), Transient: true, Err: hosts.ErrCut,
		Fix: fmt.Sprintf("patchbay host check %s", p.name),
	}
}

// at is where the host is.
func (p *pool) at() string { return p.stops[len(p.stops)-1].address }

// user is who signs in there.
func (p *pool) user() string { return p.stops[len(p.stops)-1].user }

// whom is whose files and programs they are.
func (p *pool) whom() string {
	if p.become != "" {
		return p.become
	}
	return p.user()
}

func (p *pool) tooFew() error {
	return patchbay.Errorf(patchbay.AdminRights, "the sshd of %s lets nobody have a session", p.name).
		WithFix("MaxSessions 10   (in the sshd_config of %s, and reload sshd)", hostOf(p.at()))
}

// channel opens a channel for a session on a connection that has room for one more.
// What comes back with it says that the channel is gone.
func (p *pool) channel(ctx context.Context) (*conn, ssh.Channel, <-chan *ssh.Request, error) {
	full := map[*conn]bool{}
	for tries := 0; ; tries++ {
		c, err := p.get(ctx, func(c *conn) bool { return !full[c] && p.reserve(c) })
		if err != nil {
			return nil, nil, nil, err
		}
		ch, requests, err := openChannel(ctx, c, "session", nil)
		if err == nil {
			p.mu.Lock()
			c.served = true
			p.mu.Unlock()
			return c, ch, requests, nil
		}
		p.release(c)
		var no *ssh.OpenChannelError
		switch {
		case ctx.Err() != nil:
			return nil, nil, nil, ctx.Err()
		case errors.As(err, &no): // no more of them on this connection
			full[c] = true
			p.mu.Lock()
			c.limit = max(c.sessions, 1) // one that was closed counts a moment longer there
			none := !c.served
			p.mu.Unlock()
			if none {
				return nil, nil, nil, p.tooFew()
			}
		default: // it had ended, and nobody had seen
			c.cut()
			if tries >= maxConns {
				return nil, nil, nil, p.lost()
			}
			<-c.done
		}
	}
}

// reserve takes one of a connection's sessions, if there is one.
func (p *pool) reserve(c *conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.sessions >= c.limit {
		return false
	}
	c.sessions++
	return true
}

func (p *pool) release(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.sessions--
}

// openChannel opens a channel until ctx or the connection ends: the library waits for
// ever for one that it asked for in the moment in which the connection ended.
func openChannel(ctx context.Context, c *conn, kind string, extra []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	type opened struct {
		ch       ssh.Channel
		requests <-chan *ssh.Request
		err      error
	}
	answer := make(chan opened, 1)
	go func() {
		ch, requests, err := c.client.OpenChannel(kind, extra)
		answer <- opened{ch, requests, err}
	}()
	var err error
	select {
	case o := <-answer:
		return o.ch, o.requests, o.err
	case <-c.done:
		err = net.ErrClosed
	case <-ctx.Done():
		err = ctx.Err()
	}
	go func() {
		if o := <-answer; o.err == nil {
			go ssh.DiscardRequests(o.requests)
			_ = o.ch.Close()
		}
	}()
	return nil, nil, err
}
