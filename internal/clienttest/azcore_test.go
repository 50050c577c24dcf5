package clienttest

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	armruntime "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"patchbay.dev/patchbay/internal/testenv"
	"patchbay.dev/patchbay/server"
)

// goClient is what armservicelinker is made of: azcore's pipeline for Resource
// Manager, its pollers and its pager.
type goClient struct {
	url      string
	version  string
	query    url.Values // besides the version
	pipeline runtime.Pipeline
}

func newAzcore(cp *controlPlane, who credential) azureClient {
	cp.t.Helper()
	return newGoClient(cp, who, cp.http)
}

func newGoClient(cp *controlPlane, who credential, transport policy.Transporter) goClient {
	cp.t.Helper()
	c, err := tryGoClient(cp, who, transport)
	if err != nil {
		cp.t.Fatal(err)
	}
	return c
}

func tryGoClient(cp *controlPlane, who credential, transport policy.Transporter) (goClient, error) {
	credential, err := who.forGo(cp)
	if err != nil {
		return goClient{}, err
	}
	pipeline, err := armruntime.NewPipeline("clienttest", "v0", credential, runtime.PipelineOptions{}, &arm.ClientOptions{
		ClientOptions: policy.ClientOptions{Cloud: cp.cloud(), Transport: transport},
	})
	return goClient{url: cp.url, version: linkerVersion, pipeline: pipeline}, err
}

// send answers with a response of a wanted status, or a *wireError.
func (c goClient) send(ctx context.Context, method, path string, body any, want ...int) (*http.Response, error) {
	req, err := runtime.NewRequest(ctx, method, c.url+path)
	if err != nil {
		return nil, err
	}
	query := req.Raw().URL.Query()
	maps.Copy(query, c.query)
	query.Set("api-version", c.version)
	req.Raw().URL.RawQuery = query.Encode()
	req.Raw().Header.Set("Accept", "application/json")
	if body != nil {
		if err := runtime.MarshalAsJSON(req, body); err != nil {
			return nil, err
		}
	}
	response, err := c.pipeline.Do(req)
	if err != nil {
		return nil, fromAzcore(err)
	}
	if !runtime.HasStatusCode(response, want...) {
		return nil, fromAzcore(runtime.NewResponseError(response))
	}
	return response, nil
}

// wait polls a long-running operation to its end.
func wait[T any](ctx context.Context, c goClient, response *http.Response, err error, final runtime.FinalStateVia) (T, error) {
	var zero T
	if err != nil {
		return zero, err
	}
	poller, err := runtime.NewPoller(response, c.pipeline, &runtime.NewPollerOptions[T]{FinalStateVia: final})
	if err != nil {
		return zero, err
	}
	result, err := poller.PollUntilDone(ctx, nil)
	return result, fromAzcore(err)
}

func fromAzcore(err error) error {
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		return &wireError{Status: answer.StatusCode, Code: answer.ErrorCode, Message: answer.Error()}
	}
	return err
}

func linkerPath(source, name string) string {
	return source + "/providers/Microsoft.ServiceLinker/linkers/" + name
}

func (c goClient) create(ctx context.Context, source, name string, body map[string]any) (map[string]any, error) {
	response, err := c.send(ctx, http.MethodPut, linkerPath(source, name), body, http.StatusOK, http.StatusCreated)
	return wait[map[string]any](ctx, c, response, err, runtime.FinalStateViaAzureAsyncOp)
}

func (c goClient) get(ctx context.Context, source, name string) (map[string]any, error) {
	var linker map[string]any
	response, err := c.send(ctx, http.MethodGet, linkerPath(source, name), nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	return linker, runtime.UnmarshalAsJSON(response, &linker)
}

func (c goClient) list(ctx context.Context, source string) ([]any, error) {
	return c.listBy(ctx, source+"/providers/Microsoft.ServiceLinker/linkers")
}

// page is one of a list.
type page struct {
	Value    []any   `json:"value"`
	NextLink *string `json:"nextLink"`
}

// listBy follows every nextLink, as it stands.
func (c goClient) listBy(ctx context.Context, path string) ([]any, error) {
	pager := runtime.NewPager(runtime.PagingHandler[page]{
		More: func(p page) bool { return p.NextLink != nil && *p.NextLink != "" },
		Fetcher: func(ctx context.Context, p *page) (page, error) {
			var response *http.Response
			var err error
			if p == nil {
				response, err = c.send(ctx, http.MethodGet, path, nil, http.StatusOK)
			} else {
				response, err = runtime.FetcherForNextLink(ctx, c.pipeline, *p.NextLink, nil, nil)
			}
			if err != nil {
				return page{}, err
			}
			var next page
			return next, runtime.UnmarshalAsJSON(response, &next)
		},
	})
	all := []any{}
	for pager.More() {
		p, err := pager.NextPage(ctx)
		if err != nil {
			return nil, fromAzcore(err)
		}
		all = append(all, p.Value...)
	}
	return all, nil
}

func (c goClient) update(ctx context.Context, source, name, clientType string) (map[string]any, error) {
	body := map[string]any{"properties": map[string]any{"clientType": clientType}}
	response, err := c.send(ctx, http.MethodPatch, linkerPath(source, name), body, http.StatusOK, http.StatusCreated)
	return wait[map[string]any](ctx, c, response, err, runtime.FinalStateViaAzureAsyncOp)
}

func (c goClient) validate(ctx context.Context, source, name string) (map[string]any, error) {
	response, err := c.send(ctx, http.MethodPost, linkerPath(source, name)+"/validateLinker", nil, http.StatusOK, http.StatusAccepted)
	return wait[map[string]any](ctx, c, response, err, runtime.FinalStateViaLocation)
}

func (c goClient) configurations(ctx context.Context, source, name string) (map[string]string, error) {
	response, err := c.send(ctx, http.MethodPost, linkerPath(source, name)+"/listConfigurations", nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	var result struct {
		Configurations []struct{ Name, Value string }
	}
	if err := runtime.UnmarshalAsJSON(response, &result); err != nil {
		return nil, err
	}
	values := map[string]string{}
	for _, c := range result.Configurations {
		values[c.Name] = c.Value
	}
	return values, nil
}

func (c goClient) delete(ctx context.Context, source, name string) error {
	response, err := c.send(ctx, http.MethodDelete, linkerPath(source, name), nil,
		http.StatusOK, http.StatusAccepted, http.StatusNoContent)
	_, err = wait[struct{}](ctx, c, response, err, runtime.FinalStateViaAzureAsyncOp)
	return err
}

// TestAzcoreRegistersTheProvider: what the server never says, Azure does, and
// the client has to find the way back.
func TestAzcoreRegistersTheProvider(t *testing.T) {
	cp := start(t, finished)
	source, _ := cp.source("web", nil)
	signals := cp.register("Microsoft.SignalRService/SignalR/signals", service(t))
	refused := false
	client := newGoClient(cp, cp.granted("deploy", contributorRole, "/subscriptions/"+cp.subscription), roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPut && !refused {
			refused = true
			return refusal(r, http.StatusConflict, "MissingSubscriptionRegistration",
				"The subscription is not registered to use namespace 'Microsoft.ServiceLinker'. See https://aka.ms/rps-not-found for how to register subscriptions.")
		}
		return cp.http.Do(r)
	}))
	body := secretLinker(signals, "none", map[string]any{"secretInfo": map[string]any{"secretType": "rawValue", "value": "k"}})
	if _, err := client.create(t.Context(), source, "signals", body); err != nil {
		t.Fatalf("create: %v", err)
	}
	registered := func(q request) bool {
		return q.method == http.MethodPost && strings.HasSuffix(q.path, "/providers/Microsoft.ServiceLinker/register") && q.status == http.StatusOK
	}
	if n, _ := cp.requests.count(registered); n != 1 || !refused {
		t.Errorf("the client registered the provider %d times", n)
	}
}

// TestAzcoreSeesAConflict: azcore does not repeat what is answered 409.
func TestAzcoreSeesAConflict(t *testing.T) {
	cp := start(t, 0)
	database := cp.postgres(testenv.Postgres(t, testenv.PostgresOptions{}))
	gate := t.TempDir() + "/gate"
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	source, _ := cp.source("web", map[string]any{"command": []string{"cat", gate}})
	client := newGoClient(cp, cp.granted("deploy", serviceConnectorRole, cp.group), cp.http)
	first, err := client.send(t.Context(), http.MethodPut, linkerPath(source, "orders"), secretLinker(database, "go", nil), http.StatusCreated)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.create(t.Context(), source, "orders", secretLinker(database, "python", nil))
	var refused *wireError
	if !errors.As(err, &refused) || refused.Status != http.StatusConflict || refused.Code != "OperationInProgress" {
		t.Errorf("a second PUT: %v", err)
	}
	// What reads the gate ends when it has been opened for writing.
	f, err := os.OpenFile(gate, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	made, err := wait[map[string]any](t.Context(), client, first, nil, runtime.FinalStateViaAzureAsyncOp)
	if err != nil {
		t.Fatal(err)
	}
	wantLinker(t, made, source, "orders", database)
	if at(made, "properties", "clientType") != "go" {
		t.Errorf("the refused PUT changed %v", made)
	}
}

// TestAzcoreWaitsWhenItAsksTooOften: a 429 says when to come back, and azcore
// does.
func TestAzcoreWaitsWhenItAsksTooOften(t *testing.T) {
	cp := startWith(t, server.Options{Limits: server.Limits{Reads: 1}})
	source, _ := cp.source("web", nil)
	limited := 0
	client := newGoClient(cp, cp.granted("often", readerRole, cp.group), roundTrip(func(r *http.Request) (*http.Response, error) {
		response, err := cp.http.Do(r)
		if err == nil && response.StatusCode == http.StatusTooManyRequests {
			limited++
			if response.Header.Get("Retry-After") == "" {
				t.Error("a 429 does not say when to come back")
			}
		}
		return response, err
	}))
	for range 30 {
		if _, err := client.list(t.Context(), source); err != nil {
			t.Fatal(err)
		}
		if limited > 0 {
			return
		}
	}
	t.Error("30 requests at once were answered, where one a second may be")
}

// TestAzcoreFollowsEveryPage: a nextLink is asked for as it stands.
func TestAzcoreFollowsEveryPage(t *testing.T) {
	cp := start(t, 0)
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		cp.source(name, nil)
	}
	client := newGoClient(cp, cp.granted("reader", readerRole, cp.group), cp.http)
	client.version = "2021-04-01"
	client.query = url.Values{"$top": {"2"}}
	all, err := client.listBy(t.Context(), cp.group+"/resources")
	if err != nil || len(all) != 5 {
		t.Errorf("%d resources, %v", len(all), err)
	}
}

// refusal is an error as Resource Manager answers it.
func refusal(r *http.Request, status int, code, message string) (*http.Response, error) {
	text, err := json.Marshal(map[string]any{"error": map[string]string{"code": code, "message": message}})
	if err != nil {
		return nil, err
	}
	return answer(r, status, text), nil
}
