package driver

import (
	"context"
	"errors"
	"testing"
)

func TestWhatIsDecidedIsOfOneLook(t *testing.T) {
	looks, failing := 0, errors.New("no answer")
	look := func(context.Context) (int, error) {
		if looks++; looks == 1 {
			return 0, failing
		}
		return looks, nil
	}
	a, b := new(int), new(int)
	deciding := OneLook(t.Context())
	for _, want := range []struct {
		ctx   context.Context
		of    *int
		found int
		err   error
	}{
		{deciding, a, 0, failing}, // an error is nothing that was seen
		{deciding, a, 2, nil},
		{deciding, a, 2, nil},
		{deciding, b, 3, nil},
		{t.Context(), a, 4, nil}, // what is done looks for itself
		{deciding, a, 2, nil},
		{OneLook(deciding), a, 5, nil},
	} {
		if found, err := Look(want.ctx, want.of, look); found != want.found || !errors.Is(err, want.err) {
			t.Errorf("it sees %d, %v; want %d, %v", found, err, want.found, want.err)
		}
	}
	if text, _ := Look(deciding, a, func(context.Context) (string, error) { return "otherwise", nil }); text != "otherwise" {
		t.Errorf("what is looked at in another way is %q", text)
	}
}
