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
	return []int{chosen(t, versions[:newest]), versions[newest]}
}

// OneVersion is one of these versions that the test's name chooses, of what has no reason
// to differ between them.
func OneVersion(t *testing.T, versions ...int) []int {
	t.Helper()
	if *EveryVersion {
		return versions
	}
	return []int{chosen(t, versions)}
}

func chosen(t *testing.T, versions []int) int {
	t.Helper()
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(t.Name()))
	return versions[int(sum.Sum32())%len(versions)]
}

// Turn reports whether one of many cases is tried with the version of that place in
// SomeVersions: each with one of them, by turns.
func Turn(place, number int) bool { return *EveryVersion || place%2 == number%2 }
