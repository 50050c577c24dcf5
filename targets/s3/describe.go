package s3

import "patchbay.dev/patchbay"

const optionPrefixes = "prefixes"

var description = patchbay.Driver{
	Name: "s3", Title: "S3-compatible object storage", Noun: "S3 server",
	About: `A server of S3's protocol whose users Patchbay can make: the Versity S3 Gateway
(versitygw) of version 1.8 or later with users of its own (--iam-dir, Vault, LDAP, S3),
or MinIO; and the access key of its root, or of a user that may administer it.`,
	Types: []string{"Patchbay.Services/s3Servers"},
	Endpoint: patchbay.Endpoint{
		Field: patchbay.Field{Type: patchbay.TextField, About: "where applications speak S3; http:// sends objects in the clear", Form: "https://HOST:PORT", Example: "https://10.0.0.8:7070", Required: true},
		Port:  "443", Schemes: []string{"https", "http"},
	},
	Properties: []patchbay.Field{
		{Name: "api", Type: patchbay.TextField, About: "whose users it has", Words: []string{apiVersity, apiMinIO}, Default: "what the server says that it is"},
		{Name: "admin", Flag: "admin-url", Type: patchbay.TextField, About: "URL of the admin API, where it has a port of its own (--admin-port)", Form: "https://HOST:PORT", Example: "https://10.0.0.8:7071", Default: "the endpoint"},
		{Name: "region", Type: patchbay.TextField, About: "the region that requests are signed for, as the server has it", Default: defaultRegion},
		{Name: "tls.ca", Flag: "ca-file", Type: patchbay.FileField, About: "authorities that the server's certificate may be of, in PEM", Default: "the system's"},
	},
	Admin: []patchbay.Field{
		{Name: "accessKeyId", Flag: "admin-access-key-id", Type: patchbay.TextField, About: "the access key id of the root, or of a user that may administer it", Example: "patchbay"},
		{Name: "secretAccessKey", Flag: "admin-secret-access-key", Type: patchbay.TextField, About: "its secret access key", Secret: true},
	},
	AdminForms: [][]string{{"accessKeyId", "secretAccessKey"}},
	Logins: &patchbay.Logins{
		Auths:    []patchbay.AuthType{patchbay.AuthSecret},
		Accesses: []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner},
		Options: []patchbay.Option{
			{Name: optionPrefixes, About: "prefixes of the objects that a reader or writer may use, with commas between them (default: all of the bucket)", Example: "invoices/,receipts/"},
		},
		Sources: true,
	},
	Lacks: []patchbay.Lack{
		{What: "an end to what is under way", Why: "rights are asked for when a request begins: a download or upload that has begun when its login is removed goes on to its end, and the next request is refused"},
		{What: "open sessions", Why: "S3 has none: each request is signed by itself"},
		{What: "source addresses behind a proxy", Why: "the server sees the address of what connects to it, and behind a proxy that is the proxy's; MinIO believes what a request says of its address, whoever sends it"},
		{What: "many logins of one bucket on a gateway that keeps policies in attributes of files", Why: "ext4 has room for three owners, seven writers or eleven readers: give the gateway --sidecar, or XFS"},
		{What: "others who write a bucket's policy at the same moment", Why: "S3 has no condition on that write: what Patchbay writes it reads back, but of two that write in the same milliseconds one may be lost; validate finds it"},
		{What: "addresses with the bucket in the host's name", Why: "settings have no way to say it: tell libraries that begin with the bucket's name (JavaScript's: forcePathStyle) to use the path, or give the server a virtual domain"},
		{What: "AWS IAM, Ceph, and a gateway with standalone IAM", Why: "their access keys are made by the server and said once, which a plan that is undone could lose; register such a server as external"},
	},
}
