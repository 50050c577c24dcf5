package azurestorage

import "patchbay.dev/patchbay"

// The names of the options, and of the properties that stand for them.
const (
	optionContainer = "container"
	optionQueue     = "queue"
	optionTable     = "table"
	optionShare     = "share"
)

var description = patchbay.Driver{
	Name: "azurestorage", Title: "Azure Storage", Noun: "storage account",
	About: `An Azure Storage account, or what speaks its protocol, with a key of the account.
A connection gets a shared access signature of one container, queue, table or file
share, under a stored access policy that Patchbay takes away again.

A connection names the container by its target id (…/blobServices/default/containers/NAME)
or by an option; clients that know neither, as az, get the one that is registered.`,
	Types: []string{"Microsoft.Storage/storageAccounts"},
	Endpoint: patchbay.Endpoint{
		Field:   patchbay.Field{Type: patchbay.TextField, About: "URL of the account's blobs", Form: "https://HOST", Example: "https://shop.blob.core.windows.net", Default: "https://ACCOUNT.blob.core.windows.net"},
		Schemes: []string{"https", "http"},
	},
	Properties: []patchbay.Field{
		{Name: "account", Type: patchbay.TextField, About: "the account's name", Example: "shop", Default: "the resource's name"},
		{Name: optionContainer, Type: patchbay.TextField, About: "the container of connections to blobs that name none", Example: "invoices"},
		{Name: optionQueue, Type: patchbay.TextField, About: "the queue of connections to queues that name none", Example: "orders"},
		{Name: optionTable, Type: patchbay.TextField, About: "the table of connections to tables that name none", Example: "stock"},
		{Name: optionShare, Type: patchbay.TextField, About: "the file share of connections to files that name none", Example: "reports"},
		{Name: "endpoints.queue", Flag: "queue-endpoint", Type: patchbay.TextField, Form: "https://HOST", About: "URL of the account's queues", Default: "as the endpoint, with queue in place of blob"},
		{Name: "endpoints.table", Flag: "table-endpoint", Type: patchbay.TextField, Form: "https://HOST", About: "URL of the account's tables", Default: "as the endpoint, with table in place of blob"},
		{Name: "endpoints.file", Flag: "file-endpoint", Type: patchbay.TextField, Form: "https://HOST", About: "URL of the account's file shares", Default: "as the endpoint, with file in place of blob"},
		{Name: "tls.ca", Flag: "ca-file", Type: patchbay.FileField, About: "authorities that the certificates may be of, in PEM", Default: "the system's"},
	},
	Admin: []patchbay.Field{
		{Name: "key", Flag: "account-key", Type: patchbay.TextField, About: "a key of the account", Secret: true},
	},
	AdminForms: [][]string{{"key"}},
	Logins: &patchbay.Logins{
		Auths:    []patchbay.AuthType{patchbay.AuthSecret, patchbay.AuthAccessKey},
		Accesses: []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner},
		Options: []patchbay.Option{
			{Name: optionContainer, About: "the container that a connection to the account's blobs may use", Example: "invoices"},
			{Name: optionQueue, About: "the queue that a connection to the account's queues may use", Example: "orders"},
			{Name: optionTable, About: "the table that a connection to the account's tables may use", Example: "stock"},
			{Name: optionShare, About: "the file share that a connection to the account's files may use", Example: "reports"},
		},
	},
	Lacks: []patchbay.Lack{
		{What: "more than five logins a container, queue, table or share", Why: "it has at most five stored access policies, others' among them, and a rotation needs one for a while"},
		{What: "owner of a queue, table or share", Why: "a shared access signature gives nothing there beyond what a writer may; what makes and deletes them is the account's key"},
		{What: "all containers of an account", Why: "a signature of the account can be revoked only with the key: ask for the account's key (authType accessKey) where an application needs all"},
		{What: "logins bound to source addresses", Why: "a signature holds one range at most, the source's addresses may change, and emulators do not look at it: use the account's firewall or a guard before it"},
		{What: "identities and service principals", Why: "Azure's own authority grants them their roles; register the account as external for them"},
		{What: "the administrator's rotation", Why: "the account's key signs every login: when it is regenerated, all of them end at once. Register the account with its other key, rotate the connections, and regenerate then"},
		{What: "accounts without blobs", Why: "what a login is made for is noted in a container of the account (patchbay-logins)"},
		{What: "accounts that forbid the key", Why: "with allowSharedKeyAccess off neither the key nor what it signs is let in"},
		{What: "file shares that are mounted", Why: "SMB takes the account's key, not a signature; a signature is for applications that speak HTTPS"},
		{What: "proof of file shares", Why: "there is no emulator of them: what the driver does there is tried against a model of the protocol"},
	},
}
