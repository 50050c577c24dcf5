package ssh

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // known_hosts hides names with it, and nothing else
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// assignKeys gives each stop the keys that lines say it has. A bare key is the
// host's own. One that has none shows it, and is refused.
func assignKeys(stops []stop, lines []string) error {
	for _, line := range lines {
		for _, line := range strings.Split(line, "\n") {
			line = strings.TrimSpace(line)
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if err := assignKey(stops, line); err != nil {
				return err
			}
		}
	}
	return nil
}

func assignKey(stops []stop, line string) error {
	host := &stops[len(stops)-1]
	if key, _, options, rest, err := ssh.ParseAuthorizedKey([]byte(line)); err == nil && len(options) == 0 && len(rest) == 0 {
		host.keys = append(host.keys, key)
		return nil
	}
	marker, names, key, _, _, err := ssh.ParseKnownHosts([]byte(line))
	switch {
	case err != nil:
		return invalid("the host key %.60q is neither a public key nor a line of known_hosts", line)
	case marker != "":
		return invalid("a host key with the mark @%s is not understood: give the key of the host itself", marker)
	}
	used := false
	for i := range stops {
		if slices.ContainsFunc(names, func(name string) bool { return isNamed(name, stops[i].address) }) {
			stops[i].keys = append(stops[i].keys, key)
			used = true
		}
	}
	if !used {
		return invalid("the host key of %.80q is of none of the hosts that are passed", strings.Join(names, ","))
	}
	return nil
}

// isNamed reports whether a name of known_hosts is that of an address.
func isNamed(name, address string) bool {
	want := knownhosts.Normalize(address)
	if hidden, ok := strings.CutPrefix(name, "|1|"); ok {
		salt, sum, _ := strings.Cut(hidden, "|")
		saltBytes, err := base64.StdEncoding.DecodeString(salt)
		sumBytes, err2 := base64.StdEncoding.DecodeString(sum)
		if err != nil || err2 != nil {
			return false
		}
		mac := hmac.New(sha1.New, saltBytes)
		_, _ = mac.Write([]byte(want))
		return hmac.Equal(mac.Sum(nil), sumBytes)
	}
	return strings.EqualFold(knownhosts.Normalize(name), want)
}

// hostOf is the host of an address, for a command.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// algorithms are how a host may prove that it has one of the keys: nothing else is
// asked for, or a host of two keys would show the one that is not known.
func (s stop) algorithms() []string {
	if len(s.keys) == 0 {
		return slices.Concat(scanned...)
	}
	var all []string
	for _, key := range s.keys {
		list := []string{key.Type()}
		if key.Type() == ssh.KeyAlgoRSA {
			list = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
		}
		for _, each := range list {
			if !slices.Contains(all, each) {
				all = append(all, each)
			}
		}
	}
	return all
}

// check is an ssh.HostKeyCallback.
func (s stop) check(_ string, _ net.Addr, key ssh.PublicKey) error {
	var known []string
	for _, each := range s.keys {
		if bytes.Equal(each.Marshal(), key.Marshal()) {
			return nil
		}
		known = append(known, ssh.FingerprintSHA256(each))
	}
	if len(known) == 0 {
		return patchbay.Errorf(patchbay.CertificateInvalid,
			"nobody has said yet which host key of %s is the right one: it shows %s (%s). Nothing was sent to it", s.address, ssh.FingerprintSHA256(key), key.Type()).
			WithFix("for k in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $k; done   (on the machine itself; if it says %s too, add --host-key '%s')",
				ssh.FingerprintSHA256(key), knownhosts.Line([]string{s.address}, key))
	}
	return patchbay.Errorf(patchbay.CertificateInvalid,
		"THE HOST KEY OF %s HAS CHANGED: it shows %s (%s), and was registered with %s. Either the machine was set up anew, or somebody stands between. Nothing was sent to it",
		s.address, ssh.FingerprintSHA256(key), key.Type(), strings.Join(known, ", ")).
		WithFix("for k in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $k; done   (on the machine itself; if it says %s, register the host with its new key)", ssh.FingerprintSHA256(key))
}

// HostKey is a key that a host shows.
type HostKey struct {
	Address     string // host:port
	Line        string // of known_hosts: what a registration takes
	Type        string // ssh-ed25519
	Fingerprint string // SHA256:…
}

// scanned are the kinds of host keys that are asked for, the best first.
var scanned = [][]string{
	{ssh.KeyAlgoED25519}, {ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521}, {ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256},
}

// Scan asks a host for its keys, for a person to compare. Nobody signs in. Whoever
// answers may not be the host: the fingerprints are to be compared with what the
// machine itself says.
func Scan(ctx context.Context, dialer driver.Dialer, address string) ([]HostKey, error) {
	at, err := driver.EndpointForm{Schemes: map[string]uint16{"": 22, "ssh": 22}}.Parse("the address", address)
	if err != nil {
		return nil, err
	}
	address = at.Servers[0].Address()
	var keys []HostKey
	for _, algorithms := range scanned {
		key, err := scan(ctx, dialer, address, algorithms)
		if err != nil {
			return nil, err
		}
		if key != nil {
			keys = append(keys, HostKey{
				Address: address, Line: knownhosts.Line([]string{address}, key), Type: key.Type(), Fingerprint: ssh.FingerprintSHA256(key),
			})
		}
	}
	if len(keys) == 0 {
		return nil, patchbay.Errorf(patchbay.TargetUnreachable, "%s shows no host key of a kind that is trusted (ed25519, ECDSA, RSA)", address)
	}
	return keys, nil
}

// scan is the key of one of these kinds, nil when the host has none.
func scan(ctx context.Context, dialer driver.Dialer, address string, algorithms []string) (ssh.PublicKey, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, unreachable(err, address)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	var shown ssh.PublicKey
	enough := errors.New("enough")
	_, _, _, err = ssh.NewClientConn(conn, address, &ssh.ClientConfig{
		User: "nobody", HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error { shown = key; return enough },
	})
	var disagree *ssh.AlgorithmNegotiationError
	switch {
	case shown != nil:
		return shown, nil
	case errors.As(err, &disagree):
		return nil, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("%w", notSSH(address))
}

func notSSH(address string) error {
	return patchbay.Errorf(patchbay.TargetUnreachable, "what listens on %s ends the connection, or does not speak SSH", address).AsTransient()
}

// unreachable is a connection to a host that could not be made.
func unreachable(err error, address string) error {
	return driver.DialError(err, address).WithFix("nc -vz %s %s   (from where Patchbay runs)", hostOf(address), portOf(address))
}
