package postgres

import (
	"fmt"
	"net"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

func TestAServerThatNamesManyDatabasesHasFewPools(t *testing.T) {
	opened, err := open(t.Context(), driver.Config{Endpoint: "db.test:5432", Admin: driver.Secrets{"username": patchbay.NewSecret("admin")}, Dialer: &net.Dialer{}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = opened.Close() }()
	p := opened.(*target)
	first, err := p.pool("orders")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 * maxPools {
		if _, err := p.pool(fmt.Sprint("d", i)); err != nil {
			t.Fatal(err)
		}
		if again, err := p.pool("orders"); err != nil || again != first {
			t.Fatalf("the pool that is used was closed: %v", err)
		}
	}
	if n := len(p.pools); n > maxPools {
		t.Errorf("there are %d pools", n)
	}
}
