package connector_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/connector"
	"patchbay.dev/patchbay/internal/testenv"
)

// privately is a place and a MariaDB whose certificate is of an authority that no
// system knows, registered with these properties.
func privately(t *testing.T, values map[string]any) (*place, *testenv.MariaDBServer, func(client patchbay.ClientType, naming patchbay.Naming) patchbay.Spec) {
	t.Helper()
	server := testenv.MariaDB(t, true)
	p := newPlace(t)
	if _, ok := values["tls"]; ok {
		values["tls"] = map[string]any{"ca": string(server.CA)}
	}
	properties, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	id := p.register(patchbay.Resource{
		ID: p.group + "/providers/Microsoft.DBforMySQL/flexibleServers/orders", Driver: "external", Endpoint: server.Addr(), Properties: properties,
	}, map[string]string{"username": server.User, "secret": server.Password})
	return p, server, func(client patchbay.ClientType, naming patchbay.Naming) patchbay.Spec {
		return patchbay.Spec{
			Target: patchbay.TargetService{Type: patchbay.AzureResource, ID: id.Child("databases", server.Database)},
			Auth:   secretAuth("", ""), Client: client, Naming: naming,
		}
	}
}

// withFiles gives the source a directory for its connections' files.
func (p *place) withFiles() string {
	p.t.Helper()
	root := filepath.Join(filepath.Dir(p.file), "bindings")
	if err := os.MkdirAll(root, 0o700); err != nil {
		p.t.Fatal(err)
	}
	properties, err := json.Marshal(map[string]any{"bindingRoot": root})
	if err != nil {
		p.t.Fatal(err)
	}
	p.register(patchbay.Resource{ID: p.group + "/providers/Microsoft.Web/sites/web", Driver: "envfile", Endpoint: p.file, Properties: properties}, nil)
	return root
}

// warned are the warnings of a validation.
func (p *place) warned() (list []string) {
	p.t.Helper()
	op := p.ends(p.Validate(p.t.Context(), connector.ValidateRequest{ID: p.linker, Caller: p.caller}))
	p.done(op)
	for _, c := range op.Result.Checks {
		switch c.Result {
		case patchbay.Warning:
			list = append(list, c.Message+": "+c.Fix)
		case patchbay.Failure:
			p.t.Errorf("%+v", c)
		}
	}
	return list
}

// The words for require make some libraries verify: then what they will refuse
// is refused, with the reason and ways out that work.
func TestWhatTheLibraryWillRefuseIsRefused(t *testing.T) {
	p, server, spec := privately(t, map[string]any{"values": map[string]string{"sslmode": "require"}})
	for _, client := range []patchbay.ClientType{"go", "nodejs"} {
		op := p.put(spec(client, patchbay.NamingAzure))
		if op.State != patchbay.Undone || op.Error == nil || op.Error.Code != patchbay.CertificateInvalid {
			t.Fatalf("%s: %s, %v", client, op.State, op.Error)
		}
		for _, want := range []string{"true in AZURE_MYSQL_", "as verify-", "--ca-file", "--naming native"} {
			if text := op.Error.Message + " " + op.Error.Fix; !strings.Contains(text, want) {
				t.Errorf("%s: %s does not say %s", client, text, want)
			}
		}
	}
	t.Run("the other naming", func(t *testing.T) {
		p.done(p.put(spec("go", patchbay.NamingNative)))
		if url := p.held("DATABASE_URL"); !strings.HasSuffix(url, "?tls=skip-verify") {
			t.Errorf("it says %s", url[strings.LastIndex(url, "/"):])
		}
		if warned := p.warned(); len(warned) > 0 {
			t.Errorf("warnings %q", warned)
		}
	})
	t.Run("a library that checks nothing", func(t *testing.T) {
		p.done(p.put(spec("dotnet", patchbay.NamingAzure)))
	})
	t.Run("its authority", func(t *testing.T) {
		p.register(patchbay.Resource{
			ID: p.group + "/providers/Microsoft.DBforMySQL/flexibleServers/orders", Driver: "external", Endpoint: server.Addr(),
			Properties: marshal(t, map[string]any{"values": map[string]string{"sslmode": "require"}, "tls": map[string]any{"ca": string(server.CA)}}),
		}, map[string]string{"username": server.User, "secret": server.Password})
		p.done(p.put(spec("go", patchbay.NamingAzure)))
	})
}

func marshal(t *testing.T, v any) json.RawMessage {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The authority comes, changes and goes with its connection.
func TestTheAuthorityIsAFileOfTheConnection(t *testing.T) {
	p, server, spec := privately(t, map[string]any{"values": map[string]string{"sslmode": "require"}, "tls": nil})
	root := p.withFiles()
	file := filepath.Join(root, "data", "ca.crt")
	p.done(p.put(spec("go", patchbay.NamingAzure)))
	if text, err := os.ReadFile(file); err != nil || string(text) != string(server.CA) {
		t.Fatalf("the authority's file: %q, %v", text, err)
	}
	if got := p.held("SSL_CERT_FILE"); got != file {
		t.Errorf("SSL_CERT_FILE is %q", got)
	}
	if warned := p.warned(); len(warned) > 0 {
		t.Errorf("warnings %q", warned)
	}
	p.done(p.put(spec("none", patchbay.NamingNative)))
	if got := p.held("MYSQL_SSL_CA"); got != file || p.held("SSL_CERT_FILE") != "" || p.held("MYSQL_SSL_MODE") != "VERIFY_CA" {
		t.Errorf("MYSQL_SSL_CA is %q, SSL_CERT_FILE %q, MYSQL_SSL_MODE %q", got, p.held("SSL_CERT_FILE"), p.held("MYSQL_SSL_MODE"))
	}
	p.done(p.ends(p.Delete(t.Context(), p.linker, p.caller, "")))
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("a delete leaves %v, %v", left, err)
	}
	if text, err := os.ReadFile(p.file); err != nil || string(text) != original {
		t.Errorf("the file is %q, %v", text, err)
	}
}

// A variable of the whole process that somebody else has is left to them, and the
// connection's other names stay what they are.
func TestAVariableOfTheWholeProcessIsLeftToWhoHasIt(t *testing.T) {
	p, _, spec := privately(t, map[string]any{"values": map[string]string{"sslmode": "require"}, "tls": nil})
	p.withFiles()
	const theirs = "NODE_EXTRA_CA_CERTS=/etc/ours.pem\n"
	if err := os.WriteFile(p.file, []byte(theirs), 0o600); err != nil {
		t.Fatal(err)
	}
	op := p.put(spec("nodejs", patchbay.NamingAzure))
	p.done(op)
	if !strings.Contains(op.Message, "NODE_EXTRA_CA_CERTS") {
		t.Errorf("it says %q", op.Message)
	}
	if p.held("NODE_EXTRA_CA_CERTS") != "/etc/ours.pem" || p.held("AZURE_MYSQL_HOST") == "" {
		text, err := os.ReadFile(p.file)
		t.Errorf("the file is %s, %v", text, err)
	}
}

// What no setting of the client type says is a warning of preview, create and
// validate alike.
func TestWhatTheLibraryIsNotToldIsSaid(t *testing.T) {
	for _, c := range []struct {
		name, want string
		client     patchbay.ClientType
		naming     patchbay.Naming
		files      bool
	}{
		{"the source has no place for files", "--binding-root", "go", patchbay.NamingAzure, false},
		{"the library has no parameter", "keytool", "java", patchbay.NamingAzure, true},
		{"no setting says the mode", "settings.py", "django", patchbay.NamingAzure, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, _, spec := privately(t, map[string]any{"values": map[string]string{"sslmode": "require"}, "tls": nil})
			if c.files {
				p.withFiles()
			}
			says := func(what string, list []string) {
				t.Helper()
				if !slices.ContainsFunc(list, func(w string) bool { return strings.Contains(w, c.want) }) {
					t.Errorf("the %s warns of %q, and not of %s", what, list, c.want)
				}
			}
			request := connector.PutRequest{ID: p.linker, Spec: spec(c.client, c.naming), Caller: p.caller}
			preview, err := p.Preview(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			says("preview", preview.Warnings)
			op := p.put(spec(c.client, c.naming))
			p.done(op)
			says("create", []string{op.Message})
			says("validation", p.warned())
		})
	}
}

// What the release before wrote is still read.
func TestAnEarlierReleasesSettingsAreStillSignedInWith(t *testing.T) {
	p, server, spec := privately(t, map[string]any{"values": map[string]string{"sslmode": "require"}})
	p.done(p.put(spec("go", patchbay.NamingNative)))
	url := p.held("DATABASE_URL")
	text, err := os.ReadFile(p.file)
	if err != nil {
		t.Fatal(err)
	}
	old := strings.Replace(string(text), url, strings.TrimSuffix(url, "?tls=skip-verify"), 1)
	if err := os.WriteFile(p.file, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	op := p.ends(p.Validate(t.Context(), connector.ValidateRequest{ID: p.linker, Caller: p.caller}))
	for _, c := range op.Result.Checks {
		if c.Group == patchbay.CheckAuthentication && c.Result != patchbay.Success {
			t.Errorf("%s does not sign in to %s: %+v", filepath.Base(p.file), server.Addr(), c)
		}
	}
}

// A mode that nobody chose is no reason to advise a laxer one: certificates are
// checked, whatever the settings say.
func TestAModeThatNobodyChoseIsNotAdvisedAgainst(t *testing.T) {
	p, _, spec := privately(t, map[string]any{})
	op := p.put(spec("go", patchbay.NamingAzure))
	if op.State != patchbay.Undone || op.Error == nil || op.Error.Code != patchbay.CertificateInvalid || strings.Contains(op.Error.Fix, "--naming") {
		t.Errorf("%s: %v, %q", op.State, op.Error, op.Error.Fix)
	}
}

// What the caller appends to the connection string comes last, and counts.
func TestTheCallersOwnWordForTLSCounts(t *testing.T) {
	p, _, spec := privately(t, map[string]any{"values": map[string]string{"sslmode": "require"}})
	s := spec("go", patchbay.NamingAzure)
	s.Configuration = &patchbay.ConfigurationInfo{ConnectionString: map[string]string{"tls": "skip-verify"}}
	p.done(p.put(s))
}
