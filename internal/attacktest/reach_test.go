package attacktest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestNoMetadataServiceIsReachedInAnyWrittenForm(t *testing.T) {
	s := start(t)
	n := s.tenant("attacker")
	source, _ := n.source("web")
	who := n.with("Service Connector Contributor", "")
	for i, host := range []string{
		"169.254.169.254", "169.254.0.23", "169.254.42.42", "[::ffff:169.254.169.254]", "[::169.254.169.254]", "[64:ff9b::a9fe:a9fe]",
		"[2002:a9fe:a9fe::]", "[2001:0:a9fe:a9fe::]", "[fe80::1]", "168.63.129.16", "100.100.100.200", "192.0.0.192",
		"[fd00:ec2::254]", "[fd20:ce::254]", "0.0.0.0", "[::]", "224.0.0.1", "2852039166", "0xa9fea9fe",
	} {
		id := linker(source, fmt.Sprintf("m%d", i))
		status, answer := s.call(who.token, "PUT", id, linkers, toEndpoint("redis://"+host+":80"))
		if status/100 != 2 {
			continue // refused at once
		}
		op := s.operation(s.token, id)
		code := text(op, "error", "code")
		if op["state"] == "done" || code != "InvalidArgument" && code != "NameNotResolved" {
			t.Errorf("%s: %v, %v", host, code, answer)
		}
	}
}

// A caller learnt a kilobyte of an HTTP page, and the first line of Redis.
func TestAProbeTellsNothingOfWhatWasAnswered(t *testing.T) {
	s := start(t)
	n := s.tenant("attacker")
	who := n.with("Service Connector Contributor", "")
	const canary = "canary-5b1f"
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Server", canary)
		w.Header().Set("Location", "http://127.0.0.1/"+canary)
		w.WriteHeader(http.StatusTeapot)
		_, _ = fmt.Fprintf(w, "<h1>%s</h1>", canary)
	}))
	t.Cleanup(web.Close)
	speaks := func(line string, first bool) string {
		return listener(t, func(c net.Conn) {
			b := make([]byte, 512)
			if !first {
				_, _ = c.Read(b)
			}
			_, _ = c.Write([]byte(line))
			_, _ = c.Read(b)
		})
	}
	greets := func(line string) string { return speaks(line, true) }
	says := func(line string) string { return speaks(line, false) }
	httpLine := "HTTP/1.1 500 " + canary + "\r\nX: " + canary + "\r\nContent-Length: 11\r\n\r\n" + canary
	pgError := append([]byte{'E', 0, 0, 0, 0}, []byte("SFATAL\x00C28P01\x00M"+canary+"\x00D"+canary+"\x00H"+canary+"\x00\x00")...)
	pgError[4] = byte(len(pgError) - 1)
	began := map[string]string{}
	for name, endpoint := range map[string]string{
		"s3": "s3+http://" + strings.TrimPrefix(web.URL, "http://") + "?bucket=invoices", "vault": "vault+http://" + strings.TrimPrefix(web.URL, "http://"),
		"redis": "redis://" + says("-ERR "+canary+"\r\n"), "redis-http": "redis://" + says(httpLine),
		"nats":      "nats://" + greets("INFO {\"server_id\":\""+canary+"\",\"version\":\""+canary+"\"}\r\n-ERR '"+canary+"'\r\n"),
		"nats-http": "nats://" + greets(httpLine), "mysql": "mysql://" + greets("\x20\x00\x00\x00\xff\x15\x04#28000"+canary+strings.Repeat("x", 12)) + "/shop",
		"postgres": "postgres://" + says(string(pgError)) + "/shop?sslmode=disable", "mongo": "mongodb://" + says(httpLine) + "/shop",
		"cassandra": "cassandra://" + says(httpLine) + "?keyspace=shop", "kafka": "kafka://" + says(httpLine),
	} {
		source, _ := n.source(name)
		id := linker(source, name)
		_, preview := s.call(who.token, "POST", id+"/providers/Patchbay.Connector/preview", own, toEndpoint(endpoint))
		status, answer := s.call(who.token, "PUT", id, linkers, toEndpoint(endpoint), "Prefer", "respond-async")
		if all := fmt.Sprint(preview, status, answer); strings.Contains(all, canary) {
			t.Errorf("%s: the answer has the server's words: %s", name, all)
		}
		if status/100 == 2 {
			began[name] = id
		}
	}
	for name, id := range began { // they are tried again and again, all at once
		if op := fmt.Sprint(s.operation(who.token, id)); strings.Contains(op, canary) {
			t.Errorf("%s: the operation has the server's words: %s", name, op)
		}
	}
	s.alive()
}

func TestAPreviewThatDialsIsInTheAuditLog(t *testing.T) {
	s := start(t)
	n := s.tenant("attacker")
	source, _ := n.source("web")
	who := n.with("Service Connector Contributor", "")
	address := listener(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	s.must(2, who.token, "POST", linker(source, "db")+"/providers/Patchbay.Connector/preview", own, toEndpoint("redis://"+address))
	_, log := s.call(s.token, "GET", "/providers/Patchbay.Connector/audit?caller="+who.object, own, nil)
	if !strings.Contains(fmt.Sprint(log), "a preview asks redis://") {
		t.Errorf("the audit log has %v", log)
	}
}
