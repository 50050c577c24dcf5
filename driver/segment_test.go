package driver

import (
	"testing"

	"patchbay.dev/patchbay"
)

func TestASegmentHoldsEveryName(t *testing.T) {
	for name, segment := range map[string]string{
		"shop": "shop", "/": "~2F", "a/b": "a~2Fb", "~": "~7E", "~2F": "~7E2F", "100%": "100~25", "line\nbreak": "line~0Abreak", "Größe": "Größe", "a b": "a b", `<>&\?#`: "~3C~3E~26~5C~3F~23", "": "",
	} {
		if got := SegmentOf(name); got != segment {
			t.Errorf("the segment of %q is %q, want %q", name, got, segment)
		}
		if got, err := NameIn(segment); err != nil || got != name {
			t.Errorf("the name in %q is %q, %v, want %q", segment, got, err, name)
		}
		id := "/subscriptions/s/resourceGroups/g/providers/A.B/c/" + segment
		if _, err := patchbay.ParseID(id); err != nil && name != "" {
			t.Errorf("%q is no segment: %v", segment, err)
		}
	}
	for _, segment := range []string{"~", "a~2", "~2G", "~+1", "~ 1"} {
		if name, err := NameIn(segment); patchbay.CodeOf(err) != patchbay.InvalidArgument {
			t.Errorf("the name in %q is %q, %v", segment, name, err)
		}
	}
	if name, err := NameIn("~2fprod"); err != nil || name != "/prod" { // ids are of any case
		t.Errorf("%q, %v", name, err)
	}
}
