package docker

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"

	"patchbay.dev/patchbay/internal/relay"
)

// helperLabel is on every helper container; it names the application's.
const helperLabel = "patchbay.dev/helper"

// relayImage is the image of helpers; its tag is the program's sum.
const relayImage = "patchbay-relay"

// relayed is a container's network, spoken from by a helper container in it.
type relayed struct {
	*relay.Remote
	once sync.Once
	end  func() error
}

// relay starts a helper in a container's network; its error is for people. It ends,
// and the engine removes it, when we let go of it, or are gone.
func (s *source) relay(ctx context.Context, c *container) (relay.Network, error) {
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
	failed := func(err error) (relay.Network, error) {
		_ = s.engine.remove(context.WithoutCancel(ctx), id)
		return nil, fmt.Errorf("a helper container in its network does not run: %w", err)
	}
	// The connection outlives this call.
	attached, err := s.engine.ContainerAttach(context.WithoutCancel(ctx), id, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true})
	if err != nil {
		return failed(s.engine.Fault(err))
	}
	if err := s.engine.start(ctx, id); err != nil {
		attached.Close()
		return failed(err)
	}
	remote, err := relay.Open(ctx, &streams{&unframed{r: attached.Reader}, attached.Conn, attached.Close})
	if err != nil {
		return failed(err)
	}
	return &relayed{Remote: remote, end: func() error { return s.ended(id) }}, nil
}

// streams are a program's output and input.
type streams struct {
	io.Reader
	io.Writer
	close func()
}

func (s *streams) Close() error {
	s.close()
	return nil
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

func (r *relayed) Close() error {
	var err error
	r.once.Do(func() {
		_ = r.Remote.Close()
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
		return "", s.engine.Fault(err)
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
		Changes: []string{`ENTRYPOINT ["/patchbay", "` + relay.Command + `"]`, "LABEL " + helperLabel + "=image"},
	})
	if err == nil {
		_, err = io.Copy(io.Discard, imported)
		_ = imported.Close()
	}
	_ = reader.Close()
	if err != nil {
		return "", fmt.Errorf("the image of a helper can't be put onto the engine: %w", s.engine.Fault(err))
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
