package drivertest_test

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"testing"
)

// failsBadDrivers runs the suite with every mutant of a good driver, each in a
// process of its own, because a failed case can't be taken back. The case that
// is there to see the mistake must be among those that fail.
func failsBadDrivers(t *testing.T, mutants map[string]string, suite func(t *testing.T, mutant string)) {
	if mutant := os.Getenv("PATCHBAY_TEST_MUTANT"); mutant != "" {
		suite(t, mutant)
		return
	}
	for _, mutant := range slices.Sorted(maps.Keys(mutants)) {
		t.Run(mutant, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^"+regexp.QuoteMeta(parent(t.Name()))+"$", "-test.timeout=2m")
			cmd.Env = append(os.Environ(), "PATCHBAY_TEST_MUTANT="+mutant)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if err == nil {
				t.Fatal("the suite passes this mutant")
			}
			if !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if !regexp.MustCompile(`--- FAIL: ` + parent(t.Name()) + `/` + mutants[mutant] + `\b`).Match(out) {
				t.Errorf("%s does not see it; the suite says\n%s", mutants[mutant], out)
			}
		})
	}
	t.Logf("%d mutants", len(mutants))
}

func parent(name string) string { return regexp.MustCompile(`^[^/]*`).FindString(name) }
