// Command compose reads texts as Docker Compose reads an env_file, with
// Compose's own library: a JSON array of texts in, one of objects out, null for
// a text that it refuses.
package main

import (
	"encoding/json"
	"os"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
)

func main() {
	var texts []string
	if err := json.NewDecoder(os.Stdin).Decode(&texts); err != nil {
		panic(err)
	}
	list := []map[string]string{}
	for _, text := range texts {
		values, err := dotenv.ParseWithLookup(strings.NewReader(text), nil)
		if err != nil {
			values = nil
		}
		list = append(list, values)
	}
	if err := json.NewEncoder(os.Stdout).Encode(list); err != nil {
		panic(err)
	}
}
