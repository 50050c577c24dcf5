package drivertest

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"patchbay.dev/patchbay"
)

// ProofFile is where a driver's package keeps what the suite has shown of it; the page
// of the targets is made from it.
const ProofFile = "testdata/proven.json"

var prove = flag.Bool("prove", false, "write what the suite shows of a target to "+ProofFile)

// Proofs are what was shown of a driver, by product and release: "MariaDB 10.11".
type Proofs map[string]Proof

// Proof is what one run of [Target] has shown.
type Proof struct {
	// Model says what stood in for the product; "" for the product itself.
	Model string `json:"model,omitempty"`
	// Accesses are those that were tried.
	Accesses []patchbay.Access `json:"accesses"`
	// Cases have passed, each by its name in the suite: for all accesses, or those that
	// it names.
	Cases map[string][]patchbay.Access `json:"cases"`
	// Left are the cases that the product can't have, and why.
	Left map[string]string `json:"left,omitempty"`
}

// A Claim is what a case shows, in words; the page of the targets has them in this order.
type Claim struct{ Case, Words string }

// Claims are the cases of [Target] that say something of the product.
func Claims() []Claim {
	return []Claim{
		{"AccessIsWhatItSays", "has exactly its rights: what is allowed works, all else is refused"},
		{"Probe", "is tried as an application would, from where it runs"},
		{"ProbeFindsWrongRights", "with more or fewer rights than asked for is found"},
		{"DriftIsSeenAndRepaired", "that somebody changed is found and repaired"},
		{"RemoveTwiceAndAbsent", "that is removed can't sign in any more"},
		{"RemoveEndsSessions", "that is removed can begin nothing more in its open sessions"},
		{"Sources", "is bound to the source's addresses"},
		{"TwoGenerationsSideBySide", "has its next generation beside it while it is rotated"},
		{"ForeignIsLeftAlone", "of the same name without our mark is left alone"},
		{"OwnedIsExact", "is listed exactly, for the sweep of leftovers"},
		{"HostileSubs", "is made in what has a hostile name"},
		{"ConcurrentEnsures", "is made once by two servers at a time"},
		{"CutConnections", "is whole after a connection cut at any packet of making or removing it"},
	}
}

// prover collects what the cases of a run show.
type prover struct {
	proof Proof
	whole bool // every case ran
}

// run runs a case, and keeps how it ended.
func (s *targetSuite) run(t *testing.T, name string, f func(t *testing.T)) {
	ran, left := false, ""
	s.left = &left
	passed := t.Run(name, func(t *testing.T) {
		ran = true
		f(t)
	})
	switch {
	case !ran:
		s.proves.whole = false
	case left != "":
		if s.proves.proof.Left == nil {
			s.proves.proof.Left = map[string]string{}
		}
		s.proves.proof.Left[name] = left
	case passed:
		s.proves.proof.Cases[name] = s.accesses()
	}
}

// leave ends a case that the product can't have.
func (s *targetSuite) leave(t *testing.T, why string) {
	t.Helper()
	*s.left = why
	t.Skip(why)
}

// compare holds what was shown against what is kept of it.
func (s *targetSuite) compare(t *testing.T) {
	if s.Product == "" || t.Failed() || !s.proves.whole {
		return
	}
	kept, err := ReadProofs(".")
	if err != nil {
		t.Fatal(err)
	}
	info, err := s.cleaner.Inspect(s.context(t), s.sub())
	if err != nil {
		t.Fatal(err)
	}
	product := strings.TrimSpace(s.Product + " " + release(info.Version, s.Release)) // some do not say it
	have, known := kept[product]
	switch {
	case known && reflect.DeepEqual(have, s.proves.proof):
		return
	case *prove:
	case !known: // another machine's
		t.Logf("%s says nothing of %s", ProofFile, product)
		return
	default:
		t.Errorf("%s does not say what this run has shown of %s: go test -run %s . -prove, and make docs", ProofFile, product, t.Name())
		return
	}
	kept[product] = s.proves.proof
	text, err := json.MarshalIndent(kept, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(ProofFile), 0o755)
	}
	if err == nil {
		err = os.WriteFile(ProofFile, append(text, '\n'), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

var numbers = regexp.MustCompile(`[0-9]+(\.[0-9]+)*`)

// release is the first numbers of a version.
func release(version string, parts int) string {
	all := strings.Split(numbers.FindString(version), ".")
	return strings.Join(all[:min(max(parts, 1), len(all))], ".")
}

// ReadProofs reads what is kept in the directory of a driver's package; none is no
// error.
func ReadProofs(dir string) (Proofs, error) {
	kept := Proofs{}
	text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(ProofFile)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return kept, nil
	case err != nil:
		return nil, err
	}
	return kept, json.Unmarshal(text, &kept)
}

// Markdown is the proofs as a table: what a login is shown to be, by access.
func (all Proofs) Markdown() string {
	var b strings.Builder
	products := all.Products()
	var accesses []patchbay.Access
	for _, access := range []patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner} {
		if slices.ContainsFunc(products, func(p string) bool { return slices.Contains(all[p].Accesses, access) }) {
			accesses = append(accesses, access)
		}
	}
	fmt.Fprintf(&b, "| A login | %s |\n|---|%s\n", joined(accesses, " | "), strings.Repeat("---|", len(accesses)))
	for _, claim := range Claims() {
		fmt.Fprintf(&b, "| %s |", claim.Words)
		for _, access := range accesses {
			fmt.Fprintf(&b, " %s |", all.on(products, claim.Case, access))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// Products are the products and releases, in order.
func (all Proofs) Products() []string { return slices.SortedFunc(maps.Keys(all), natural) }

// on says on which of the products a case has passed.
func (all Proofs) on(products []string, name string, access patchbay.Access) string {
	var passed []string
	left := ""
	for _, p := range products {
		if slices.Contains(all[p].Cases[name], access) {
			passed = append(passed, p)
		} else if why := all[p].Left[name]; why != "" {
			left = why
		}
	}
	switch {
	case len(passed) == len(products):
		return "yes"
	case len(passed) > 0:
		return strings.Join(passed, ", ")
	case left != "":
		return "no: " + left
	}
	return "no"
}

// natural has PostgreSQL 9.6 before PostgreSQL 18.
func natural(a, b string) int {
	cut := func(s string) (name string, release []int) {
		at := strings.LastIndexByte(s, ' ') + 1
		for part := range strings.SplitSeq(s[at:], ".") {
			n, _ := strconv.Atoi(part)
			release = append(release, n)
		}
		return s[:at], release
	}
	nameA, releaseA := cut(a)
	nameB, releaseB := cut(b)
	return cmp.Or(strings.Compare(nameA, nameB), slices.Compare(releaseA, releaseB))
}

func joined[T ~string](all []T, sep string) string {
	words := make([]string, len(all))
	for i, one := range all {
		words[i] = string(one)
	}
	return strings.Join(words, sep)
}
