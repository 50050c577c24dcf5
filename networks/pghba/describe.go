package pghba

import (
	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

var description = patchbay.Driver{
	Name: "pghba", Title: "PostgreSQL's pg_hba.conf", Noun: "guard in pg_hba.conf",
	About: `The rules by which a PostgreSQL server lets a login in: exactly from the addresses of
its source, to its database, over TLS, and from nowhere else.

The target that names the guard says where the server is and who administers it; the
guard, on which machine its files are. Rules stand in lines of Patchbay's own before the
first line that lets anybody in; all other lines, their order and comments stay as they
are. The server is asked before and after each change: a file that it could not read is
never left in place.`,
	Types: []string{"Patchbay.Services/guards"},
	Endpoint: patchbay.Endpoint{Field: patchbay.Field{
		Flag: "path", Type: patchbay.PathField, About: "its pg_hba.conf, where that is on the machine", Form: "FILE",
		Default: "where the server says that it is", Example: "/srv/postgres/data/pg_hba.conf",
	}},
	Properties: []patchbay.Field{
		hostField(),
		{Name: "tls", Type: patchbay.TextField, About: "whether a login is let in over TLS alone; optional is for a server without", Words: []string{tlsRequired, tlsOptional}, Default: tlsRequired},
	},
	Lacks: []patchbay.Lack{
		{What: "one of the server's addresses among several", Why: "the server does not ask by which of its addresses it was reached"},
		{What: "logins that come through a connection pooler", Why: "the server sees the pooler's address; put the pooler's own rules in front of it"},
		{What: "passwords that are kept as MD5", Why: "the lines ask for scram-sha-256, which is what Patchbay's own logins have"},
	},
}

func hostField() patchbay.Field {
	f := driver.HostField()
	f.About = "the registered host that PostgreSQL runs on"
	return f
}
