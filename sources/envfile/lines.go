package envfile

import (
	"fmt"
	"strings"

	"patchbay.dev/patchbay"
)

// Lines are settings as a file of that dialect has them, for an application of that
// client type, where nothing is written to a source. warnings say who reads one
// otherwise all the same. The error names what the dialect can't hold.
func Lines(dialectName string, client patchbay.ClientType, set []patchbay.Setting) (text string, warnings []string, err error) {
	d, ok := dialects[dialectName]
	if !ok {
		return "", nil, patchbay.Errorf(patchbay.InvalidArgument, "there is no dialect %q", clip(dialectName))
	}
	var b strings.Builder
	for _, s := range set {
		if err := checkSetting(d, s, client); err != nil {
			return "", nil, err
		}
		written, _ := d.encode(s.Value.Reveal(), client)
		b.WriteString(s.Name + "=" + written + "\n")
		if w := advice(d, s, client); w != "" {
			warnings = append(warnings, w)
		}
	}
	return b.String(), warnings, nil
}

// advice says who reads a setting otherwise, "" when nobody does.
func advice(d dialect, s patchbay.Setting, client patchbay.ClientType) string {
	who := d.misread(s.Name, s.Value.Reveal(), client)
	if who == "" {
		return ""
	}
	return fmt.Sprintf("%s holds what some read otherwise from a %s file, in whatever form: %s", s.Name, d.name(), who)
}
