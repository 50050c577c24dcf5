package driver_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

func TestThereAreFewPools(t *testing.T) {
	const most = 4
	var mu sync.Mutex
	open := map[*string]bool{}
	gone := make(chan struct{}, 1000)
	p := driver.NewPools(most, func(name string) (*string, error) {
		if name == "broken" {
			return nil, errors.New("no")
		}
		mu.Lock()
		defer mu.Unlock()
		open[&name] = true
		return &name, nil
	}, func(name *string) {
		mu.Lock()
		defer mu.Unlock()
		if !open[name] {
			t.Error("closed twice")
		}
		delete(open, name)
		gone <- struct{}{}
	})
	first, err := p.Get("orders")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		if _, err := p.Get(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		if again, err := p.Get("orders"); err != nil || again != first {
			t.Fatalf("what is used was closed: %v", err)
		}
	}
	for range 40 + 1 - most {
		<-gone
	}
	if len(open) != most || !open[first] {
		t.Errorf("%d are open", len(open))
	}
	if _, err := p.Get("broken"); err == nil {
		t.Error("what can't be opened was got")
	}
	p.Close()
	if len(open) != 0 {
		t.Errorf("%d are open after the end", len(open))
	}
	p.Close()
	if _, err := p.Get("orders"); patchbay.CodeOf(err) != patchbay.Internal {
		t.Errorf("after the end: %v", err)
	}
}
