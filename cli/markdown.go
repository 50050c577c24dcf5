package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"patchbay.dev/patchbay"
)

// Markdown writes the reference of the command line.
func Markdown(w io.Writer, deps Deps) error {
	a, root := build(deps)
	var b strings.Builder
	b.WriteString("# The command line\n\nGenerated from the commands' own help (`go generate ./cmd/patchbay`). With a server of another\nrelease the commands below `resource add` and `connection` are those of what it can connect.\n\n")
	b.WriteString(paragraphs(root.Long) + "\n\n")
	b.WriteString("## Exit status\n\n| Status | Means |\n|---|---|\n")
	for line := range strings.Lines(exitStatusesText) {
		status, means, _ := strings.Cut(strings.TrimSpace(line), " ")
		fmt.Fprintf(&b, "| %s | %s |\n", status, strings.TrimSpace(means))
	}
	b.WriteString("\n## Flags of every command\n\n")
	flagTable(&b, root.PersistentFlags())
	b.WriteString("\n## Commands\n\n| Command | Does |\n|---|---|\n")
	walk(root, func(c *cobra.Command) {
		if c.Runnable() && !c.HasParent() || c.HasSubCommands() && c.Annotations["kinds"] == "" && c.Name() != "completion" {
			return
		}
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s |\n", c.CommandPath(), anchor(c.CommandPath()), cell(c.Short))
	})
	walk(root, func(c *cobra.Command) {
		if !c.HasParent() {
			return
		}
		a.section(&b, c)
	})
	text := strings.TrimRight(b.String(), "\n") + "\n"
	for strings.Contains(text, "\n\n\n") {
		text = strings.ReplaceAll(text, "\n\n\n", "\n\n")
	}
	_, err := io.WriteString(w, text)
	return err
}

// walk visits the commands that people are shown, those of a target kind apart:
// they are described together.
func walk(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	if c.Annotations["kinds"] != "" || c.Name() == "completion" {
		return
	}
	for _, child := range c.Commands() {
		if child.IsAvailableCommand() && child.Name() != "help" {
			walk(child, visit)
		}
	}
}

func (a *app) section(b *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(b, "\n## %s\n\n%s.\n\n", c.CommandPath(), strings.TrimSuffix(c.Short, "."))
	long := c.Long
	if c.Name() == "completion" {
		// Cobra's own text says how to install each; --help shows it.
		long = "For bash, zsh, fish and powershell: patchbay completion SHELL --help says where to put it."
	}
	if long != "" && strings.TrimSuffix(long, ".") != c.Short {
		b.WriteString(paragraphs(long) + "\n\n")
	}
	shown := c
	if c.Annotations["kinds"] != "" {
		fmt.Fprintf(b, "    %s [flags]\n\n", c.CommandPath()+" KIND")
		a.kindTable(b, c)
		// The flags of one kind stand for all: only what names the target differs.
		if sub, _, err := c.Find([]string{a.exampleKind()}); err == nil {
			shown = sub
		}
	} else if c.Runnable() && !c.HasSubCommands() {
		fmt.Fprintf(b, "    %s\n\n", c.UseLine())
	}
	if shown.HasExample() {
		b.WriteString("Examples:\n\n" + indent(shown.Example) + "\n\n")
	}
	if shown.HasAvailableLocalFlags() {
		flagTable(b, shown.LocalNonPersistentFlags())
	}
}

func (a *app) kindTable(b *strings.Builder, c *cobra.Command) {
	b.WriteString("| KIND | Product | The target is named by | Client types |\n|---|---|---|---|\n")
	for _, k := range targetKinds(a.shown()) {
		flags := strings.Join(k.flags(), " ")
		if c.Annotations["kinds"] == updateVerb.name {
			flags = ""
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", k.word, k.Title, cell(flags), strings.Join(words(k.Clients), ", "))
	}
	if k, ok := endpointKind(a.shown(), patchbay.ConfluentBootstrapServer); ok && c.Annotations["kinds"] != previewVerb.name {
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", k.Name, k.Title,
			"--bootstrap-server --kafka-key --kafka-secret --schema-registry --schema-key --schema-secret", strings.Join(words(k.Clients), ", "))
	}
	b.WriteString("\n")
}

func flagTable(b *strings.Builder, flags *pflag.FlagSet) {
	b.WriteString("| Flag | Means |\n|---|---|\n")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		about := f.Usage
		switch f.DefValue {
		case "", "[]", "false", "0", "0s":
		default:
			about += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(b, "| `%s` | %s |\n", name, cell(about))
	})
}

// paragraphs makes a block of code of lines that the help sets in by two.
func paragraphs(help string) string {
	var b strings.Builder
	for line := range strings.Lines(help) {
		if strings.HasPrefix(line, "  ") {
			b.WriteString("  ")
		}
		b.WriteString(line)
	}
	return b.String()
}

func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "<", "&lt;", "\n", " ").Replace(s)
}

func indent(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		out = append(out, "    "+strings.TrimSpace(line))
	}
	return strings.Join(out, "\n")
}

func anchor(path string) string { return strings.ReplaceAll(path, " ", "-") }
