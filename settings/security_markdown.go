package settings

import (
	"fmt"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

const securityIntroduction = `## TLS: what is written, and how it is read

How far TLS is insisted on is a value of the target: ` + "`sslmode`" + ` in libpq's words, or
whether there is TLS at all. Libraries have words of their own for it, and some take a
word otherwise than it was meant: go-sql-driver/mysql reads ` + "`tls=true`" + ` as "verify, by
the system's authorities", where ` + "`require`" + ` asked for no verification. Below each kind
stands what its libraries make of each value. Three things follow from that:

- **What is tried is as strict as the library.** A certificate that the application will
  not trust fails the create, with the setting that makes the library refuse it, and the
  ways out.
- **The authority of a registration** (` + "`--ca-file`" + `) is written where the library can be
  told: as the file ` + "`ca.crt`" + ` of the connection, below the source's binding root, with its
  path in the setting named below; it comes, changes and goes with the connection. An
  application in a container sees that directory elsewhere: the source is then registered
  with ` + "`--binding-mount`" + `. With an authority, ` + "`require`" + ` is written as ` + "`verify-ca`" + `, which
  is what libpq makes of the two.
- **What a library is not told is said**, as a warning of preview, create and validate,
  with the step that is left: the last columns below.

` + "`NODE_EXTRA_CA_CERTS` and `SSL_CERT_FILE`" + ` are read by the whole process. They are written for
client types that add them to what they trust anyway (Node.js; Go, which still reads the
system's directories), and left alone where somebody else has them. Node.js reads its
variable when it starts, so it has to be in its environment: from ` + "`docker --env-file`" + ` or
systemd, not from a file that the program loads itself.

`

// securityMarkdown is the kind's table of how its libraries read what is written.
func (k *kind) securityMarkdown(b *strings.Builder) {
	var rows []string
	who := map[string][]string{} // the rest of a row → namings and client types
	for _, naming := range k.namings() {
		for _, client := range k.clients(naming) {
			row := k.securityRow(naming, client)
			if who[row] == nil {
				rows = append(rows, row)
			}
			who[row] = append(who[row], fmt.Sprintf("%s %s", naming, client))
		}
	}
	fmt.Fprintf(b, "\n### %s: how TLS is read\n\n| Client types | Library | Written → read | Its authority | Left to the user |\n|---|---|---|---|---|\n", k.name)
	for _, row := range rows {
		fmt.Fprintf(b, "| %s %s\n", k.clientsByNaming(who[row]), row)
	}
}

// clientsByNaming is "azure: go, java; native: all".
func (k *kind) clientsByNaming(who []string) string {
	var parts []string
	for _, naming := range k.namings() {
		var clients []string
		for _, w := range who {
			if client, ok := strings.CutPrefix(w, string(naming)+" "); ok {
				clients = append(clients, client)
			}
		}
		switch {
		case len(clients) == 0:
		case len(clients) == len(k.clients(naming)):
			parts = append(parts, fmt.Sprintf("`%s`: all", naming))
		default:
			parts = append(parts, fmt.Sprintf("`%s`: %s", naming, strings.Join(clients, ", ")))
		}
	}
	return strings.Join(parts, "<br>")
}

// securityRow is what the library of a client type does with each value.
func (k *kind) securityRow(naming patchbay.Naming, client patchbay.ClientType) string {
	auth := k.authsOf(naming, client)[0]
	mode := k.mode()
	words := []string{""}
	if mode != "" {
		words = slices.Clone(k.value(mode).Words)
		slices.SortStableFunc(words, func(a, b string) int { return slices.Index(modes, libpqs(a)) - slices.Index(modes, libpqs(b)) })
	}
	read := func(word string, given ...string) Reading {
		r := Request{Kind: k.name, Naming: naming, Client: client, Auth: auth, Connection: "orders", Preview: true, Values: Values{}}
		if mode != "" {
			r.Values[mode] = patchbay.NewSecret(word)
		}
		for _, name := range given {
			r.Values[name] = patchbay.NewSecret("x")
		}
		_, reading, err := Read(r)
		if err != nil {
			panic(fmt.Sprintf("%s, %s, %s: %v", k.name, naming, client, err)) // the table is part of the program
		}
		return reading
	}
	var pairs, left []string
	leave := func(u Unsaid) {
		if !slices.Contains(left, u.Step) {
			left = append(left, u.Step)
		}
	}
	for _, word := range words {
		reading := read(word)
		said, _, found := strings.Cut(reading.Says, " in ")
		is := reading.Mode
		if is == "" {
			is = "what the application says"
		}
		switch {
		case mode == "":
			pairs = append(pairs, "always "+is)
		case found:
			pairs = append(pairs, fmt.Sprintf("%s: `%s` → %s", word, said, is))
		default:
			pairs = append(pairs, fmt.Sprintf("%s: nothing → %s", word, is))
		}
		for _, u := range reading.Unsaid {
			leave(u)
		}
	}
	strictest := words[len(words)-1]
	reading := read(strictest, authority, authorityPath)
	told := "not told"
	for _, u := range reading.Unsaid {
		leave(u)
	}
	if reading.Told {
		told = k.toldIn(naming, client, auth)
	}
	return fmt.Sprintf("| %s | %s | %s | %s |", k.reader(naming, client).by, strings.Join(pairs, "<br>"), told, strings.Join(left, "<br>"))
}

// toldIn names the settings that have the authority.
func (k *kind) toldIn(naming patchbay.Naming, client patchbay.ClientType, auth patchbay.AuthType) string {
	set, err := k.settings(naming, client, auth)
	if err != nil {
		return ""
	}
	var names []string
	for _, s := range set {
		if s.namesAuthority() {
			names = append(names, "`"+s.name+"`")
		}
	}
	if len(names) == 0 {
		return "`" + AuthorityFile + "`"
	}
	return strings.Join(names, ", ")
}
