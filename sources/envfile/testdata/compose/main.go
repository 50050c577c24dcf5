// Command compose reads as Docker Compose does, with Compose's own library. Without
// an argument it reads texts as an env_file: a JSON array of texts in, one of objects
// out, null for a text that it refuses. With the argument "project" it reads a
// project's files: an array of texts in, an object of the services' environments and
// the configs' contents out.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

func main() {
	var texts []string
	if err := json.NewDecoder(os.Stdin).Decode(&texts); err != nil {
		panic(err)
	}
	var answer any = envFiles(texts)
	if len(os.Args) > 1 && os.Args[1] == "project" {
		answer = project(texts)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answer); err != nil {
		panic(err)
	}
}

func envFiles(texts []string) []map[string]string {
	list := []map[string]string{}
	for _, text := range texts {
		values, err := dotenv.ParseWithLookup(strings.NewReader(text), nil)
		if err != nil {
			values = nil
		}
		list = append(list, values)
	}
	return list
}

func project(texts []string) map[string]map[string]string {
	details := types.ConfigDetails{WorkingDir: "/project", Environment: map[string]string{"HOME": "/home", "x": "expanded"}}
	for i, text := range texts {
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: fmt.Sprintf("%d.yaml", i), Content: []byte(text)})
	}
	p, err := loader.LoadWithContext(context.Background(), details, func(o *loader.Options) { o.SetProjectName("project", true) })
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	all := map[string]map[string]string{"configs": {}}
	for name, c := range p.Configs {
		all["configs"][name] = c.Content
	}
	for name, s := range p.Services {
		all[name] = map[string]string{}
		for k, v := range s.Environment {
			if v != nil {
				all[name][k] = *v
			}
		}
	}
	return all
}
