package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"patchbay.dev/patchbay"
)

// secretFlag is a part of an admin credential as flags: a secret is read from a
// file or the environment.
type secretFlag struct {
	*fieldFlag
	file, env string // the flags; "" when others have the names
	fromFile  string
	fromEnv   string
}

// adminFlags declares the flags of the admin credential.
func (r *registration) adminFlags(a *app, cmd *cobra.Command) {
	f := cmd.Flags()
	part := "a part of the admin credential, name=value, name=@FILE or name=@- (several)"
	if username := fieldNamed(r.driver.Admin, "username"); username.Name != "" {
		part = username.About + "; or " + part
	}
	f.StringArrayVar(&r.moreAdmin, "admin", nil, part)
	part = "a part of the admin credential from the environment: name=VARIABLE"
	if hasField(r.driver.Admin, "password") {
		part += ", or the password's VARIABLE"
	}
	f.StringArrayVar(&r.adminEnv, "admin-env", nil, part+" (several)")
	for _, field := range r.driver.Admin {
		if !field.Secret {
			if field.Name == "username" && field.Flag == "" {
				r.admin = append(r.admin, &secretFlag{fieldFlag: &fieldFlag{Field: field}}) // --admin NAME says it
				continue
			}
			r.admin = append(r.admin, &secretFlag{fieldFlag: newFieldFlag(a, cmd, field)})
			continue
		}
		s := &secretFlag{fieldFlag: &fieldFlag{Field: field}}
		word := a.flagOf(field)
		if name := word + "-file"; word != "" && a.isFree(cmd, name) {
			s.file = name
			f.StringVar(&s.fromFile, name, "", field.About+": its file, or - for standard input")
			must(cmd.MarkFlagFilename(name))
		}
		if name := word + "-env"; word != "" && a.isFree(cmd, name) {
			s.env = name
			f.StringVar(&s.fromEnv, name, "", field.About+": the environment variable that has it")
		}
		r.admin = append(r.admin, s)
	}
}

// adminValues reads the admin credential from wherever the flags say.
func (r *registration) adminValues(a *app, cmd *cobra.Command) (map[string]patchbay.Secret, error) {
	admin := map[string]patchbay.Secret{}
	set := func(name string, value patchbay.Secret, err error) error {
		if _, twice := admin[name]; twice && err == nil {
			return usagef(cmd, "the admin credential has %s twice", clean(name))
		}
		admin[name] = value
		return err
	}
	for _, arg := range r.moreAdmin {
		name, value, ok := strings.Cut(arg, "=")
		if !ok && hasField(r.driver.Admin, "username") {
			name, value = "username", arg
		} else if !ok || name == "" {
			return nil, usagef(cmd, "--admin takes name=value")
		}
		s := patchbay.NewSecret(value)
		var err error
		// What is not described may be a secret.
		if f := fieldNamed(r.driver.Admin, name); f.Secret || f.Name == "" || strings.HasPrefix(value, "@") {
			s, err = a.secretValue("admin's "+clean(name), value)
		}
		if err := set(name, s, err); err != nil {
			return nil, err
		}
	}
	for _, arg := range r.adminEnv {
		name, variable, ok := strings.Cut(arg, "=")
		if !ok && hasField(r.driver.Admin, "password") {
			name, variable = "password", arg
		} else if !ok {
			return nil, usagef(cmd, "--admin-env takes name=VARIABLE")
		}
		s, err := a.secretEnv("admin's "+clean(name), variable)
		if err := set(name, s, err); err != nil {
			return nil, err
		}
	}
	for _, f := range r.admin {
		if f.fromFile != "" && f.fromEnv != "" {
			return nil, usagef(cmd, "the %s comes from one place: --%s or --%s", f.Name, f.file, f.env)
		}
		var s patchbay.Secret
		var err error
		switch {
		case f.fromFile != "":
			s, err = a.secretFile("admin's "+f.Name, f.fromFile)
		case f.fromEnv != "":
			s, err = a.secretEnv("admin's "+f.Name, f.fromEnv)
		case f.flag != "":
			var v any
			if v, err = f.value(a, cmd); err == nil && v != nil {
				text, isText := v.(string)
				if !isText {
					return nil, usagef(cmd, "--%s is not a text: say --admin %s=value", f.flag, f.Name)
				}
				s = patchbay.NewSecret(text)
			}
		}
		if err != nil {
			return nil, err
		}
		if !s.IsZero() {
			if err := set(f.Name, s, nil); err != nil {
				return nil, err
			}
		}
	}
	return admin, nil
}

// completeAdmin asks for what is missing of a credential that was given in part.
func (r *registration) completeAdmin(ctx context.Context, a *app, cmd *cobra.Command, admin map[string]patchbay.Secret) error {
	if len(admin) == 0 {
		return nil
	}
	if err := r.askAdmin(ctx, a, cmd, admin); err != nil {
		return err
	}
	secret := slices.IndexFunc(r.admin, func(f *secretFlag) bool { return f.Secret && f.Type == patchbay.TextField })
	if secret < 0 || r.hasSecret(admin) {
		return nil
	}
	// A name alone will do where the driver says so; elsewhere it has a secret.
	must := len(r.driver.AdminForms) == 0
	f := r.admin[secret]
	if !a.interactive() {
		if must {
			return usagef(cmd, "a login has a secret: %s", f.ways())
		}
		return nil
	}
	what := f.Name
	if name := admin["username"]; !name.IsZero() {
		what += " of " + clean(name.Reveal())
	}
	s, err := a.asker.password(ctx, "The "+what+":")
	switch {
	case err != nil:
		return err
	case !s.IsZero():
		admin[f.Name] = s
	case must:
		return patchbay.Errorf(patchbay.InvalidArgument, "the %s is empty", what)
	}
	return nil
}

// hasSecret reports whether the credential has a part that is not described as
// none.
func (r *registration) hasSecret(admin map[string]patchbay.Secret) bool {
	for name := range admin {
		if f := fieldNamed(r.driver.Admin, name); f.Secret || f.Name == "" {
			return true
		}
	}
	return false
}

// askAdmin asks for the parts that the credential lacks, in the form that lacks
// the fewest; where nobody can be asked, the error names their flags.
func (r *registration) askAdmin(ctx context.Context, a *app, cmd *cobra.Command, admin map[string]patchbay.Secret) error {
	var lacks []string
	for i, form := range r.driver.AdminForms {
		missing := only(slices.Clone(form), func(name string) bool { return admin[name].IsZero() })
		if len(missing) == 0 {
			return nil
		}
		if i == 0 || len(missing) < len(lacks) {
			lacks = missing
		}
	}
	var ways []string
	for _, name := range lacks {
		at := slices.IndexFunc(r.admin, func(f *secretFlag) bool { return f.Name == name })
		if at < 0 {
			ways = append(ways, "--admin "+name+"=value")
			continue
		}
		f := r.admin[at]
		if !a.interactive() {
			ways = append(ways, f.ways())
			continue
		}
		s, err := f.askSecret(ctx, a)
		if err != nil {
			return err
		}
		admin[name] = s
	}
	if len(ways) > 0 {
		return usagef(cmd, "the admin credential needs its %s: %s", inWords(lacks, "and"), strings.Join(ways, ", and "))
	}
	return nil
}

// ways are the flags that give the part.
func (f *secretFlag) ways() string {
	switch {
	case f.flag != "":
		return f.said()
	case !f.Secret && f.Name == "username":
		return "--admin NAME"
	case f.file != "" && f.env != "":
		return "--" + f.file + " or --" + f.env
	case f.file != "":
		return "--" + f.file
	}
	return "--admin " + f.Name + "=@FILE"
}

func (f *secretFlag) askSecret(ctx context.Context, a *app) (patchbay.Secret, error) {
	question := sentence(f.About)
	switch {
	case !f.Secret:
		text, err := a.asker.ask(ctx, question+"?", "", needed(f.Name))
		return patchbay.NewSecret(text), err
	case f.Type == patchbay.FileField:
		name, err := a.asker.ask(ctx, question+": which file?", "", needed("file"))
		if err != nil {
			return patchbay.Secret{}, err
		}
		return a.secretFile("admin's "+f.Name, name)
	}
	s, err := a.asker.password(ctx, question+":")
	if err == nil && s.IsZero() {
		err = patchbay.Errorf(patchbay.InvalidArgument, "the %s is empty", f.Name)
	}
	return s, err
}

// revealed is a credential as it goes over the wire.
func revealed(admin map[string]patchbay.Secret) map[string]string {
	m := map[string]string{}
	for name, s := range admin {
		m[name] = s.Reveal()
	}
	return m
}
