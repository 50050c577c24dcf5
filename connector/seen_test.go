package connector

import (
	"context"
	"net"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// cluster is a wall that knows the source, which finds the target by another name there.
type cluster struct {
	*wall
	found  string
	refuse error
}

func (c *cluster) Knows(context.Context, driver.Peer) (bool, error) { return true, nil }

func (c *cluster) Reach(_ context.Context, r driver.Rule) (map[string]string, error) {
	if c.refuse != nil {
		return nil, c.refuse
	}
	reach := map[string]string{}
	for _, server := range r.Servers {
		reach[server] = c.found
	}
	return reach, nil
}

// inCluster is the application there, which finds all names where the target listens.
type inCluster struct {
	*app
	at string
}

func (a *inCluster) Peer(context.Context) (*driver.Peer, error) {
	return &driver.Peer{Platform: "cluster", Place: "one", Name: "web"}, nil
}

func (a *inCluster) Dialer(context.Context) (driver.ClosingDialer, error) {
	return driver.KeptOpen(movedDialer{&net.Dialer{}, map[string][]string{"db.shop:5432": {a.at}, "db.stock:5432": {a.at}}}), nil
}

// seenBroker is the broker as its registration says.
type seenBroker struct {
	*broker
	c driver.Config
}

func (b *seenBroker) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	servers := strings.Split(b.c.Endpoint, ",")
	for i, server := range servers {
		conn, err := b.c.Dialer.DialContext(ctx, "tcp", server)
		if err == nil {
			_ = conn.Close()
			break
		}
		if i == len(servers)-1 {
			return driver.TargetInfo{}, driver.DialError(err, server)
		}
	}
	info, err := b.broker.Inspect(ctx, sub)
	info.Values["host"], info.Values["port"], _ = net.SplitHostPort(servers[0])
	return info, err
}

func (b *seenBroker) PrepareProbe(_ context.Context, r driver.ProbeRequest) (driver.ProbeRequest, error) {
	r.Servers = strings.Split(b.c.Endpoint, ",")
	return r, nil
}

func newCluster(t *testing.T) (*world, *cluster) {
	w := newWorld(t)
	c := &cluster{wall: w.wall, found: "db.shop:5432"}
	at := w.broker.listener.Addr().String()
	target := w.catalog.Targets["memory"]
	target.Open = func(_ context.Context, c driver.Config) (driver.Target, error) {
		if c.Endpoint == "" {
			return w.broker, nil
		}
		return &seenBroker{w.broker, c}, nil
	}
	w.catalog.Targets["memory"] = target
	source := w.catalog.Sources["memoryApp"]
	source.Open = func(context.Context, driver.Config) (driver.Source, error) { return &inCluster{w.app, at}, nil }
	w.catalog.Sources["memoryApp"] = source
	for name := range w.catalog.Networks {
		if name == "wall" {
			d := w.catalog.Networks[name]
			d.Open = func(context.Context, driver.Config, driver.Config) (driver.Network, error) { return c, nil }
			w.catalog.Networks[name] = d
		}
	}
	guard := w.walled("wall")
	w.app.egress = nil // nobody knows, and nobody has to
	w.register(patchbay.Resource{ID: w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", Endpoint: at, Guards: guard}, nil)
	return w, c
}

// holds fails unless some setting says so.
func (w *world) holds(what string) {
	w.t.Helper()
	for _, value := range w.app.read() {
		if strings.Contains(value, what) {
			return
		}
	}
	w.t.Errorf("no setting has %s: %q", what, w.app.read())
}

// TestSettingsLeadWhereTheSourceFindsTheTarget, through a rotation, a validation, a fix and
// a change of that place, and back to its own address without the guard.
func TestSettingsLeadWhereTheSourceFindsTheTarget(t *testing.T) {
	w, c := newCluster(t)
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.holds("db.shop")
	for _, fix := range []bool{false, true} {
		if report := w.validated(fix); !report.Available() {
			t.Fatalf("%+v", report.Checks)
		}
	}
	w.want(w.end(w.Rotate(t.Context(), RotateRequest{ID: w.linker, Caller: w.caller})), patchbay.Done, "")
	w.holds("db.shop")
	c.found = "db.stock:5432"
	found := false
	for _, check := range w.validated(false).Checks {
		found = found || check.Code == patchbay.SettingChanged && strings.Contains(check.Fix, "connection update")
	}
	if !found {
		t.Errorf("that it is found elsewhere by now is no finding: %+v", w.validated(false).Checks)
	}
	w.want(w.put(w.spec()), patchbay.Done, "")
	w.holds("db.stock")
	w.walled()
	w.register(patchbay.Resource{ID: w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", Endpoint: w.broker.listener.Addr().String(), Guards: []patchbay.ID{}}, nil)
	w.want(w.put(w.spec()), patchbay.Done, "")
	_, port, _ := net.SplitHostPort(w.broker.listener.Addr().String())
	w.holds(port)
	w.opened()
}

// TestSeveralAddressesAreOneToTheSource: a target that is registered by some of a cluster's
// nodes, of which one is down, is one Service to the source.
func TestSeveralAddressesAreOneToTheSource(t *testing.T) {
	w, _ := newCluster(t)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := nobody.Addr().String()
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	for _, endpoint := range []string{down + "," + w.broker.listener.Addr().String(), w.broker.listener.Addr().String() + "," + down} {
		w.register(patchbay.Resource{ID: w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", Endpoint: endpoint}, nil)
		w.want(w.put(w.spec()), patchbay.Done, "")
		w.holds("db.shop")
		if report := w.validated(false); !report.Available() {
			t.Errorf("registered as %s: %+v", endpoint, report.Checks)
		}
	}
}

// TestWhomAPlatformDoesNotLetInIsRefusedAtThePlan, and what can't be said of a way besides.
func TestWhomAPlatformDoesNotLetInIsRefusedAtThePlan(t *testing.T) {
	w, c := newCluster(t)
	c.refuse = patchbay.Errorf(patchbay.NotSupported, "it is none of this cluster's")
	w.want(w.put(w.spec()), patchbay.Undone, patchbay.NotSupported)
	c.refuse = nil
	// A guard of addresses would open for another one than the source then has.
	guards := w.walled("wall", "hba")
	w.register(patchbay.Resource{ID: w.group + "/providers/Microsoft.DBforPostgreSQL/flexibleServers/db", Endpoint: w.broker.listener.Addr().String(), Guards: guards}, nil)
	op := w.put(w.spec())
	w.want(op, patchbay.Undone, patchbay.NotSupported)
	if !strings.Contains(op.Error.Message, "hba goes by the address") {
		t.Errorf("%v", op.Error)
	}
	w.opened()
}
