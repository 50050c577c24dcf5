package settings

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

//go:generate go run ./internal/settingsdoc ../docs/settings.md

const introduction = `# Settings

<!-- Written by go generate ./settings from settings/table. Do not edit. -->

What a connection puts on its source: for each kind of target, client type and
auth type, the names and the form of the values.

## Namings

| Naming | Names | Default for |
|---|---|---|
| ` + "`azure`" + ` | those of Azure Service Connector: ` + "`AZURE_POSTGRESQL_HOST`" + `, or a framework's properties | what Azure has names for |
| ` + "`native`" + ` | what the product's own tools and libraries read: ` + "`PGHOST`, `DATABASE_URL`, `NATS_URL`" + ` | ` + "`Patchbay.Services/*`" + ` |
| ` + "`servicebinding`" + ` | files below ` + "`$SERVICE_BINDING_ROOT/{connection}`" + `, as servicebinding.io has them | |
| ` + "`own`" + ` | those that the connection asks for, and no others | |

## How names are chosen

- **A second connection to the same kind of target.** When one of a connection's
  default names is already on the source, all of its names that are not
  customized get the connection's name, in upper case: ` + "`AZURE_POSTGRESQL_HOST`" + `
  becomes ` + "`AZURE_POSTGRESQL_ORDERS_HOST`" + `; a name without such a prefix gets it in
  front, ` + "`PGHOST`" + ` becomes ` + "`ORDERS_PGHOST`" + `. A character that such a name can't have
  becomes an underscore (` + "`orders-eu.2`" + ` is ` + "`ORDERS_EU_2`" + `). A framework's property has
  no place for it: there, and when that name is taken too, the connection is
  refused with the name in the message. Files never collide.
- **Customized keys** replace a default name by any other, case kept.
- **Additional settings** are written as they are.
- **Additional connection string properties** are put at the end of each
  connection string, quoted as that string wants it.
- **Settings of the user's own** have exactly the name that is asked for, in all
  namings, and go before one of the same name: [below](#settings-of-your-own).
- **A secret in Key Vault**, by its URI: the setting is a reference that the
  platform resolves. A client type that reads one connection string gets the
  separate keys of client type ` + "`none`" + ` instead, so that only the secret is a reference.
- ` + "`dotnet-connectionString`" + ` and ` + "`dotnet-internal`" + ` have the settings of ` + "`dotnet`" + `; no
  client type at all has those of ` + "`none`" + `.

How a value is written in a file, for whom, and who reads it otherwise:
[Dialects](dialects.md).

## How to read the values

` + "`{host}`" + ` is a value of the kind, quoted or encoded as its string wants it: libpq's
quotes and backslashes, .NET's doubled quotes, braces for ODBC, percent signs in
a URL. A value that a form can't hold (a semicolon in a connection string of the
Azure SDKs, which know no quotes) is refused, never written in a way that means
something else. ` + "`{sslmode:tls}`" + ` is the value in a library's own words, listed below
the kind. A ` + "`[segment]`" + `, and a setting as a whole, is left out when its value does
not exist with the auth type or was not given; with ` + "`{port!}`" + `, also when it is the
default. **Bold** settings hold a credential.

## Settings of your own

An application that reads one fixed name, or wants the parts in an order of its own, gets
a setting from a template:

    patchbay connection create postgres --source metabase --target orders/metabase \
      --naming own \
      --setting 'MB_DB_CONNECTION_URI=postgres://{username}:{password:url}@{host:url}:{port}/{database:url}[?sslmode={sslmode}]'

The values are those of the kind, listed below it. What follows the colon says how a value
is escaped: ` + "`url`, `json`" + ` (between the quotes of a JSON string), ` + "`libpq`, `ado`, `odbc`, `jaas`" + `;
or it is one of the kind's word lists, ` + "`{sslmode:mysql}`" + `. A value without a colon
stands as it is. Whatever the form, what was written is read back before it is used: a
password that would run over into the host is refused, and so is one that stands in a URL
unescaped and would be read as another. ` + "`{{ }} [[ ]]`" + ` are the characters themselves.

Templates are checked before anything happens, kept by updates and filled anew by rotations; on
the wire they are ` + "`properties.patchbay.settings`" + `. With ` + "`--naming own`" + ` nothing else is
written, so that the secret stands in one place; with another naming they stand beside its
names. A name that the source has already is refused, never made longer. An update with
an empty template (` + "`--setting NAME=`" + `) takes a setting away. Whoever may read the connection sees
its templates: a secret belongs into a value, not into the text between them.

Auth types are secret, system identity (` + "`systemAssignedIdentity`" + ` on the wire), user
identity (` + "`userAssignedIdentity`" + `), service principal (` + "`servicePrincipalSecret`" + `) and
user account (` + "`userAccount`" + `).

`

// Markdown is the whole table as a page of the documentation.
func Markdown() string {
	var b strings.Builder
	b.WriteString(introduction + securityIntroduction + "## Kinds\n\n| Kind | Product | Types | az | Client types | Auth types |\n|---|---|---|---|---|---|\n")
	names := slices.Sorted(maps.Keys(table()))
	for _, name := range names {
		k := table()[name].public()
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s | %s | %s |\n", name, name, k.Title,
			codes(k.Types(), "<br>"), codes(k.Words, ", "), list(k.Clients), inWords(k.Auths, nil))
	}
	for _, name := range names {
		table()[name].markdown(&b)
	}
	return b.String()
}

func (k *kind) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "\n## %s\n\n%s.", k.name, k.title)
	if k.variant != "" {
		base, own, _ := strings.Cut(k.variant, "/")
		fmt.Fprintf(b, " A `%s` of kind `%s`.", base, own)
	}
	if len(k.need) > 0 {
		var sets []string
		for _, set := range k.need {
			sets = append(sets, codes(set, " and "))
		}
		fmt.Fprintf(b, " Needs %s.", strings.Join(sets, ", or "))
	}
	b.WriteString("\n\n| Value | What it is | Default | Example | With |\n|---|---|---|---|---|\n")
	for _, v := range k.values {
		text := v.About
		if len(v.Words) > 0 {
			text += ": " + codes(v.Words, ", ")
		}
		if v.Optional {
			text += " (optional)"
		}
		if property := k.property[v.Name]; property != "" {
			text += fmt.Sprintf("; az gives it as the connection string property `%s`", property)
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", v.Name, text, code(v.Default), code(v.Example), inWords(v.Auths, nil))
	}
	for _, naming := range k.namings() {
		fmt.Fprintf(b, "\n### %s, %s\n\n| Client types | Auth types | Setting | Value | What it is |\n|---|---|---|---|---|\n", k.name, naming)
		for _, r := range k.rules[naming] {
			clients := list(r.clients)
			if len(r.clients) == len(everyClient) {
				clients = "all"
			}
			for _, s := range r.set {
				k.row(b, clients, r.auths, s)
			}
		}
	}
	k.securityMarkdown(b)
	for _, name := range slices.Sorted(maps.Keys(k.words)) {
		var pairs []string
		for _, word := range slices.Sorted(maps.Keys(k.words[name])) {
			pairs = append(pairs, fmt.Sprintf("`%s` → `%s`", word, k.words[name][word]))
		}
		if k.usesWords(name) {
			fmt.Fprintf(b, "\nWords `%s`: %s.\n", name, strings.Join(pairs, ", "))
		}
	}
}

// row is one setting, with the auth types that it can be there with.
func (k *kind) row(b *strings.Builder, clients string, auths []patchbay.AuthType, s setting) {
	var with []patchbay.AuthType
	holds := false
	for _, a := range auths {
		possible, _, secret := k.here(s, a)
		if possible {
			with = append(with, a)
			holds = holds || secret
		}
	}
	if len(with) == 0 {
		return
	}
	name := "`" + s.name + "`"
	if holds {
		name = "**" + name + "**"
	}
	fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", clients, inWords(with, k.auths), name, code(s.source()), s.about)
}

// authWords are shorter than the wire's, for the page's sake.
var authWords = map[patchbay.AuthType]string{
	patchbay.AuthSecret:         "secret",
	patchbay.AuthSystemIdentity: "system identity",
	patchbay.AuthUserIdentity:   "user identity",
	patchbay.AuthSPSecret:       "service principal",
	patchbay.AuthUserAccount:    "user account",
}

// inWords lists auth types; "all" when they are every one that there is.
func inWords(auths, every []patchbay.AuthType) string {
	if len(auths) == len(every) {
		return "all"
	}
	var words []string
	for _, a := range auths {
		words = append(words, authWords[a])
	}
	return strings.Join(words, ", ")
}

func (k *kind) usesWords(name string) (used bool) {
	for _, rules := range k.rules {
		for _, r := range rules {
			for _, s := range r.set {
				s.template.holes(func(p part, _ bool) { used = used || p.as == name })
			}
		}
	}
	return used
}

// source is the template as it is written, on one line.
func (s setting) source() string {
	return strings.ReplaceAll(s.template.String()+s.syntax.end, "\n", "⏎")
}

// String is the template as it is written in the table, but for doubled
// brackets.
func (t template) String() string {
	var b strings.Builder
	for _, p := range t {
		switch {
		case p.segment != nil:
			b.WriteString("[" + p.segment.String() + "]")
		case p.value == "":
			b.WriteString(p.text)
		default:
			b.WriteString("{" + p.value)
			if p.as != "" {
				b.WriteString(":" + p.as)
			}
			if p.special {
				b.WriteString("!")
			}
			b.WriteString("}")
		}
	}
	return b.String()
}

// code is s as code in a cell of a table, nothing when it is empty.
func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(s, "|", `\|`) + "`"
}

func codes(all []string, sep string) string {
	var out []string
	for _, s := range all {
		out = append(out, code(s))
	}
	return strings.Join(out, sep)
}
