// Command tested reads what go test -json writes, and prints what go test would
// have: a line for each package, and all of what failed. Then it says which tests
// were skipped and why, which go test keeps to itself: what was not looked at is
// no success.
//
//	go test -json ./... | go run ./internal/tested
//
// It ends as go test does: with 1 where something failed.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	if err := report(os.Stdin, os.Stdout); err != nil {
		if !errors.Is(err, errFailed) {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
}

// errFailed is a test or a package that failed: what there is to say was said.
var errFailed = errors.New("something failed")

// event is a line of go test -json, as go doc test2json describes it.
type event struct{ Action, Package, ImportPath, Test, Output string }

// report prints what in's events come to. Its error is errFailed where there is
// a failure in them, or one of reading and writing.
func report(in io.Reader, out io.Writer) error {
	type test struct{ pkg, name string }
	said, printed := map[test]string{}, map[string]bool{}
	var skipped []string
	var failed bool
	lines := bufio.NewReader(in)
	w := bufio.NewWriter(out)
	for {
		line, err := lines.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			break
		} else if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		var e event
		if json.Unmarshal([]byte(line), &e) != nil || e.Action == "" {
			_, _ = w.WriteString(line) // of go itself
			continue
		}
		id := test{e.Package, e.Test}
		switch e.Action {
		case "output":
			said[id] += e.Output
		case "build-output":
			_, _ = w.WriteString(e.Output)
		case "build-fail":
			failed = true
		case "skip":
			// An input that a fuzz target leaves alone has no reason.
			if why := reason(said[id]); e.Test != "" && why != "" {
				skipped = append(skipped, fmt.Sprintf("NOT CHECKED: %s %s: %s", e.Package, e.Test, why))
			}
		case "fail":
			failed = true
			_, _ = w.WriteString(said[id])
		}
		switch {
		case e.Test != "" && (e.Action == "pass" || e.Action == "skip" || e.Action == "fail"):
			delete(said, id)
		case e.Action == "pass" && !printed[e.Package]:
			printed[e.Package] = true
			_, _ = w.WriteString(lastLine(said[id]))
		case e.Action == "fail" && e.Test == "":
			// What ended in the middle, by a panic or the time limit, says so in its tests.
			for t, text := range said {
				if t.pkg == e.Package && t.name != "" {
					_, _ = w.WriteString(text)
				}
			}
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	for _, s := range skipped {
		_, _ = fmt.Fprintln(w, s)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if failed {
		return errFailed
	}
	return nil
}

// lastLine is a package's own: ok, its name, and how long it took.
func lastLine(text string) string {
	text = strings.TrimSuffix(text, "\n")
	return text[strings.LastIndexByte(text, '\n')+1:] + "\n"
}

// reason is what a skipped test said, without the frame that testing puts
// around it.
func reason(text string) string {
	var words []string
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		if file, said, ok := strings.Cut(line, ": "); ok && strings.Contains(file, ".go:") {
			line = said
		}
		words = append(words, line)
	}
	return strings.Join(words, " ")
}
