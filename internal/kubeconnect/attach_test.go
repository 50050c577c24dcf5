package kubeconnect

import (
	"context"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
)

// TestAttaching goes through the dialer that the registration has, as who it signs in
// as, and speaks what servers of any release do.
func TestAttaching(t *testing.T) {
	for _, protocol := range []string{"v5.channel.k8s.io", "v4.channel.k8s.io"} {
		t.Run(protocol, func(t *testing.T) {
			var dialed atomic.Int32
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer canary" {
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(http.StatusForbidden)
					_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"user \"u\" cannot get resource \"pods/attach\"","reason":"Forbidden","code":403}`)
					return
				}
				if q := r.URL.Query(); r.URL.Path != "/api/v1/namespaces/shop/pods/p/attach" || q.Get("stdin") != "true" || q.Get("stdout") != "true" || q.Get("container") != "c" {
					t.Errorf("it asks for %s", r.URL)
				}
				if !slices.Contains(websocket.Subprotocols(r), protocol) {
					t.Errorf("it speaks %v", websocket.Subprotocols(r))
				}
				conn, err := (&websocket.Upgrader{Subprotocols: []string{protocol}}).Upgrade(w, r, nil)
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = conn.Close() }()
				_, message, err := conn.ReadMessage()
				if err != nil || string(message) != "\x00ping" {
					t.Errorf("the program reads %q, %v", message, err)
				}
				for _, m := range []string{"\x01", "\x01po", "\x02not this", "\x01ng", `{"status":"Success"}`} {
					if m[0] == '{' {
						m = "\x03" + m
					}
					_ = conn.WriteMessage(websocket.BinaryMessage, []byte(m))
				}
				_, _, _ = conn.ReadMessage() // until the other side is gone
			}))
			defer server.Close()
			config := &rest.Config{
				Host: server.URL, BearerToken: "canary",
				Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
					dialed.Add(1)
					return new(net.Dialer).DialContext(ctx, network, address)
				},
			}
			config.CAData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
			c, err := Connect(config, TypesOf())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			program, err := c.attach(t.Context(), "shop", "p", "c")
			if err != nil {
				t.Fatal(err)
			}
			if dialed.Load() != 1 {
				t.Errorf("the registration's dialer was used %d times", dialed.Load())
			}
			if _, err := io.WriteString(program, "ping"); err != nil {
				t.Fatal(err)
			}
			if said, err := io.ReadAll(program); err != nil || string(said) != "pong" {
				t.Errorf("the program says %q, %v", said, err)
			}
			if err := program.Close(); err != nil {
				t.Error(err)
			}

			stranger := rest.CopyConfig(config)
			stranger.BearerToken = "another"
			if c, err = Connect(stranger, TypesOf()); err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.attach(t.Context(), "shop", "p", "c"); !apierrors.IsForbidden(err) {
				t.Errorf("who may not is told %v", err)
			}
		})
	}
}
