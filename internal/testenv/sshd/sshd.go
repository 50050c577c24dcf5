// Package sshd starts machines that are reached by SSH: Debian's own sshd in
// namespaces of its own. Such a machine has another network, a user and rules of sudo
// that the real one does not have, and the same files and processes otherwise.
package sshd

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"testing"

	"golang.org/x/crypto/ssh"
)

// User is the login that every machine has; so has root.
const User = "pbtest"

// UID is the user's, and its group's.
const UID = 61234

// Options are what a machine may have otherwise.
type Options struct {
	// Config are lines of sshd_config, before those of the harness: the first one
	// that says something holds.
	Config []string
	// Shell is the user's login shell; /bin/sh when empty.
	Shell string
	// Password is the user's; none when empty.
	Password string
	// Sudoers are lines of sudoers.
	Sudoers []string
	// Setup are commands of sh, as root on the machine, before sshd starts: mounts
	// of its own end with it.
	Setup string
}

// Key is a private key, and its public line.
type Key struct {
	Private string // in PEM
	Public  string // of authorized_keys
	Signer  ssh.Signer
}

// NewKey makes a key, locked by the passphrase unless that is empty.
func NewKey(t testing.TB, passphrase string) Key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, "")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return Key{Private: string(pem.EncodeToMemory(block)), Public: string(ssh.MarshalAuthorizedKey(signer.PublicKey())), Signer: signer}
}
