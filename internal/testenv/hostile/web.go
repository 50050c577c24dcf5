package hostile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// HTTP/1.1: RFC 9112.
func web() protocol {
	return protocol{
		name: "http", stages: []string{question}, begin: func() talk { return webTalk("application/json", "{}") },
		kinds: []string{
			"vault", "cosmos-sql", "cosmos-table", "storage-blob", "storage-queue", "storage-table", "storage-file",
			"appconfig", "aiservices", "openai", "confluent-schema",
		},
		evils: webEvils,
	}
}

func s3() protocol {
	return protocol{
		name: "s3", kinds: []string{"s3"}, stages: []string{question},
		begin: func() talk {
			return webTalk("application/xml", `<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated></ListBucketResult>`)
		},
		evils: append([]evil{
			body("elements-in-elements", "application/xml", "", "<a>"),
			body("elements", "application/xml", "<ListBucketResult>", "<Contents></Contents>"),
			body("buckets", "application/xml", "<ListAllMyBucketsResult><Buckets>", "<Bucket></Bucket>"),
			body("attributes", "application/xml", "<ListBucketResult ", `a="b" `),
			body("a-name-that-never-ends", "application/xml", "<", "A"),
			body("a-text-that-never-ends", "application/xml", "<ListBucketResult><Name>", "A"),
			body("a-comment-that-never-ends", "application/xml", "<!--", "A"),
			body("a-declaration-that-never-ends", "application/xml", "<!DOCTYPE a [", `<!ENTITY a "b">`),
			say("entities-of-entities", "HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nConnection: close\r\n\r\n"+
				`<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><ListBucketResult><Name>&c;</Name></ListBucketResult>`),
			say("another-region", "HTTP/1.1 301 Moved Permanently\r\nX-Amz-Bucket-Region: nowhere\r\nContent-Length: 0\r\n\r\n"),
			say("busy", "HTTP/1.1 503 Slow Down\r\nRetry-After: 86400\r\nContent-Length: 0\r\n\r\n"),
			flood("an-error-that-never-ends", "HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close\r\n\r\n<Error><Message>", "A"),
			flood("an-error-of-elements", "HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close\r\n\r\n<Error>", "<a>"),
		}, webEvils...),
	}
}

var webEvils = []evil{
	flood("headers", "HTTP/1.1 200 OK\r\n", "X-A: b\r\n"),
	flood("a-header-that-never-ends", "HTTP/1.1 200 OK\r\nX-A: ", "A"),
	flood("folded-headers", "HTTP/1.1 200 OK\r\nX-A: a\r\n", " a\r\n"),
	flood("a-status-that-never-ends", "HTTP/1.1 200 ", "A"),
	flood("early-answers", "", "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"),
	flood("continue", "", "HTTP/1.1 100 Continue\r\n\r\n"),
	flood("a-body-that-never-ends", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"a\":\"", "A"),
	flood("lists-in-lists", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n", "["),
	flood("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "4\r\nAAAA\r\n"),
	flood("chunks-of-a-byte-with-much-behind", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1;"+strings.Repeat("a", 2000)+"\r\nA\r\n"),
	flood("a-chunk-that-never-ends", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n", "A"),
	flood("a-chunk-without-a-size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;", "a"),
	flood("trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X-A: b\r\n"),
	say("a-chunk-of-2^64", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\nA"),
	say("a-length-of-2^62", "HTTP/1.1 200 OK\r\nContent-Length: 4611686018427387904\r\n\r\nA"),
	say("a-length-of-minus-1", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nA"),
	say("two-lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nAA"),
	say("to-itself", "HTTP/1.1 307 Temporary Redirect\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"),
	say("to-a-metadata-service", "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"),
	say("to-a-file", "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"),
	say("another-protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
	{name: "gzip-of-ten-gibibyte", do: func(l *line, _ []byte) error {
		bomb := gzipBomb()
		if _, err := fmt.Fprint(l, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n"); err != nil {
			return err
		}
		for range 1000 { // members of one stream
			if _, err := l.Write(bomb); err != nil {
				return err
			}
		}
		return io.EOF
	}},
}

// gzipBomb is ten mebibyte of spaces.
var gzipBomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(bytes.Repeat([]byte(" "), 10<<20)) // a buffer takes everything
	_ = z.Close()
	return b.Bytes()
})

// body is an answer that begins and never ends.
func body(name, kind, head, what string) evil {
	return flood(name, "HTTP/1.1 200 OK\r\nContent-Type: "+kind+"\r\nConnection: close\r\n\r\n"+head, what)
}

func webTalk(kind, body string) talk {
	return func(r *bufio.Reader) (string, []byte, error) {
		request, err := http.ReadRequest(r)
		if err != nil {
			return "", nil, err
		}
		if _, err := io.Copy(io.Discard, io.LimitReader(request.Body, 4<<20)); err != nil {
			return "", nil, err
		}
		return question, fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", kind, len(body), body), nil
	}
}
