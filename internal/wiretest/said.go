// Package wiretest compares what is answered on the wire with what was asked
// there.
package wiretest

import (
	"fmt"
	"slices"
	"strings"
)

// Unsaid are the members of an answer that are there and that the request does
// not have, an object of nothing but nulls among them; both are what JSON is
// decoded to. The paths begin with a dot.
func Unsaid(answer, request any) []string { return unsaid("", answer, request) }

func unsaid(path string, answer, request any) []string {
	switch answer := answer.(type) {
	case nil:
		return nil
	case map[string]any:
		asked, ok := request.(map[string]any)
		item := strings.HasSuffix(path, "]") // an array keeps its length under every version
		if !ok || !item && saysNothing(answer) {
			return []string{path}
		}
		var found []string
		for name, value := range answer {
			found = append(found, unsaid(path+"."+name, value, asked[name])...)
		}
		slices.Sort(found)
		return found
	case []any:
		asked, ok := request.([]any)
		if !ok || len(asked) != len(answer) {
			return []string{path}
		}
		var found []string
		for i := range answer {
			found = append(found, unsaid(fmt.Sprintf("%s[%d]", path, i), answer[i], asked[i])...)
		}
		return found
	}
	if !strings.EqualFold(fmt.Sprint(answer), fmt.Sprint(request)) { // words are answered as they are documented
		return []string{path}
	}
	return nil
}

func saysNothing(object map[string]any) bool {
	for _, value := range object {
		if value != nil {
			return false
		}
	}
	return true
}
