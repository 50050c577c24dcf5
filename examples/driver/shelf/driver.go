// Package shelf is the driver of Shelf servers: what somebody writes who has a product
// that Patchbay does not know.
//
// A login is a user, and what makes it ours is its note, which holds the mark. Shelf
// takes a user in one piece, and only if it still is as it was when we looked (If-Match):
// there is no half of one, and nobody's change is lost.
package shelf

import (
	"context"
	_ "embed" // the settings
	"slices"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Kind is what targets of the driver are in the settings table.
const Kind = "shelf"

//go:embed shelf.yaml
var settings []byte

// Settings are what client libraries of Shelf read, as settings/table has it for others.
func Settings() []byte { return settings }

// Driver is what goes into the catalogue.
func Driver() driver.TargetDriver {
	return driver.TargetDriver{
		Driver: description, Kind: Kind, Children: []string{"shelves"},
		Open: open, Probe: probe,
	}
}

// target is one server, and who administers it.
type target struct {
	server
	admin  driver.UserPassword
	dialer driver.Dialer
}

// open checks, and reaches nothing.
func open(_ context.Context, c driver.Config) (driver.Target, error) {
	s, err := parse(c)
	if err != nil {
		return nil, err
	}
	if err := driver.CheckAdmin(description, c.Admin); err != nil {
		return nil, err
	}
	admin, err := c.Admin.UserPassword()
	if err != nil {
		return nil, err
	}
	return &target{s, admin, c.Dialer}, nil
}

// properties are as the description has them.
type properties struct {
	CA         string `json:"ca"`
	ServerName string `json:"serverName"`
}

var form = driver.EndpointForm{Schemes: map[string]uint16{"https": defaultPort, "http": defaultPort}}

// parse is where the server is, of a registration. A probe has no more than that.
func parse(c driver.Config) (server, error) {
	var p properties
	if err := driver.DecodeProperties(description, c.Properties, &p); err != nil {
		return server{}, err
	}
	endpoint, err := form.Parse("the endpoint", c.Endpoint)
	if err != nil {
		return server{}, err
	}
	s := server{Server: endpoint.Servers[0], tls: driver.TLS{CA: p.CA, ServerName: p.ServerName}}
	if s.Scheme == "http" && (p.CA != "" || p.ServerName != "") {
		return server{}, patchbay.Errorf(patchbay.InvalidArgument, "the endpoint is http, which has no TLS, and an authority or a name for its certificate is given").
			WithFix("register it with https://, or without them")
	}
	_, err = s.tls.Config(s.Host)
	return s, err
}

// ask asks as the administrator.
func (t *target) ask(ctx context.Context, what string, q question) (answer, error) {
	a, err := t.server.ask(ctx, t.dialer, t.admin, q)
	if err != nil {
		return a, during(what, err)
	}
	switch a.status {
	case 401:
		err = patchbay.Errorf(patchbay.AdminRefused, "%s does not let the administrator in", t.Address()).
			WithFix("register the server again with an admin credential that signs in")
	case 403:
		err = patchbay.Errorf(patchbay.AdminRights, "the user that Patchbay has on %s is no administrator, and only those may make users", t.Address()).
			WithFix("make it an administrator, or register the server again with one that is")
	default:
		return a, nil
	}
	return a, during(what, err.WithSaid(a.said()))
}

// Inspect implements [driver.Target].
func (t *target) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	const what = "look at the server"
	var info driver.TargetInfo
	a, err := t.ask(ctx, what, question{path: "/version"})
	if err != nil {
		return info, err
	}
	if err := a.read(200, &info); err != nil {
		return info, during(what, err)
	}
	info.TLS = a.tls
	// Who is no administrator sees some shelves too, and no users.
	if _, err := t.ask(ctx, what, question{path: "/admin/users"}); err != nil {
		return info, err
	}
	if a, err = t.ask(ctx, what, question{path: "/shelves"}); err != nil {
		return info, err
	}
	if err := a.read(200, &info.Subs); err != nil {
		return info, during(what, err)
	}
	if sub != "" && !slices.Contains(info.Subs, sub) {
		return info, noShelf(sub)
	}
	info.Values = map[string]string{"url": t.URL()}
	if sub != "" {
		info.Values["shelf"] = sub
	}
	if t.tls.CA != "" {
		info.Values["ca"] = t.tls.CA
	}
	if t.tls.ServerName != "" {
		info.Values["serverName"] = t.tls.ServerName
	}
	if info.TLS == "" && !loopback(t.Host) {
		info.Warnings = []string{"connections to the server are not encrypted: whoever is in between reads the passwords"}
	}
	return info, nil
}

func noShelf(name string) error {
	return patchbay.Errorf(patchbay.ChildMissing, "the server has no shelf %s", driver.Quoted(name))
}

// Close implements [driver.Target]. Every request has a connection of its own.
func (t *target) Close() error { return nil }
