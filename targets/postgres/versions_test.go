package postgres

import (
	"flag"
	"hash/fnv"
	"testing"
)

// EveryVersion is for who wants to know more than SomeVersions tells.
var EveryVersion = flag.Bool("versions", false, "try every version of PostgreSQL that a test is about (make test-postgres)")

// SomeVersions are two of these versions of PostgreSQL: the newest, and one of the others
// that the test's name chooses, so that the suite as a whole tries them all.
func SomeVersions(t *testing.T, versions ...int) []int {
	t.Helper()
	newest := len(versions) - 1
	if *EveryVersion || newest < 2 {
		return versions
	}
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(t.Name()))
	return []int{versions[int(sum.Sum32())%newest], versions[newest]}
}

// Turn reports whether one of many cases is tried with the version of that place in
// SomeVersions: each with one of them, by turns.
func Turn(place, number int) bool { return *EveryVersion || place%2 == number%2 }
