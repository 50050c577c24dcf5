package cli

import (
	"context"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"patchbay.dev/patchbay"
)

// What can be connected is the server's to say. The commands that depend on it
// are made from its catalogue, so that they are right with a server of another
// release; where no server can be asked, from that of this build.

// catalogTime bounds how long a command waits for the server's catalogue.
const catalogTime = 2 * time.Second

// catalogued marks a command that is made from the catalogue, or shows it.
const catalogued = "catalogued"

// known is the catalogue in use: the server's, where it was asked.
func (a *app) known() patchbay.Catalog {
	if a.catalog == nil {
		c := a.own()
		a.catalog = &c
	}
	return *a.catalog
}

// own is this build's.
func (a *app) own() patchbay.Catalog {
	if a.Catalog == nil {
		return patchbay.Catalog{}
	}
	return a.Catalog()
}

// shown is what the commands are made from.
func (a *app) shown() patchbay.Catalog {
	if a.bare {
		return patchbay.Catalog{}
	}
	return a.known()
}

// rootFor is the command tree for a command line. It has what is made from the
// catalogue only if the line is about that: to run it, for its help or to
// complete it. Most are not, and need not wait.
func (a *app) rootFor(ctx context.Context, args []string) *cobra.Command {
	a.bare = true
	root := a.root()
	line := args
	if len(line) > 0 {
		switch line[0] {
		case "help":
			line = line[1:]
		case cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd:
			line = line[1:max(1, len(line)-1)] // the last word is not written yet
		}
	}
	cmd, _, err := root.Find(line)
	if err != nil {
		return root
	}
	if cmd == root {
		a.bare = false // for the examples
		return a.root()
	}
	for ; cmd != nil; cmd = cmd.Parent() {
		if cmd.Annotations[catalogued] != "" {
			readGlobals(root, line)
			_ = a.askCatalog(ctx) // then there is this build's
			a.bare = false
			return a.root()
		}
	}
	return root
}

// readGlobals reads the flags that every command has, and that say where the
// server is, before it is known which other flags there are.
func readGlobals(root *cobra.Command, args []string) {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.ParseErrorsAllowlist.UnknownFlags = true
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.AddFlagSet(root.PersistentFlags())
	fs.BoolP("help", "h", false, "")
	_ = fs.Parse(args) // what is wrong with them is said when the command is run
}

// askCatalog makes the server's catalogue the one in use, if a server can be
// asked: one of an older release has none to give.
func (a *app) askCatalog(ctx context.Context) error {
	if a.asked {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, catalogTime)
	defer cancel()
	c, err := a.client()
	if err != nil {
		return err
	}
	catalog, err := c.Catalog(ctx)
	if err != nil {
		return err
	}
	catalog = harmless(catalog)
	if len(drivers(catalog)) == 0 {
		return patchbay.Errorf(patchbay.Internal, "the server's catalogue has no drivers")
	}
	a.catalog, a.asked = &catalog, true
	return nil
}

// What a driver is for.
const (
	forSources = "sources"
	forTargets = "targets"
	forHosts   = "hosts"
	forGuards  = "guards"
)

// knownDriver is a driver of the catalogue.
type knownDriver struct {
	patchbay.Driver
	end string // one of them
}

// drivers are all of the catalogue, sources first.
func drivers(c patchbay.Catalog) []knownDriver {
	var all []knownDriver
	for _, of := range []struct {
		end  string
		list []patchbay.Driver
	}{{forSources, c.Sources}, {forTargets, c.Targets}, {forHosts, c.Hosts}, {forGuards, c.Guards}} {
		for _, d := range of.list {
			all = append(all, knownDriver{d, of.end})
		}
	}
	return all
}

// driverOf is the driver of that name.
func driverOf(c patchbay.Catalog, name string) (d knownDriver, ok bool) {
	all := drivers(c)
	at := slices.IndexFunc(all, func(d knownDriver) bool { return d.Name == name })
	if at < 0 {
		return d, false
	}
	return all[at], true
}

// resourceDrivers are those of what is connected: what has connections, what they are
// to, and what is on the way.
func resourceDrivers(c patchbay.Catalog) []knownDriver {
	return only(drivers(c), func(d knownDriver) bool { return d.end != forHosts })
}

func driverNames(all []knownDriver) []string {
	var names []string
	for _, d := range all {
		names = append(names, d.Name)
	}
	return names
}

// isSource reports whether a resource of that driver has connections, and is not
// the target of some.
func (a *app) isSource(driver string) bool { return a.isFor(driver, forSources) }

func (a *app) isFor(driver, end string) bool {
	d, ok := driverOf(a.known(), driver)
	return ok && d.end == end
}

// noSuchDriver is the error of a driver that is none of all.
func (a *app) noSuchDriver(cmd *cobra.Command, name string, all []knownDriver) error {
	names := driverNames(all)
	if _, ok := driverOf(a.own(), name); ok && a.asked {
		return usagef(cmd, "this server has no driver %q, though this command line knows it: the server is of another release or build. It has %s",
			clean(name), strings.Join(names, ", "))
	}
	return usagef(cmd, "there is no driver %q; there are %s%s", clean(name), strings.Join(names, ", "), didYouMean(name, names))
}

// The most that is taken of a catalogue: far more than any server has.
const (
	mostDrivers = 100
	mostKinds   = 300     // words for them, which are commands
	mostItems   = 300     // of another list
	mostText    = 4 << 10 // bytes
)

var (
	wordForm  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
	nameForm  = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,63}(\.[A-Za-z][A-Za-z0-9_]{0,63}){0,3}$`)
	typeForm  = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}(/[A-Za-z0-9_.-]{1,100}){1,8}$`)
	plainForm = regexp.MustCompile(`^[A-Za-z0-9_.@~-]{0,100}$`)
)

// harmless is what of a server's catalogue can be made into commands and shown:
// names that are none are left out, and texts do nothing to a terminal.
func harmless(c patchbay.Catalog) patchbay.Catalog {
	tame(reflect.ValueOf(&c).Elem())
	taken := map[string]bool{"help": true}
	fit := func(all []patchbay.Driver) []patchbay.Driver {
		var fitting []patchbay.Driver
		for _, d := range all {
			if !wordForm.MatchString(d.Name) || taken[d.Name] || len(taken) > mostDrivers {
				continue
			}
			taken[d.Name] = true
			d.Types = only(d.Types, typeForm.MatchString)
			d.Kinds = only(d.Kinds, func(k patchbay.ResourceKind) bool {
				return wordForm.MatchString(k.Name) && typeForm.MatchString(k.Type)
			})
			d.Properties = only(d.Properties, func(f patchbay.Field) bool { return nameForm.MatchString(f.Name) })
			d.Admin = only(d.Admin, func(f patchbay.Field) bool { return nameForm.MatchString(f.Name) })
			fitting = append(fitting, d)
		}
		return fitting
	}
	c.Targets, c.Sources, c.Hosts, c.Guards = fit(c.Targets), fit(c.Sources), fit(c.Hosts), fit(c.Guards)
	c.Kinds = only(c.Kinds, func(k patchbay.TargetKind) bool { return wordForm.MatchString(k.Name) })
	for i := range c.Kinds {
		c.Kinds[i].Words = only(c.Kinds[i].Words, wordForm.MatchString)
		c.Kinds[i].IDs = only(c.Kinds[i].IDs, func(id patchbay.TargetID) bool {
			return !strings.Contains(id.Form, "/") || isForm(id)
		})
	}
	return c
}

// isForm reports whether a target's id can be made of the form.
func isForm(id patchbay.TargetID) bool {
	segments := id.Segments()
	if len(segments) == 0 || segments[0].Fixed || !typeForm.MatchString(id.Type()) {
		return false
	}
	return !slices.ContainsFunc(segments, func(s patchbay.Segment) bool {
		return s.Fixed && !plainForm.MatchString(s.Name) || !s.Fixed && !wordForm.MatchString(s.Name) || !plainForm.MatchString(s.Default)
	})
}

func only[T any](all []T, fits func(T) bool) []T {
	return slices.DeleteFunc(all, func(v T) bool { return !fits(v) })
}

// tame bounds every list and text below v, and writes what would do something to
// a terminal as its escape. Only what is said about a driver has several lines.
func tame(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(tameText(v.String()))
	case reflect.Slice:
		if v.Len() > mostItems {
			v.Set(v.Slice(0, mostItems))
		}
		for i := range v.Len() {
			tame(v.Index(i))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			tame(v.Elem())
		}
	case reflect.Struct:
		d, isDriver := v.Addr().Interface().(*patchbay.Driver)
		var about []string
		if isDriver {
			for line := range strings.Lines(d.About[:min(len(d.About), mostText)]) {
				about = append(about, tameText(strings.TrimSuffix(line, "\n")))
			}
		}
		for i := range v.NumField() {
			tame(v.Field(i))
		}
		if isDriver {
			d.About = strings.Join(about, "\n")
		}
	}
}

func tameText(s string) string {
	return clean(strings.ToValidUTF8(s[:min(len(s), mostText)], ""))
}

// article is a noun with its article.
func article(noun string) string {
	if noun != "" && strings.ContainsRune("aeioAEIO", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}

// inWords is a list as a sentence has it: a, b or c.
func inWords(words []string, last string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return fmt.Sprintf("%s %s %s", strings.Join(words[:len(words)-1], ", "), last, words[len(words)-1])
}
