package controlplane

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	IfChild()
	os.Exit(m.Run())
}
