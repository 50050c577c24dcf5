package clienttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-azure-helpers/resourcemanager/commonids"
	"github.com/hashicorp/go-azure-sdk/resource-manager/servicelinker/2022-05-01/links"
	"github.com/hashicorp/go-azure-sdk/resource-manager/servicelinker/2024-04-01/servicelinker"
	"github.com/hashicorp/go-azure-sdk/sdk/auth"
	"github.com/hashicorp/go-azure-sdk/sdk/environments"
)

// asAzurerm makes this program the client under Terraform's azurerm instead of
// a test: that client takes its authority from SSL_CERT_FILE, which a process
// reads once.
const asAzurerm = "PATCHBAY_CLIENTTEST_AZURERM"

func serveAzurerm() error {
	log.SetOutput(io.Discard) // the SDK tells of every request
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	r, err := newResource(ctx)
	if err != nil {
		return err
	}
	return serveLines(os.Stdin, os.Stdout, func(do string, args []json.RawMessage) (any, error) {
		return r.do(ctx, do, args)
	})
}

// resource does what azurerm does for an azurerm_app_service_connection: the
// same calls of the same SDK, in the same order, in these versions.
type resource struct {
	linkers *servicelinker.ServicelinkerClient // 2024-04-01
	links   *links.LinksClient                 // 2022-05-01
}

// newResource reads the environment that azurerm reads.
func newResource(ctx context.Context) (*resource, error) {
	env, err := environments.FromEndpoint(ctx, "https://"+os.Getenv("ARM_METADATA_HOSTNAME"))
	if err != nil {
		return nil, err
	}
	authorizer, err := auth.NewAuthorizerFromCredentials(ctx, auth.Credentials{
		Environment:                           *env,
		TenantID:                              os.Getenv("ARM_TENANT_ID"),
		ClientID:                              os.Getenv("ARM_CLIENT_ID"),
		ClientSecret:                          os.Getenv("ARM_CLIENT_SECRET"),
		EnableAuthenticatingUsingClientSecret: true,
	}, env.ResourceManager)
	if err != nil {
		return nil, err
	}
	r := &resource{}
	if r.linkers, err = servicelinker.NewServicelinkerClientWithBaseURI(env.ResourceManager); err != nil {
		return nil, err
	}
	if r.links, err = links.NewLinksClientWithBaseURI(env.ResourceManager); err != nil {
		return nil, err
	}
	r.linkers.Client.Authorizer = authorizer
	r.links.Client.Authorizer = authorizer
	return r, nil
}

func (r *resource) do(ctx context.Context, do string, args []json.RawMessage) (any, error) {
	var source, name string
	if err := json.Unmarshal(args[0], &source); err != nil {
		return nil, err
	}
	if len(args) > 1 {
		if err := json.Unmarshal(args[1], &name); err != nil {
			return nil, err
		}
	}
	switch do {
	case "create":
		var body servicelinker.LinkerResource
		if err := json.Unmarshal(args[2], &body); err != nil {
			return nil, err
		}
		return r.create(ctx, servicelinker.NewScopedLinkerID(source, name), body)
	case "read":
		return r.read(ctx, servicelinker.NewScopedLinkerID(source, name))
	case "list":
		all, err := r.linkers.LinkerListComplete(ctx, commonids.NewScopeID(source))
		if err != nil {
			return nil, answered(all.LatestHttpResponse, err)
		}
		return append([]servicelinker.LinkerResource{}, all.Items...), nil
	case "update":
		var clientType links.ClientType
		if err := json.Unmarshal(args[2], &clientType); err != nil {
			return nil, err
		}
		return r.update(ctx, source, name, clientType)
	case "validate":
		return nil, r.links.LinkerValidateThenPoll(ctx, links.NewScopedLinkerID(source, name))
	case "configurations":
		found, err := r.links.LinkerListConfigurations(ctx, links.NewScopedLinkerID(source, name))
		return found.Model, answered(found.HttpResponse, err)
	case "destroy":
		return nil, r.links.LinkerDeleteThenPoll(ctx, links.NewScopedLinkerID(source, name))
	}
	return nil, fmt.Errorf("there is no %s", do)
}

// create is refused by azurerm when the connection is there already.
func (r *resource) create(ctx context.Context, id servicelinker.ScopedLinkerId, body servicelinker.LinkerResource) (any, error) {
	found, err := r.linkers.LinkerGet(ctx, id)
	if err == nil {
		return nil, fmt.Errorf("%s already exists", id)
	}
	if found.HttpResponse == nil || found.HttpResponse.StatusCode != http.StatusNotFound {
		return nil, answered(found.HttpResponse, err)
	}
	full, name := id.ID(), id.LinkerName
	body.Id, body.Name = &full, &name
	if err := r.linkers.LinkerCreateOrUpdateThenPoll(ctx, id, body); err != nil {
		return nil, err
	}
	return r.read(ctx, id)
}

func (r *resource) read(ctx context.Context, id servicelinker.ScopedLinkerId) (any, error) {
	found, err := r.linkers.LinkerGet(ctx, id)
	if err != nil {
		return nil, answered(found.HttpResponse, err)
	}
	return found.Model, nil
}

// update sends what has changed; the rest of its body is null.
func (r *resource) update(ctx context.Context, source, name string, clientType links.ClientType) (any, error) {
	err := r.links.LinkerUpdateThenPoll(ctx, links.NewScopedLinkerID(source, name),
		links.LinkerPatch{Properties: &links.LinkerProperties{ClientType: &clientType}})
	if err != nil {
		return nil, err
	}
	return r.read(ctx, servicelinker.NewScopedLinkerID(source, name))
}

// answered makes a wireError of what the SDK says of an answer.
func answered(response *http.Response, err error) error {
	if err == nil || response == nil {
		return err
	}
	e := &wireError{Status: response.StatusCode, Message: err.Error()}
	if _, code, ok := strings.Cut(e.Message, "with error: "); ok {
		e.Code, _, _ = strings.Cut(code, ":")
	}
	return e
}

func asWireError(err error) *wireError {
	var e *wireError
	if errors.As(err, &e) {
		return e
	}
	return &wireError{Message: err.Error()}
}

// azurerm asks the process that is the resource.
type azurerm struct{ c *lineClient }

func newAzurerm(cp *controlPlane, who credential) azureClient {
	cp.t.Helper()
	self, err := os.Executable()
	if err != nil {
		cp.t.Fatal(err)
	}
	env := append(who.environment(cp), asAzurerm+"=1", "SSL_CERT_FILE="+cp.ca,
		"ARM_METADATA_HOSTNAME="+strings.TrimPrefix(cp.url, "https://"))
	return azurerm{cp.spawn(env, self)}
}

func (a azurerm) create(ctx context.Context, source, name string, body map[string]any) (map[string]any, error) {
	var linker map[string]any
	return linker, a.c.ask(ctx, &linker, "create", source, name, body)
}

func (a azurerm) get(ctx context.Context, source, name string) (map[string]any, error) {
	var linker map[string]any
	return linker, a.c.ask(ctx, &linker, "read", source, name)
}

func (a azurerm) list(ctx context.Context, source string) ([]any, error) {
	var all []any
	return all, a.c.ask(ctx, &all, "list", source)
}

func (a azurerm) update(ctx context.Context, source, name, clientType string) (map[string]any, error) {
	var linker map[string]any
	return linker, a.c.ask(ctx, &linker, "update", source, name, clientType)
}

// validate is polled to its end, and its result is not read.
func (a azurerm) validate(ctx context.Context, source, name string) (map[string]any, error) {
	return nil, a.c.ask(ctx, nil, "validate", source, name)
}

func (a azurerm) configurations(ctx context.Context, source, name string) (map[string]string, error) {
	var result struct {
		Configurations []struct{ Name, Value string }
	}
	err := a.c.ask(ctx, &result, "configurations", source, name)
	values := map[string]string{}
	for _, c := range result.Configurations {
		values[c.Name] = c.Value
	}
	return values, err
}

func (a azurerm) delete(ctx context.Context, source, name string) error {
	return a.c.ask(ctx, nil, "destroy", source, name)
}
