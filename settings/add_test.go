package settings

import (
	"strings"
	"testing"
)

// What another module adds is held to what this one's own files are, and takes nothing
// from them.
func TestAddRefuses(t *testing.T) {
	table() // from here on it is late
	const good = `title: Shelf
targets:
  - {form: "Patchbay.Services/shelfServers/{server}/shelves/{shelf}", words: [shelf]}
auth: [secret]
values:
  - {name: url, text: Where it is, example: "http://shelf.test"}
native:
  - set:
      SHELF_URL: "{url}"
`
	for _, c := range []struct{ name, file, want string }{
		{"shelf", good, "too late"},
		{"redis", good, "already"},
		{"Shelf/..", good, "no name"},
		{"", good, "no name"},
		{"shelf", strings.Replace(good, "title: Shelf\n", "", 1), "no title"},
		{"shelf", strings.Replace(good, "Patchbay.Services/shelfServers/{server}/shelves/{shelf}", "patchbay.services/ETCDSERVERS/{server}", 1), "the type of etcd"},
		{"shelf", strings.Replace(good, "words: [shelf]", "words: [redis]", 1), "a word for redis"},
		{"shelf", strings.Replace(good, "{url}\"\n", "{ur}\"\n", 1), "ur"},
		{"shelf", good + "more: 1\n", "more"},
		{"shelf", "like: nobody\n" + good, "nobody"},
		{"shelf", "[", ""},
		{"shelf", "", "no documents"},
	} {
		err := Add(c.name, []byte(c.file))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q\n%s", c.name, err, c.want, c.file)
		}
	}
}
