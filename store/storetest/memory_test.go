package storetest_test

import (
	"testing"

	"patchbay.dev/patchbay/store/storetest"
)

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Store { return storetest.NewMemory() })
}
