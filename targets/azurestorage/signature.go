package azurestorage

import (
	"crypto/hmac"
	"crypto/rand"
	"net/url"
	"strings"

	"patchbay.dev/patchbay"
)

// policyName is the identifier of a policy for the login of that name: no two are the
// same, so that of two credentials for one login the later ends the other.
func policyName(login string) string {
	return login + "." + strings.ToLower(rand.Text()[:20])
}

// isOf reports whether a policy goes by the name of a login, ours or not.
func isOf(id, login string) bool { return id == login || strings.HasPrefix(id, login+".") }

// sign makes a signature of c under a policy. What it may do and when it ends, the policy
// says.
func sign(account string, key []byte, c child, at place, policy string) url.Values {
	q := url.Values{"sv": {version}, "si": {policy}}
	if at.server.Scheme == "https" {
		q.Set("spr", "https")
	}
	if c.resource != "" {
		q.Set("sr", c.resource)
	}
	if c.name == "table" {
		q.Set("tn", strings.ToLower(c.id))
	}
	q.Set("sig", signatureOf(account, key, c, q))
	return q
}

func signatureOf(account string, key []byte, c child, q url.Values) string {
	// permissions, start, expiry, what, policy, addresses, protocol, version; and what
	// each service has besides, of which nothing is said.
	text := []string{"", "", "", c.canonical(account), q.Get("si"), "", q.Get("spr"), version}
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

// signedBy reports whether a signature of c was made with that key.
func signedBy(key []byte, account string, c child, sas url.Values) bool {
	return hmac.Equal([]byte(sas.Get("sig")), []byte(signatureOf(account, key, c, sas)))
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
