package ssh

import (
	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

var description = patchbay.Driver{
	Name: "ssh", Title: "Machine by SSH", Noun: "machine that is reached by SSH",
	About: `A machine whose files, programs and network are used by SSH: applications of
several kinds may be registered on it.

It needs sshd, and nothing of Patchbay's. Its host keys are given with it: who has
none of them is not spoken to. Register it without one, and the refusal says which key
it shows, how that is compared, and what accepts it. An unprivileged login will do, with the few rules of
sudo that a check prints.`,
	Types: []string{"Patchbay.Services/hosts"},
	Endpoint: patchbay.Endpoint{Field: patchbay.Field{
		Type: patchbay.TextField, About: "where its sshd listens", Form: "HOST:PORT", Example: "web1.example:22", Required: true,
	}, Port: "22"},
	Properties: []patchbay.Field{
		{Name: "user", Type: patchbay.TextField, About: "who signs in", Example: "patchbay", Required: true},
		{Name: "hostKeys", Flag: "host-key", Type: patchbay.ListField, Form: "LINE", About: "public key of the host, or a line of known_hosts of it or of a jump host; without one, what it shows is refused and said", Example: "ssh-ed25519 AAAA…"},
		{Name: "become", Type: patchbay.TextField, About: "whose files and programs they are, by sudo", Default: "the user's own", Example: "web"},
		{Name: "jump", Type: patchbay.ListField, Commas: true, Form: "USER@HOST:PORT", About: "host on the way there, in order; its host key is a line of known_hosts"},
		{Name: "agent", Type: patchbay.BoolField, About: "sign in with the agent of the server's process (SSH_AUTH_SOCK)", Default: "false"},
		{Name: "sftpServer", Flag: "sftp-server", Type: patchbay.TextField, About: "program that sudo starts for the files of whom is become", Default: "where the distributions have it", Example: "/usr/lib/openssh/sftp-server"},
		{Name: "deny", Type: patchbay.ListField, Commas: true, About: "addresses that no connection is made to from there: a prefix, all, loopback, private, link-local or metadata"},
		{Name: "allow", Type: patchbay.ListField, Commas: true, About: "addresses of the same forms that connections are made to although they are closed by default"},
	},
	Admin: []patchbay.Field{
		{Name: "key", Type: patchbay.FileField, Secret: true, About: "private key that signs in"},
		{Name: "passphrase", Type: patchbay.TextField, Secret: true, About: "what unlocks the key"},
		{Name: "password", Type: patchbay.TextField, Secret: true, About: "password that signs in, where there is no key"},
	},
}

// Driver is the driver for machines by SSH.
func Driver() driver.HostDriver { return driver.HostDriver{Driver: description, Open: Open} }
