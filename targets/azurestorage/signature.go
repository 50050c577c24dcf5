package azurestorage

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/binary"
	"net/url"
	"strings"
	"time"

	"patchbay.dev/patchbay"
)

// sign makes a signature of c under the policy of that name. What it may do and when it
// ends, the policy says. It begins in the past, each at another moment: no two are the
// same text, whatever their policy.
func sign(account string, key []byte, c child, at place, name string) string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	const years = 3 * 365 * 24 * 3600
	start := time.Now().Add(-time.Hour - time.Duration(binary.BigEndian.Uint64(b[:])%years)*time.Second).UTC().Format("2006-01-02T15:04:05Z")
	protocol := ""
	if at.server.Scheme == "https" {
		protocol = "https"
	}
	q := url.Values{"sv": {version}, "st": {start}, "si": {name}, "sig": {signatureOf(account, key, c, name, start, protocol)}}
	if protocol != "" {
		q.Set("spr", protocol)
	}
	if c.resource != "" {
		q.Set("sr", c.resource)
	}
	if c.name == "table" {
		q.Set("tn", strings.ToLower(c.id))
	}
	return strings.ReplaceAll(q.Encode(), "+", "%20")
}

func signatureOf(account string, key []byte, c child, name, start, protocol string) string {
	// permissions, start, expiry, what, policy, addresses, protocol, version; and what
	// each service has besides, of which nothing is said.
	text := []string{"", start, "", c.canonical(account), name, "", protocol, version}
	switch c.name {
	case "blob": // resource, snapshot, five headers of answers
		text = append(text, c.resource, "", "", "", "", "", "")
	case "file": // five headers of answers
		text = append(text, "", "", "", "", "")
	case "table": // from and to a partition and a row
		text = append(text, "", "", "", "")
	}
	return sum(key, strings.Join(text, "\n"))
}

// signedBy reports whether a signature of the login's was made with that key.
func signedBy(key []byte, account string, n note, sas url.Values) bool {
	return hmac.Equal([]byte(sas.Get("sig")), []byte(signatureOf(account, key, n.of, sas.Get("si"), sas.Get("st"), sas.Get("spr"))))
}

// parseSignature reads a signature, with or without what stands before it in a URL.
func parseSignature(text string) (url.Values, error) {
	q, err := url.ParseQuery(strings.TrimPrefix(strings.TrimSpace(text), "?"))
	if err != nil || q.Get("sig") == "" || q.Get("sv") == "" {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the credential is no shared access signature")
	}
	for name, values := range q {
		if len(values) != 1 || strings.EqualFold(name, "comp") || strings.EqualFold(name, "restype") {
			return nil, patchbay.Errorf(patchbay.InvalidArgument, "the credential is no shared access signature")
		}
	}
	return q, nil
}
