package main

import (
	"errors"
	"strings"
	"testing"
)

func TestWhatWasSkippedAndWhatFailedIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		events, want string
		fails        bool
	}{
		"passed, and skipped": {`
{"Action":"start","Package":"p/a"}
{"Action":"run","Package":"p/a","Test":"TestOne"}
{"Action":"output","Package":"p/a","Test":"TestOne","Output":"=== RUN   TestOne\n"}
{"Action":"output","Package":"p/a","Test":"TestOne","Output":"    one_test.go:7: a word of it\n"}
{"Action":"output","Package":"p/a","Test":"TestOne","Output":"--- PASS: TestOne (0.00s)\n"}
{"Action":"pass","Package":"p/a","Test":"TestOne","Elapsed":0}
{"Action":"output","Package":"p/a","Test":"TestTwo/x","Output":"=== RUN   TestTwo/x\n"}
{"Action":"output","Package":"p/a","Test":"TestTwo/x","Output":"    two_test.go:9: no mount namespaces here\n"}
{"Action":"output","Package":"p/a","Test":"TestTwo/x","Output":"    --- SKIP: TestTwo/x (0.00s)\n"}
{"Action":"skip","Package":"p/a","Test":"TestTwo/x","Elapsed":0}
{"Action":"output","Package":"p/a","Test":"FuzzOne/seed#0","Output":"    --- SKIP: FuzzOne/seed#0 (0.00s)\n"}
{"Action":"skip","Package":"p/a","Test":"FuzzOne/seed#0","Elapsed":0}
{"Action":"output","Package":"p/a","Output":"PASS\n"}
{"Action":"output","Package":"p/a","Output":"ok  \tp/a\t0.012s\n"}
{"Action":"pass","Package":"p/a","Elapsed":0.012}
{"Action":"output","Package":"p/b","Output":"?   \tp/b\t[no test files]\n"}
{"Action":"skip","Package":"p/b","Elapsed":0}
`, "ok  \tp/a\t0.012s\nNOT CHECKED: p/a TestTwo/x: no mount namespaces here\n", false},
		"failed": {`
{"Action":"output","Package":"p/a","Test":"TestOne","Output":"    one_test.go:7: 1 is not 2\n"}
{"Action":"output","Package":"p/a","Test":"TestOne","Output":"--- FAIL: TestOne (0.00s)\n"}
{"Action":"fail","Package":"p/a","Test":"TestOne","Elapsed":0}
{"Action":"output","Package":"p/a","Output":"FAIL\n"}
{"Action":"output","Package":"p/a","Output":"FAIL\tp/a\t0.012s\n"}
{"Action":"fail","Package":"p/a","Elapsed":0.012}
`, "    one_test.go:7: 1 is not 2\n--- FAIL: TestOne (0.00s)\nFAIL\nFAIL\tp/a\t0.012s\n", true},
		"ended in the middle": {`
{"Action":"output","Package":"p/a","Test":"TestOne","Output":"panic: at the disco\n"}
{"Action":"output","Package":"p/a","Output":"FAIL\tp/a\t0.012s\n"}
{"Action":"fail","Package":"p/a","Elapsed":0.012}
`, "FAIL\tp/a\t0.012s\npanic: at the disco\n", true},
		"did not compile": {`
{"ImportPath":"p/a","Action":"build-output","Output":"a.go:3:1: syntax error\n"}
{"ImportPath":"p/a","Action":"build-fail"}
{"Action":"output","Package":"p/a","Output":"FAIL\tp/a [build failed]\n"}
{"Action":"fail","Package":"p/a","Elapsed":0}
`, "a.go:3:1: syntax error\nFAIL\tp/a [build failed]\n", true},
		"go's own words": {"go: no such tool\n", "go: no such tool\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			var got strings.Builder
			err := report(strings.NewReader(strings.TrimPrefix(c.events, "\n")), &got)
			if got.String() != c.want || errors.Is(err, errFailed) != c.fails || err != nil && !c.fails {
				t.Errorf("%q, %v\nwant %q", got.String(), err, c.want)
			}
		})
	}
}
