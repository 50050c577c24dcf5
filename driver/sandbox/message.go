package sandbox

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// request is a probe on its way to a child. Its secrets are in the plain: it
// goes through a pipe, and nowhere else.
type request struct {
	Driver     string            `json:"driver"`
	ID         patchbay.ID       `json:"id"`
	Kind       string            `json:"kind,omitempty"`
	Location   string            `json:"location,omitempty"`
	Endpoint   string            `json:"endpoint,omitempty"`
	Properties json.RawMessage   `json:"properties,omitempty"`
	Public     map[string]string `json:"public,omitempty"`
	Secret     map[string]string `json:"secret,omitempty"`
	Sub        string            `json:"sub,omitempty"`
	Access     patchbay.Access   `json:"access,omitempty"`
	Options    map[string]string `json:"options,omitempty"`
	Reading    driver.Reading    `json:"reading,omitzero"`
	Servers    []string          `json:"servers,omitempty"`
	Asked      string            `json:"asked,omitempty"`
	Facts      json.RawMessage   `json:"facts,omitempty"`
	Left       time.Duration     `json:"left"` // until it has to end; 0: no bound
}

// answer is what a child makes of it.
type answer struct {
	Allowed    []string        `json:"allowed,omitempty"`
	Refused    []string        `json:"refused,omitempty"`
	NotChecked []string        `json:"notChecked,omitempty"`
	Warnings   []string        `json:"warnings,omitempty"`
	TLS        string          `json:"tls,omitempty"`
	Took       time.Duration   `json:"took"`
	Error      *patchbay.Error `json:"error,omitempty"`
	Hop        driver.Hop      `json:"hop,omitempty"` // Error's cause
}

// dialling asks for a connection, and dialled answers; what follows is the
// connection.
type dialling struct {
	Address string `json:"address"`
}

type dialled struct {
	Error *patchbay.Error `json:"error,omitempty"`
	Hop   driver.Hop      `json:"hop,omitempty"`
}

func newRequest(ctx context.Context, name string, c driver.Config, r driver.ProbeRequest) request {
	q := request{
		Driver: name, ID: c.ID, Kind: c.Kind, Location: c.Location, Endpoint: c.Endpoint, Properties: c.Properties,
		Public: r.Credential.Public, Secret: map[string]string{},
		Sub: r.Sub, Access: r.Access, Options: r.Options, Reading: r.Reading, Servers: r.Servers, Asked: r.Asked, Facts: r.Facts,
	}
	for name, secret := range r.Credential.Secret {
		q.Secret[name] = secret.Reveal()
	}
	if deadline, ok := ctx.Deadline(); ok {
		q.Left = max(time.Until(deadline), 1)
	}
	return q
}

// open is the opposite of newRequest.
func (q request) open(d driver.Dialer) (driver.Config, driver.ProbeRequest) {
	secrets := driver.Secrets{}
	for name, value := range q.Secret {
		secrets[name] = patchbay.NewSecret(value)
	}
	return driver.Config{ID: q.ID, Kind: q.Kind, Location: q.Location, Endpoint: q.Endpoint, Properties: q.Properties},
		driver.ProbeRequest{
			Credential: driver.Credential{Public: q.Public, Secret: secrets}, Dialer: d,
			Sub: q.Sub, Access: q.Access, Options: q.Options, Reading: q.Reading, Servers: q.Servers, Asked: q.Asked, Facts: q.Facts,
		}
}

func newAnswer(result driver.ProbeResult, err error) answer {
	a := answer{Allowed: result.Allowed, Refused: result.Refused, NotChecked: result.NotChecked, Warnings: result.Warnings, TLS: result.TLS, Took: result.Took}
	if err != nil {
		a.Error, a.Hop = plain(err), driver.HopOf(err)
	}
	return a
}

func (a answer) open() (driver.ProbeResult, error) {
	if a.Error != nil {
		return driver.ProbeResult{}, withHop(a.Error, a.Hop)
	}
	return driver.ProbeResult{Allowed: a.Allowed, Refused: a.Refused, NotChecked: a.NotChecked, Warnings: a.Warnings, TLS: a.TLS, Took: a.Took}, nil
}

// withHop is e with its cause, when it has one. It comes from another process: what is
// no hop that this one knows may be anybody's words.
func withHop(e *patchbay.Error, hop driver.Hop) *patchbay.Error {
	if slices.Contains(driver.Hops, hop) {
		e.Err = hop
	}
	return e
}

// plain is err as it can be told to another process. An error without a code is
// told as what its context says.
func plain(err error) *patchbay.Error {
	var e *patchbay.Error
	switch {
	case errors.As(err, &e):
	case errors.Is(err, context.DeadlineExceeded):
		e = patchbay.Errorf(patchbay.Timeout, "no answer in time").AsTransient()
	case errors.Is(err, context.Canceled):
		e = patchbay.Errorf(patchbay.Canceled, "stopped").AsTransient()
	default: // its words may be the server's
		e = patchbay.Errorf(patchbay.Internal, "the driver failed in a way that has no code")
	}
	told := *e
	told.Err, told.Said = nil, ""
	return &told
}

// write sends v behind its length, so that its reader takes no byte of what
// follows it.
func write(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxMessage {
		return errTooLong
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)) // #nosec G115 -- it is at most maxMessage
	return err
}

var errTooLong = patchbay.Errorf(patchbay.Internal, "there is more to say of this sign-in than a message to its process can hold")

func read(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxMessage {
		return errTooLong
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}
