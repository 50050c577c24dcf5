package external_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.mongodb.org/mongo-driver/v2/bson"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// canary is what a hostile server says wherever its protocol has room for words.
const canary = "CANARYinTheMine"

// silentAbout wants nothing of the canary in what a caller can see.
func silentAbout(t *testing.T, found any, err error) {
	t.Helper()
	shown := fmt.Sprintf("%+v", found)
	for e := err; e != nil; e = errors.Unwrap(e) {
		shown += fmt.Sprintf("\n%v | %+v | %#v", e, e, e)
		if known := (*patchbay.Error)(nil); errors.As(e, &known) {
			shown += fmt.Sprintf("\n%#v", *known)
		}
	}
	if strings.Contains(strings.ToLower(shown), strings.ToLower(canary)) {
		t.Errorf("the caller is told what the server said:\n%s", shown)
	}
	if code := patchbay.CodeOf(err); code == patchbay.Internal {
		t.Errorf("the finding is no finding: %v", err)
	}
}

// hears has the driver look at and sign in to what is at the address, and wants
// nothing of what is said there told.
func hears(t *testing.T, kind string, address string) {
	t.Helper()
	r := plainly(address)[kind]
	target := r.opened(t)
	ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
	defer cancel()
	info, err := target.Inspect(ctx, r.sub)
	silentAbout(t, info, err)
	result, err := target.Probe(ctx, driver.ProbeRequest{Credential: given(t, target, r.sub, r.login, "cmlnaHQ="), Dialer: here{}, Sub: r.sub})
	silentAbout(t, result, err)
}

// once answers each connection with the same bytes: at once, and for a server
// that speaks second again after the client's first.
func once(t *testing.T, answer []byte) string {
	return listener(t, func(c net.Conn) {
		_, _ = c.Write(answer)
		b := make([]byte, 4096)
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	})
}

func TestNoProtocolsRubbishIsTold(t *testing.T) {
	for name, answer := range map[string]string{
		"words": canary + " " + canary + "\r\n", "a line": canary, "a long line": strings.Repeat(canary, 5000),
		"HTTP": "HTTP/1.1 200 " + canary + "\r\n" + canary + ": " + canary + "\r\nContent-Length: 15\r\n\r\n" + canary,
		"JSON": `{"error":"` + canary + `"}` + "\r\n",
	} {
		address := once(t, []byte(answer))
		for kind := range plainly(address) {
			t.Run(name+" to "+kind, func(t *testing.T) {
				t.Parallel()
				hears(t, kind, address)
			})
		}
	}
}

func TestAnHTTPServersWordsAreNotTold(t *testing.T) {
	bodies := []string{
		"<Error><Code>" + canary + "</Code><Message>" + canary + "</Message><Resource>" + canary + "</Resource><BucketName>" + canary + "</BucketName><Region>" + canary + "</Region></Error>",
		`{"errors":["` + canary + `"],"error_code":40101,"message":"` + canary + `","auth":{"client_token":"` + canary + `"}}`,
		canary,
	}
	for _, status := range []int{200, 301, 400, 401, 403, 404, 429, 503, 999} {
		for i, body := range bodies {
			address := listener(t, func(c net.Conn) {
				r := bufio.NewReader(c)
				for {
					line, err := r.ReadString('\n')
					if err != nil {
						return
					}
					if line == "\r\n" {
						break
					}
				}
				_, _ = fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nServer: %s\r\nLocation: http://%s/%s\r\nWWW-Authenticate: %s\r\nX-Ms-Error-Code: %s\r\nX-Amz-Bucket-Region: %s\r\nContent-Type: application/xml\r\nRetry-After: %s\r\nConnection: close\r\n\r\n%s",
					status, canary, canary, canary, canary, canary, canary, canary, canary, body)
			})
			for kind, r := range plainly(address) {
				if !strings.Contains(r.endpoint, "http") {
					continue
				}
				t.Run(fmt.Sprintf("%d %d to %s", status, i, kind), func(t *testing.T) {
					t.Parallel()
					hears(t, kind, address)
				})
			}
		}
	}
	for i, head := range []string{"HTTP/1.1 " + canary, "HTTP/" + canary + " 200 OK", "HTTP/1.1 200 OK\r\n" + canary + "\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: " + canary + "\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + canary + "\r\n\r\n"} {
		address := once(t, []byte(head+"\r\n\r\n"))
		for _, kind := range []string{"s3", "vault", "schema", "blob"} {
			t.Run(fmt.Sprintf("broken %d to %s", i, kind), func(t *testing.T) { hears(t, kind, address) })
		}
	}
}

func TestARedisServersWordsAreNotTold(t *testing.T) {
	for _, answer := range []string{
		"-ERR " + canary, "-" + canary, "-MOVED 1 " + canary + ":1", "-NOAUTH " + canary, "-WRONGPASS " + canary, "-NOPERM " + canary, "-LOADING " + canary,
		"-READONLY " + canary, "+" + canary, "$15\r\n" + canary, "!15\r\n" + canary, ":" + canary, "*" + canary, "%" + canary, "_" + canary, "=" + canary,
	} {
		t.Run(answer, func(t *testing.T) {
			t.Parallel()
			hears(t, "redis", once(t, []byte(answer+"\r\n")))
		})
	}
}

func TestANATSServersWordsAreNotTold(t *testing.T) {
	info := `INFO {"server_id":"` + canary + `","server_name":"` + canary + `","version":"` + canary + `","host":"` + canary + `","port":4222,"max_payload":1048576,"connect_urls":["` + canary + `:4222"],"nonce":"` + canary + `"`
	for i, answer := range []string{
		info + "}\r\n-ERR '" + canary + "'", info + "}\r\n-ERR 'Authorization Violation " + canary + "'", info + "}\r\n-ERR 'User Authentication Expired " + canary + "'",
		info + "}\r\n-ERR 'Permissions Violation for Subscription to \"" + canary + "\"'", info + `,"tls_required":true}`, info + `,"auth_required":true}` + "\r\n-ERR " + canary,
		"INFO " + canary, "INFO {" + canary, "-ERR '" + canary + "'", "MSG " + canary, info + "}\r\nPONG\r\nMSG " + canary + " 1 1",
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			hears(t, "nats", once(t, []byte(answer+"\r\n")))
		})
	}
}

func TestAPostgreSQLServersWordsAreNotTold(t *testing.T) {
	message := func(kind byte, body string) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4)), body...)
	}
	said := func(code string) string {
		return "SFATAL\x00V" + canary + "\x00C" + code + "\x00M" + canary + "\x00D" + canary + "\x00H" + canary + "\x00W" + canary +
			"\x00s" + canary + "\x00t" + canary + "\x00c" + canary + "\x00d" + canary + "\x00n" + canary + "\x00F" + canary + "\x00L1\x00R" + canary + "\x00\x00"
	}
	in := func(rest ...[]byte) []byte {
		all := message('R', "\x00\x00\x00\x00")
		for _, name := range []string{"server_version", "application_name", canary} {
			all = append(all, message('S', name+"\x00"+canary+"\x00")...)
		}
		all = append(all, message('N', said("01000"))...)
		all = append(all, message('Z', "I")...)
		for _, r := range rest {
			all = append(all, r...)
		}
		return all
	}
	for name, answer := range map[string][]byte{
		"28P01": message('E', said("28P01")), "3D000": message('E', said("3D000")), "53300": message('E', said("53300")), "no code": message('E', said(canary)),
		"mechanism": message('R', "\x00\x00\x00\x0a"+canary+"\x00\x00"), "salt": message('R', "\x00\x00\x00\x0b"+canary), "way": message('R', canary),
		"then": in(message('E', said("XX000"))), "unknown": message('~', canary), "in": in(message('C', canary+"\x00"), message('Z', "I")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hears(t, "postgresql", once(t, answer))
		})
	}
}

func TestAMySQLServersWordsAreNotTold(t *testing.T) {
	packet := func(seq byte, body string) []byte {
		return append([]byte{byte(len(body)), byte(len(body) >> 8), byte(len(body) >> 16), seq}, body...)
	}
	said := func(number uint16) string {
		return "\xff" + string(binary.LittleEndian.AppendUint16(nil, number)) + "#HY000" + canary
	}
	hello := "\x0a" + canary + "\x00\x01\x00\x00\x00saltsalt\x00\xff\xf7\xff\x02\x00\xff\xdf\x15" + strings.Repeat("\x00", 10) + "saltsaltsalt\x00"
	for name, tt := range map[string]struct{ greets, answers []byte }{
		"an error at once":    {packet(0, said(1040)), nil},
		"a host that may not": {packet(0, "\xff"+string(binary.LittleEndian.AppendUint16(nil, 1130))+canary), nil},
		"another way":         {packet(0, hello+canary+"\x00"), packet(2, "\xfe"+canary+"\x00"+canary)},
		"refused":             {packet(0, hello+"mysql_native_password\x00"), packet(2, said(1045))},
		"no database":         {packet(0, hello+"mysql_native_password\x00"), packet(2, said(1049))},
		"no code":             {packet(0, hello+"mysql_native_password\x00"), packet(2, said(65535))},
		"rubbish":             {packet(0, hello+"mysql_native_password\x00"), packet(2, canary)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hears(t, "mysql", listener(t, func(c net.Conn) {
				_, _ = c.Write(tt.greets)
				b := make([]byte, 4096)
				for {
					if _, err := c.Read(b); err != nil {
						return
					}
					_, _ = c.Write(tt.answers)
				}
			}))
		})
	}
}

func TestASQLServersWordsAreNotTold(t *testing.T) {
	for _, number := range []uint32{18456, 4060, 40613, 50000} {
		t.Run(fmt.Sprint(number), func(t *testing.T) {
			t.Parallel()
			hears(t, "sql", listener(t, func(c net.Conn) {
				for {
					kind, _, err := readTDS(c)
					if err != nil {
						return
					}
					if kind == 0x12 {
						writeTDS(c, []byte{0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xff, 15, 0, 0, 0, 0, 0, 2})
						continue
					}
					writeTDS(c, append(tdsError(number, canary), 0xfd, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
				}
			}))
		})
	}
}

func TestAMongoDBServersWordsAreNotTold(t *testing.T) {
	for _, code := range []int32{0, 13, 18, 11600} {
		for _, when := range []string{"hello", "saslStart"} {
			t.Run(fmt.Sprintf("%d at %s", code, when), func(t *testing.T) {
				t.Parallel()
				hears(t, "mongo", listener(t, func(c net.Conn) {
					for {
						id, command, err := readMongo(c)
						if err != nil {
							return
						}
						greets := strings.EqualFold(command[0].Key, "hello") || strings.EqualFold(command[0].Key, "isMaster")
						if greets && when != "hello" {
							writeMongo(c, id, bson.D{{Key: "ok", Value: 1}, {Key: "isWritablePrimary", Value: true}, {Key: "helloOk", Value: true}, {Key: "maxWireVersion", Value: 21},
								{Key: "setName", Value: canary}, {Key: "me", Value: canary}, {Key: "hosts", Value: bson.A{canary}}, {Key: "saslSupportedMechs", Value: bson.A{canary, "SCRAM-SHA-256"}}})
							continue
						}
						writeMongo(c, id, bson.D{{Key: "ok", Value: 0}, {Key: "code", Value: code}, {Key: "codeName", Value: canary}, {Key: "errmsg", Value: canary},
							{Key: "errorLabels", Value: bson.A{canary}}})
					}
				}))
			})
		}
	}
}

func TestACassandraServersWordsAreNotTold(t *testing.T) {
	text := func(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }
	for _, code := range []uint32{0, 0x0100, 0x2200} {
		for _, when := range []byte{5, 1, 0x0f} {
			t.Run(fmt.Sprintf("%x at %x", code, when), func(t *testing.T) {
				t.Parallel()
				hears(t, "cassandra", listener(t, func(c net.Conn) {
					for {
						head := make([]byte, 9)
						if _, err := io.ReadFull(c, head); err != nil {
							return
						}
						if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head[5:]))); err != nil {
							return
						}
						op, body := byte(0), append(binary.BigEndian.AppendUint32(nil, code), text(canary)...)
						if head[4] != when && head[4] == 5 {
							op, body = 6, []byte{0, 0}
						} else if head[4] != when && head[4] == 1 {
							op, body = 3, text("org.apache.cassandra.auth.PasswordAuthenticator")
						}
						out := append([]byte{0x84, 0, head[2], head[3], op}, binary.BigEndian.AppendUint32(nil, uint32(len(body)))...)
						_, _ = c.Write(append(out, body...))
					}
				}))
			})
		}
	}
}

func TestAKafkaBrokersWordsAreNotTold(t *testing.T) {
	for _, code := range []int16{33, 58, -1, 999} {
		for _, when := range []int16{17, 36, 3} {
			t.Run(fmt.Sprintf("%d at %d", code, when), func(t *testing.T) {
				t.Parallel()
				hears(t, "kafka", listener(t, func(c net.Conn) {
					for {
						size := make([]byte, 4)
						if _, err := io.ReadFull(c, size); err != nil {
							return
						}
						asked := make([]byte, binary.BigEndian.Uint32(size))
						if _, err := io.ReadFull(c, asked); err != nil {
							return
						}
						key, version := int16(binary.BigEndian.Uint16(asked)), int16(binary.BigEndian.Uint16(asked[2:]))
						answer := kmsg.ResponseForKey(key)
						answer.SetVersion(version)
						switch a := answer.(type) {
						case *kmsg.ApiVersionsResponse:
							for _, k := range []int16{3, 17, 18, 36} {
								one := kmsg.NewApiVersionsResponseApiKey()
								one.ApiKey, one.MaxVersion = k, 1
								a.ApiKeys = append(a.ApiKeys, one)
							}
						case *kmsg.SASLHandshakeResponse:
							a.SupportedMechanisms = []string{canary, "PLAIN"}
							if key == when {
								a.ErrorCode = code
							}
						case *kmsg.SASLAuthenticateResponse:
							a.ErrorMessage, a.SASLAuthBytes = kmsg.StringPtr(canary), []byte(canary)
							if key == when {
								a.ErrorCode = code
							}
						case *kmsg.MetadataResponse:
							broker := kmsg.NewMetadataResponseBroker()
							broker.Host, broker.Rack = canary, kmsg.StringPtr(canary)
							a.Brokers, a.ClusterID, a.ErrorCode = append(a.Brokers, broker), kmsg.StringPtr(canary), code
						}
						out := append(binary.BigEndian.AppendUint32(nil, 0), asked[4:8]...)
						if answer.IsFlexible() && key != 18 {
							out = append(out, 0)
						}
						out = answer.AppendTo(out)
						binary.BigEndian.PutUint32(out, uint32(len(out)-4))
						_, _ = c.Write(out)
					}
				}))
			})
		}
	}
}

// What stands in a certificate is told by no finding, nor is an alert.
func TestATLSServersWordsAreNotTold(t *testing.T) {
	certificate := func(from, to time.Duration) tls.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: canary, Organization: []string{canary}}, DNSNames: []string{canary, strings.ToLower(canary) + ".test"},
			NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	good, old := certificate(-time.Hour, time.Hour), certificate(-2*time.Hour, -time.Hour)
	shakes := func(cert tls.Certificate) func(net.Conn) {
		return func(c net.Conn) {
			secured := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12, NextProtos: []string{canary}})
			_ = secured.Handshake()
			_, _ = secured.Write([]byte(canary + "\r\n"))
		}
	}
	raw := func(answer string) func(net.Conn) {
		return func(c net.Conn) {
			b := make([]byte, 4096)
			_, _ = c.Read(b)
			_, _ = c.Write([]byte(answer))
		}
	}
	pem := func(cert tls.Certificate) string {
		parsed, err := x509.ParseCertificate(cert.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return pemOf(parsed)
	}
	for name, tt := range map[string]struct {
		handle func(net.Conn)
		ca     string
	}{
		"an authority of nobody": {shakes(good), ""},
		"another name":           {shakes(good), pem(good)},
		"an old one":             {shakes(old), pem(old)},
		"an alert":               {raw("\x15\x03\x03\x00\x02\x02\x28"), ""},
		"an alert of nobody":     {raw("\x15\x03\x03\x00\x02\x02\xfe"), ""},
		"words":                  {raw(canary), ""},
		"words in a record":      {raw("\x16\x03\x03\x00\x13\x02\x00\x00\x0f" + canary), ""},
	} {
		address := listener(t, tt.handle)
		for kind, typ := range map[string]string{
			"redis": "Microsoft.Cache/redis", "vault": "Microsoft.KeyVault/vaults", "nats": "Patchbay.Services/natsServers", "s3": "Patchbay.Services/s3Servers",
			"postgresql": "Microsoft.DBforPostgreSQL/flexibleServers", "mysql": "Microsoft.DBforMySQL/flexibleServers",
		} {
			t.Run(name+" to "+kind, func(t *testing.T) {
				t.Parallel()
				r := registration{typ: typ, endpoint: map[string]string{"redis": "rediss://", "vault": "https://", "nats": "tls://", "s3": "https://"}[kind] + address}
				if tt.ca != "" {
					r.properties = map[string]any{"tls": map[string]any{"ca": tt.ca}}
				}
				target := r.opened(t)
				ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
				defer cancel()
				info, err := target.Inspect(ctx, "")
				silentAbout(t, info, err)
				result, err := target.Probe(ctx, driver.ProbeRequest{Dialer: here{}})
				silentAbout(t, result, err)
			})
		}
	}
}

// Nor is what a name server said: neither who it is nor where it sends us.
func TestANameServersWordsAreNotTold(t *testing.T) {
	for _, err := range []error{
		&net.DNSError{Err: canary, Name: canary + ".corp", Server: canary + ":53", IsTimeout: true},
		fmt.Errorf("dial tcp: lookup cache.test on %s:53: no such host", canary),
		&net.OpError{Op: "read", Net: "udp", Err: errors.New("from " + canary + ":53")},
	} {
		target := registration{typ: "Microsoft.Cache/redis", endpoint: "cache.test:6379", dialer: dialer(func(context.Context, string, string) (net.Conn, error) { return nil, err })}.opened(t)
		info, found := target.Inspect(soon(t), "")
		silentAbout(t, info, found)
		if found == nil || !strings.Contains(found.Error(), "cache.test") {
			t.Errorf("%v", found)
		}
	}
}
