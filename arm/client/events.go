package client

import (
	"context"
	"encoding/json"
	"net/http"

	"patchbay.dev/patchbay"
)

// TestEvents has the server send its receiver of events one, and waits for how that
// went; raw is the whole answer.
func (c *Client) TestEvents(ctx context.Context) (d patchbay.Delivery, raw json.RawMessage, err error) {
	if _, _, err := c.send(ctx, request{method: http.MethodPost, path: ownProvider + "/events/test"}, &raw); err != nil {
		return d, nil, err
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		return d, nil, patchbay.Errorf(patchbay.Internal, "the server's answer is not what this version expects: %w", err)
	}
	return d, raw, nil
}
