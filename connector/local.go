package connector

import (
	"context"
	"net/netip"
	"regexp"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/store"
)

// nowhere is the source of a local connection: nothing is written anywhere,
// nothing is restarted, and this process is the nearest place to the
// developer's machine that can be spoken from. With it the workflows are one
// code path for both kinds of connection.
type nowhere struct{ dialer driver.Dialer }

var _ interface {
	driver.Source
	driver.Vantage
} = nowhere{}

func (nowhere) Inspect(context.Context) (driver.SourceInfo, error)    { return driver.SourceInfo{}, nil }
func (nowhere) ReadSettings(context.Context) (driver.Snapshot, error) { return driver.Snapshot{}, nil }
func (nowhere) CheckChange(context.Context, driver.Change) error      { return nil }
func (nowhere) RestoreSettings(context.Context, driver.Change, driver.Snapshot) error {
	return nil
}

func (nowhere) WriteSettings(context.Context, driver.Change, string) (string, error) {
	return "", patchbay.Errorf(patchbay.NotSupported, "a local connection has no source that settings could be written to")
}

// Egress is empty: from where a developer speaks is nobody's to know.
func (nowhere) Egress(context.Context, netip.Addr) ([]netip.Prefix, error) { return nil, nil }

func (n nowhere) Dialer(context.Context) (driver.ClosingDialer, error) {
	return driver.KeptOpen(n.dialer), nil
}

func (nowhere) Owned(context.Context) ([]driver.Owned, error) { return nil, nil }
func (nowhere) Close() error                                  { return nil }

func (s *Service) nowhere() *driver.GuardedSource { return driver.Guard{}.Source(nowhere{s.dialer}) }

// runsOn is what operations of c wait for each other on, and what [Service.source]
// opens. A local connection has no source and is its own, so that two
// developers don't wait for each other.
func runsOn(c patchbay.Connection) patchbay.ID {
	if c.ID.IsLocal() {
		return c.ID
	}
	return c.Source
}

// onCommandLine is how the command line names c.
func onCommandLine(c patchbay.Connection) string {
	if c.ID.IsLocal() {
		return c.ID.String()
	}
	return c.Source.Name() + "/" + c.Name
}

// application names, for people, what c is for.
func application(c patchbay.Connection) string {
	if c.ID.IsLocal() {
		return "the local connection " + c.Name
	}
	return c.Source.Name()
}

// locationName is what a location may be called. It reaches URLs and logs.
var locationName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,60}$`)

// checkLocation wants id to be that of a location in a resource group that
// exists.
func (s *Service) checkLocation(ctx context.Context, id patchbay.ID) error {
	group := store.GroupOf(id)
	if id.ResourceGroup() == "" || !group.Location(id.Name()).Equal(id) || !locationName.MatchString(id.Name()) {
		return patchbay.Errorf(patchbay.InvalidResourceID, "%q is not the id of a location in a resource group", clip(string(id), 200))
	}
	_, err := s.records.ResourceGroup(ctx, group)
	if patchbay.CodeOf(err) == patchbay.ResourceNotFound {
		return noGroup(id)
	}
	return err
}

// isLocation reports whether id is that of a location, which connectors and
// dryruns are in, and no source.
func isLocation(id patchbay.ID) bool { return id.Local("x").IsLocal() }

func noGroup(id patchbay.ID) error {
	return patchbay.Errorf(patchbay.ResourceNotFound, "there is no resource group %s in subscription %s", id.ResourceGroup(), id.Subscription())
}
