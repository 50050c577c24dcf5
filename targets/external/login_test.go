package external_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

var logins = map[string]struct {
	typ, sub     string
	endpoint     string
	name, secret string
	want         map[string]string // nil: refused
	says         string            // in the refusal
}{
	"a password":                       {typ: "Microsoft.DBforMySQL/flexibleServers", sub: "databases/d", name: "app", secret: "p;w=1", want: map[string]string{"username": "app", "password": "p;w=1"}},
	"a password needs a name":          {typ: "Microsoft.DBforMySQL/flexibleServers", sub: "databases/d", secret: "pw", says: "needs a name"},
	"Redis needs none":                 {typ: "Microsoft.Cache/redis", sub: "databases/0", secret: "pw", want: map[string]string{"password": "pw"}},
	"an account is its own":            {typ: "Microsoft.DocumentDB/databaseAccounts", sub: "mongodbDatabases/d", secret: "a2V5", want: map[string]string{"username": "orders", "password": "a2V5"}},
	"a graph's is its path":            {typ: "Microsoft.DocumentDB/databaseAccounts", sub: "gremlinDatabases/d/graphs/g", secret: "a2V5", want: map[string]string{"username": "/dbs/d/colls/g", "password": "a2V5"}},
	"an account's connection string":   {typ: "Microsoft.DocumentDB/databaseAccounts", sub: "sqlDatabases/d", secret: "AccountEndpoint=https://orders.documents.azure.com:443/;AccountKey=a2V5==;", want: map[string]string{"key": "a2V5=="}},
	"another account's":                {typ: "Microsoft.DocumentDB/databaseAccounts", sub: "sqlDatabases/d", secret: "AccountEndpoint=https://other.documents.azure.com:443/;AccountKey=a2V5==;", says: "another resource"},
	"a storage key":                    {typ: "Microsoft.Storage/storageAccounts", sub: "blobServices/default", secret: "a2V5==", want: map[string]string{"key": "a2V5=="}},
	"a storage connection string":      {typ: "Microsoft.Storage/storageAccounts", sub: "blobServices/default", secret: "DefaultEndpointsProtocol=https;AccountName=orders;AccountKey=a2V5==;EndpointSuffix=core.windows.net", want: map[string]string{"key": "a2V5=="}},
	"one of another account":           {typ: "Microsoft.Storage/storageAccounts", sub: "blobServices/default", secret: "AccountName=other;AccountKey=a2V5==", says: "another account"},
	"a key has no name":                {typ: "Microsoft.Storage/storageAccounts", sub: "blobServices/default", name: "x", secret: "a2V5==", says: "has no name"},
	"a bus's key":                      {typ: "Microsoft.ServiceBus/namespaces", secret: "a2V5=", want: map[string]string{"keyName": "RootManageSharedAccessKey", "key": "a2V5="}},
	"a bus's named key":                {typ: "Microsoft.ServiceBus/namespaces", name: "send", secret: "a2V5=", want: map[string]string{"keyName": "send", "key": "a2V5="}},
	"a bus's connection string":        {typ: "Microsoft.EventHub/namespaces", secret: "Endpoint=sb://orders.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey=a2V5=", want: map[string]string{"keyName": "send", "key": "a2V5="}},
	"two names":                        {typ: "Microsoft.EventHub/namespaces", name: "listen", secret: "Endpoint=sb://orders.servicebus.windows.net/;SharedAccessKeyName=send;SharedAccessKey=a2V5=", says: "not the one"},
	"SignalR's":                        {typ: "Microsoft.SignalRService/SignalR", secret: "Endpoint=https://orders.service.signalr.net;AccessKey=a2V5=;Version=1.0;", want: map[string]string{"key": "a2V5="}},
	"Web PubSub's":                     {typ: "Microsoft.SignalRService/WebPubSub", secret: "Endpoint=https://orders.webpubsub.azure.com;AccessKey=a2V5=;Version=1.0;", want: map[string]string{"key": "a2V5="}},
	"App Configuration's":              {typ: "Microsoft.AppConfiguration/configurationStores", secret: "Endpoint=https://orders.azconfig.io;Id=x7;Secret=a2V5=", want: map[string]string{"keyId": "x7", "key": "a2V5="}},
	"App Insights'":                    {typ: "Microsoft.Insights/components", secret: "InstrumentationKey=1-2;IngestionEndpoint=https://we.in.test/;LiveEndpoint=https://we.live.test/", want: map[string]string{"instrumentationKey": "1-2", "ingestionEndpoint": "https://we.in.test/", "liveEndpoint": "https://we.live.test/"}},
	"an instrumentation key":           {typ: "Microsoft.Insights/components", secret: "1-2", want: map[string]string{"instrumentationKey": "1-2"}},
	"a bucket's":                       {typ: "Patchbay.Services/s3Servers", endpoint: "https://s3.test", sub: "buckets/b", name: "AKIA1", secret: "s", want: map[string]string{"accessKeyId": "AKIA1", "secretAccessKey": "s"}},
	"Vault's token":                    {typ: "Patchbay.Services/vaultServers", endpoint: "https://v.test", secret: "hvs.1", want: map[string]string{"token": "hvs.1"}},
	"Vault's role":                     {typ: "Patchbay.Services/vaultServers", endpoint: "https://v.test", name: "role", secret: "s", want: map[string]string{"roleId": "role", "secretId": "s"}},
	"a creds file that is none":        {typ: "Patchbay.Services/natsServers", endpoint: "nats://n.test", secret: "-----BEGIN NATS USER JWT-----\nx\n", says: "not the content of a creds file"},
	"nobody signs in to a vault so":    {typ: "Microsoft.KeyVault/vaults", secret: "x", says: "use an identity"},
	"nothing":                          {typ: "Microsoft.Cache/redis", sub: "databases/0", says: "no password"},
	"a line's end in a password":       {typ: "Microsoft.Cache/redis", sub: "databases/0", name: "app", secret: "x\r\nFLUSHALL", says: "control characters"},
	"a line's end in a name":           {typ: "Microsoft.Cache/redis", sub: "databases/0", name: "app\r\nFLUSHALL", secret: "x", says: "control characters"},
	"a zero in a creds file":           {typ: "Patchbay.Services/natsServers", endpoint: "nats://n.test", name: "a", secret: "x\x00y", says: "control characters"},
	"a type that is not below a store": {typ: "Microsoft.Storage/storageAccounts", sub: "fileShares/x", secret: "a2V5", says: "serves no target of type"},
}

func TestALoginIsTakenInTheFormThatItsOwnerHas(t *testing.T) {
	for name, l := range logins {
		t.Run(name, func(t *testing.T) {
			target := registration{typ: l.typ, endpoint: l.endpoint}.opened(t)
			c, err := target.Given(l.sub, l.name, patchbay.NewSecret(l.secret))
			if l.want == nil {
				if err == nil || !strings.Contains(err.Error(), l.says) {
					t.Errorf("%v, want %q", err, l.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := plain(c); !maps.Equal(got, l.want) {
				t.Errorf("%v, want %v", got, l.want)
			}
		})
	}
}

// TestARegisteredLoginIsTheSame: what is given at registration, in one secret or
// by the kind's names, is what a connection would have been given.
func TestARegisteredLoginIsTheSame(t *testing.T) {
	for name, l := range logins {
		t.Run(name, func(t *testing.T) {
			admin := map[string]string{"secret": l.secret}
			if l.name != "" {
				admin["username"] = l.name
			}
			target, err := registration{typ: l.typ, endpoint: l.endpoint, admin: admin}.open(t)
			var c driver.Credential
			if err == nil {
				c, err = target.Registered(l.sub)
			}
			switch {
			case l.want == nil && err == nil:
				t.Error("it was taken")
			case l.want != nil && err != nil:
				t.Error(err)
			case l.want != nil && !maps.Equal(plain(c), l.want):
				t.Errorf("%v, want %v", plain(c), l.want)
			}
			if l.want == nil {
				return
			}
			// By names.
			target = registration{typ: l.typ, endpoint: l.endpoint, admin: secretsOf(l.want), properties: map[string]any{"values": publicOf(l.want)}}.opened(t)
			c, err = target.Registered(l.sub)
			if err != nil {
				t.Fatal(err)
			}
			want := maps.Clone(l.want)
			delete(want, "ingestionEndpoint") // not the login's
			delete(want, "liveEndpoint")
			if !maps.Equal(plain(c), want) {
				t.Errorf("by names %v, want %v", plain(c), want)
			}
		})
	}
	bare := registration{typ: "Microsoft.Cache/redis"}.opened(t)
	_, err := bare.Registered("databases/0")
	wantCode(t, err, patchbay.InvalidArgument)
	if fix := patchbay.AsError(err).Fix; !strings.Contains(fix, "patchbay resource add external") {
		t.Errorf("the fix is %q", fix)
	}
}

var secretNames = []string{"password", "key", "secretAccessKey", "token", "secretId", "instrumentationKey"}

func secretsOf(login map[string]string) map[string]string {
	m := map[string]string{}
	for name, value := range login {
		if slices.Contains(secretNames, name) {
			m[name] = value
		}
	}
	return m
}

func publicOf(login map[string]string) map[string]string {
	m := map[string]string{}
	for name, value := range login {
		if !slices.Contains(secretNames, name) && !strings.HasPrefix(value, "/dbs/") {
			m[name] = value
		}
	}
	return m
}

func plain(c driver.Credential) map[string]string {
	m := map[string]string{}
	for name, value := range c.Values() {
		m[name] = value.Reveal()
	}
	return m
}

func TestNobodyIsMadeOrRemoved(t *testing.T) {
	target := registration{typ: "Microsoft.Cache/redis"}.opened(t)
	r := driver.LoginRequest{Name: "pb_x_g1"}
	_, err := target.NewCredential(t.Context(), r)
	wantCode(t, err, patchbay.NotSupported)
	wantCode(t, target.EnsureLogin(t.Context(), r), patchbay.NotSupported)
	state, err := target.InspectLogin(t.Context(), r)
	if err != nil || state.Exists {
		t.Error(state, err)
	}
	if err := target.RemoveLogin(t.Context(), r); err != nil {
		t.Error(err)
	}
	if owned, err := target.Owned(t.Context()); err != nil || len(owned) != 0 {
		t.Error(owned, err)
	}
}
