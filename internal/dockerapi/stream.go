package dockerapi

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path"
)

// Stream asks for what has no end; the caller closes it.
func (e *Engine) Stream(ctx context.Context, at string, query url.Values) (io.ReadCloser, error) {
	if err := e.Greet(ctx); err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "http", Host: "engine", Path: path.Join("/v"+e.ClientVersion(), at), RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := e.Do(request)
	if err != nil {
		return nil, e.Fault(err)
	}
	if response.StatusCode >= 300 {
		defer func() { _ = response.Body.Close() }()
		var said struct {
			Message string `json:"message"`
		}
		b, _ := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
		_ = json.Unmarshal(b, &said)
		return nil, e.Fault(&statusError{response.StatusCode, said.Message})
	}
	return response.Body, nil
}
