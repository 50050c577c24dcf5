package docker

import (
	"archive/tar"
	"bufio"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/yamux"
	"github.com/moby/moby/client"
)

// RelayCommand is the argument with which this program speaks for us from inside of
// a container's network: in a helper container, where we can't enter it.
const RelayCommand = "__relay"

// helperLabel is on every helper container; it names the application's.
const helperLabel = "patchbay.dev/helper"

// relayImage is the image of helpers; its tag is the program's sum.
const relayImage = "patchbay-relay"

// relayLife is how long a helper lives at most, should nobody end it.
const relayLife = 10 * time.Minute

// A request is the first line of a stream, and a reply the first one that comes back.
type request struct {
	Lookup  string `json:"lookup,omitempty"`
	Network string `json:"network,omitempty"`
	Dial    string `json:"dial,omitempty"`
}

type reply struct {
	Addresses []netip.Addr `json:"addresses,omitempty"`
	Error     string       `json:"error,omitempty"`
	Errno     int          `json:"errno,omitempty"`
	NotFound  bool         `json:"notFound,omitempty"`
	Timeout   bool         `json:"timeout,omitempty"`
}

// err is what a connection was refused with there.
func (r reply) err() error {
	switch {
	case r.Error == "":
		return nil
	case r.Timeout:
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded}
	case r.Errno > 0:
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.Errno(r.Errno))}
	}
	return errors.New(r.Error)
}

func replyOf(err error) reply {
	if err == nil {
		return reply{}
	}
	r := reply{Error: err.Error()}
	var dns *net.DNSError
	if errors.As(err, &dns) {
		r.NotFound = dns.IsNotFound
	}
	var number syscall.Errno
	if errors.As(err, &number) {
		r.Errno = int(number)
	}
	var timeout net.Error
	r.Timeout = errors.As(err, &timeout) && timeout.Timeout()
	return r
}

// Relay is the other end: it looks up names and dials for whoever speaks to it over
// in and out, until in ends. It is all that a helper does.
func Relay(in io.Reader, out io.Writer) error {
	session, err := yamux.Server(&duplex{Reader: in, Writer: out}, quietYamux())
	if err != nil {
		return err
	}
	life := time.AfterFunc(relayLife, func() { _ = session.Close() })
	defer life.Stop()
	for {
		stream, err := session.AcceptStream()
		if err != nil {
			return nil // whoever spoke is gone
		}
		go func() {
			defer func() { _ = stream.Close() }()
			serve(stream)
		}()
	}
}

func serve(stream net.Conn) {
	reader := bufio.NewReader(stream)
	line, err := reader.ReadBytes('\n')
	if err != nil {
		return
	}
	var asked request
	if err := json.Unmarshal(line, &asked); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	answer := json.NewEncoder(stream)
	if asked.Lookup != "" {
		all, err := (&net.Resolver{PreferGo: true}).LookupNetIP(ctx, "ip", asked.Lookup)
		r := replyOf(err)
		for _, a := range all {
			r.Addresses = append(r.Addresses, a.Unmap())
		}
		_ = answer.Encode(r)
		return
	}
	conn, err := new(net.Dialer).DialContext(ctx, asked.Network, asked.Dial)
	if answer.Encode(replyOf(err)) != nil || err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	go func() {
		_, _ = io.Copy(conn, reader)
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}()
	_, _ = io.Copy(stream, conn)
}

func quietYamux() *yamux.Config {
	c := yamux.DefaultConfig()
	c.LogOutput = io.Discard
	c.EnableKeepAlive = false // the streams below it know when they end
	return c
}

// duplex is two streams as one.
type duplex struct {
	io.Reader
	io.Writer
	close func() error
}

func (d *duplex) Close() error {
	if d.close == nil {
		return nil
	}
	return d.close()
}

// relayed is a container's network, spoken from by a helper container in it.
type relayed struct {
	session *yamux.Session
	once    sync.Once
	end     func() error
}

// relay starts a helper in a container's network; its error is for people. It ends,
// and the engine removes it, when we let go of it, or are gone.
func (s *source) relay(ctx context.Context, c *container) (inside, error) {
	tag, err := s.relayTag(ctx)
	if err != nil {
		return nil, err
	}
	body := map[string]any{
		"Image": tag, "User": "65534:65534", "OpenStdin": true, "StdinOnce": true, "AttachStdin": true, "AttachStdout": true,
		"Labels": map[string]string{helperLabel: s.name},
		"HostConfig": map[string]any{
			"NetworkMode": "container:" + c.ID, "AutoRemove": true, "ReadonlyRootfs": true, "CapDrop": []string{"ALL"},
			"SecurityOpt": []string{"no-new-privileges"}, "LogConfig": map[string]any{"Type": "none"},
		},
	}
	id, err := s.engine.create(ctx, "", body)
	if err != nil {
		return nil, fmt.Errorf("no helper container can be made in its network: %w", err)
	}
	failed := func(err error) (inside, error) {
		_ = s.engine.remove(context.WithoutCancel(ctx), id)
		return nil, fmt.Errorf("a helper container in its network does not run: %w", err)
	}
	// The connection outlives this call.
	attached, err := s.engine.ContainerAttach(context.WithoutCancel(ctx), id, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true})
	if err != nil {
		return failed(s.engine.fault(err))
	}
	if err := s.engine.start(ctx, id); err != nil {
		attached.Close()
		return failed(err)
	}
	r := &relayed{end: func() error {
		attached.Close()
		return s.ended(id)
	}}
	r.session, err = yamux.Client(&duplex{Reader: &unframed{r: attached.Reader}, Writer: attached.Conn, close: func() error { attached.Close(); return nil }}, quietYamux())
	if err != nil {
		_ = r.end()
		return failed(err)
	}
	// An answer says that the program runs there.
	if _, err := r.lookup(ctx, "localhost"); err != nil && errors.Is(err, yamux.ErrSessionShutdown) {
		_ = r.Close()
		return failed(errors.New("it ends at once"))
	}
	return r, nil
}

// ended waits until a helper has ended and is removed, as it does by itself when
// nobody speaks to it; one that does not is removed.
func (s *source) ended(id string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 100 {
		if c, err := s.engine.inspect(ctx, id); err != nil || c == nil {
			return err
		}
		<-tick.C
	}
	return s.engine.remove(ctx, id)
}

// unframed is what a program says, out of the frames that the engine puts it into.
type unframed struct {
	r    io.Reader
	left int
}

func (u *unframed) Read(b []byte) (int, error) {
	for u.left == 0 {
		header := make([]byte, 8)
		if _, err := io.ReadFull(u.r, header); err != nil {
			return 0, err
		}
		u.left = int(header[4])<<24 | int(header[5])<<16 | int(header[6])<<8 | int(header[7])
	}
	n, err := u.r.Read(b[:min(len(b), u.left)])
	u.left -= n
	return n, err
}

func (r *relayed) ask(ctx context.Context, asked request) (net.Conn, reply, error) {
	stream, err := r.session.OpenStream()
	if err != nil {
		return nil, reply{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = stream.SetDeadline(time.Unix(1, 0)) })
	line, _ := json.Marshal(asked)
	var got reply
	if _, err = stream.Write(append(line, '\n')); err == nil {
		// What follows the line is the other side's: not one byte more is read.
		err = readLine(stream, &got)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = stream.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, reply{}, err
	}
	return stream, got, nil
}

func readLine(r io.Reader, into any) error {
	var line []byte
	one := make([]byte, 1)
	for len(line) < 64<<10 {
		if _, err := io.ReadFull(r, one); err != nil {
			return err
		}
		if one[0] == '\n' {
			return json.Unmarshal(line, into)
		}
		line = append(line, one[0])
	}
	return errors.New("the helper does not answer as one")
}

func (r *relayed) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	stream, got, err := r.ask(ctx, request{Lookup: name})
	if err != nil {
		return nil, err
	}
	_ = stream.Close()
	if got.Error != "" {
		return nil, &net.DNSError{Err: got.Error, Name: name, IsNotFound: got.NotFound, IsTemporary: !got.NotFound}
	}
	return got.Addresses, nil
}

func (r *relayed) dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	stream, got, err := r.ask(ctx, request{Network: network, Dial: to.String()})
	if err != nil {
		return nil, err
	}
	if err := got.err(); err != nil {
		_ = stream.Close()
		return nil, err
	}
	return stream, nil
}

func (r *relayed) Close() error {
	var err error
	r.once.Do(func() {
		_ = r.session.Close()
		err = r.end()
	})
	return err
}

// relayProgram is the program of helpers: this one.
var relayProgram = os.Executable

// relayTag is the image of helpers on the engine, which is made of this program where
// it is not there yet. Those of other releases go.
func (s *source) relayTag(ctx context.Context) (string, error) {
	name, err := relayProgram()
	if err != nil {
		return "", err
	}
	version, err := s.engine.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return "", s.engine.fault(err)
	}
	if runtime.GOOS != "linux" || version.Os != "linux" || version.Arch != runtime.GOARCH {
		return "", fmt.Errorf("Patchbay is built for %s/%s, and its helper would run on %s/%s", runtime.GOOS, runtime.GOARCH, version.Os, version.Arch)
	}
	sum, err := staticSum(name)
	if err != nil {
		return "", err
	}
	tag := relayImage + ":" + sum
	if i, err := s.engine.image(ctx, tag); err != nil || i != nil {
		return tag, err
	}
	reader, writer := io.Pipe()
	go func() { _ = writer.CloseWithError(archive(writer, name)) }()
	imported, err := s.engine.ImageImport(ctx, client.ImageImportSource{Source: reader, SourceName: "-"}, tag, client.ImageImportOptions{
		Changes: []string{`ENTRYPOINT ["/patchbay", "` + RelayCommand + `"]`, "LABEL " + helperLabel + "=image"},
	})
	if err == nil {
		_, err = io.Copy(io.Discard, imported)
		_ = imported.Close()
	}
	_ = reader.Close()
	if err != nil {
		return "", fmt.Errorf("the image of a helper can't be put onto the engine: %w", s.engine.fault(err))
	}
	s.dropOldImages(ctx, tag)
	return tag, nil
}

// dropOldImages removes the images of helpers of other releases, as far as none runs.
func (s *source) dropOldImages(ctx context.Context, tag string) {
	images, err := s.engine.ImageList(ctx, client.ImageListOptions{})
	if err != nil {
		return
	}
	for _, i := range images.Items {
		for _, other := range i.RepoTags {
			if local := strings.TrimPrefix(other, "localhost/"); strings.HasPrefix(local, relayImage+":") && local != tag {
				_, _ = s.engine.ImageRemove(ctx, other, client.ImageRemoveOptions{})
			}
		}
	}
}

// staticSum tells a program from others; one that needs libraries does not run in an
// image that has nothing else.
func staticSum(name string) (string, error) {
	f, err := os.Open(name) // #nosec G304 -- this very program
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	program, err := elf.NewFile(f)
	if err != nil {
		return "", err
	}
	for _, part := range program.Progs {
		if part.Type == elf.PT_INTERP {
			return "", errors.New("this build of Patchbay needs a system's libraries, and can be no helper in a container")
		}
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, 1<<62)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:8]), nil
}

// archive writes a file system of that program alone.
func archive(w io.Writer, name string) error {
	f, err := os.Open(name) // #nosec G304 -- this very program
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	if err := t.WriteHeader(&tar.Header{Name: "patchbay", Mode: 0o755, Size: info.Size(), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	if _, err := io.Copy(t, f); err != nil {
		return err
	}
	return t.Close()
}
