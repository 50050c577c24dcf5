package kubeconnect

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
)

// Of the messages that a container's streams are sent in, the first byte says of which.
const (
	channelStdin  = 0
	channelStdout = 1
	channelStatus = 3
)

// attach speaks to the program that a container runs, over its standard input and
// output. client-go's own way there (tools/remotecommand) dials by itself, past
// [driver.Config].Dialer and the operator's rules, so the WebSocket is opened here.
func (c *Cluster) attach(ctx context.Context, namespace, pod, container string) (io.ReadWriteCloser, error) {
	to := c.Core.Get().Namespace(namespace).Resource("pods").Name(pod).SubResource("attach").
		VersionedParams(&corev1.PodAttachOptions{Container: container, Stdin: true, Stdout: true}, c.types.Parameters).URL()
	secure, err := rest.TLSConfigFor(c.config)
	if err != nil {
		return nil, unusable()
	}
	up := &upgrade{dial: c.config.Dial, tls: secure}
	signed, err := rest.HTTPWrappersForConfig(c.config, up)
	if err != nil {
		return nil, unusable()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return nil, err
	}
	answer, err := signed.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if up.conn == nil {
		return nil, c.refusal(answer)
	}
	return &attached{conn: up.conn, now: new(bytes.Reader)}, nil
}

// refusal is an API server's answer to what it refuses, as client-go gives it for any
// other request.
func (c *Cluster) refusal(answer *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(answer.Body, 16<<10))
	if err != nil {
		return err
	}
	if o, _, err := c.types.codecs.UniversalDeserializer().Decode(body, nil, nil); err == nil {
		return apierrors.FromObject(o)
	}
	return apierrors.NewGenericServerResponse(answer.StatusCode, "get", corev1.Resource("pods/attach"), "", strings.TrimSpace(string(body)), 0, true)
}

// upgrade is a round trip that ends as a WebSocket.
type upgrade struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)
	tls  *tls.Config
	conn *websocket.Conn // nil when the server refused
}

func (u *upgrade) RoundTrip(r *http.Request) (*http.Response, error) {
	dialer := websocket.Dialer{
		NetDialContext: u.dial, TLSClientConfig: u.tls,
		Subprotocols: []string{"v5.channel.k8s.io", "v4.channel.k8s.io"}, // the latter of servers before 1.30
	}
	to := *r.URL
	to.Scheme = "wss"
	conn, answer, err := dialer.DialContext(r.Context(), to.String(), r.Header)
	if err != nil && answer != nil {
		return answer, nil // it has the server's words
	}
	u.conn = conn
	return answer, err
}

// attached are a program's standard output and input.
type attached struct {
	conn *websocket.Conn
	now  io.Reader // the rest of a message
}

func (a *attached) Close() error { return a.conn.Close() }

func (a *attached) Write(b []byte) (int, error) {
	if err := a.conn.WriteMessage(websocket.BinaryMessage, append([]byte{channelStdin}, b...)); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (a *attached) Read(b []byte) (int, error) {
	for {
		n, err := a.now.Read(b)
		if n > 0 || err != nil && !errors.Is(err, io.EOF) {
			return n, nil
		}
		if a.now, err = a.next(); err != nil {
			return 0, err
		}
	}
}

// next is the next message of the output.
func (a *attached) next() (io.Reader, error) {
	for {
		_, message, err := a.conn.NextReader()
		if err != nil {
			return nil, err
		}
		channel := make([]byte, 1)
		if _, err := io.ReadFull(message, channel); err != nil {
			return nil, fmt.Errorf("a message of no stream: %w", err)
		}
		switch channel[0] {
		case channelStdout:
			return message, nil
		case channelStatus: // the program has ended
			return nil, io.EOF
		}
	}
}
