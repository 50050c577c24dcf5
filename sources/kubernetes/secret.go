package kubernetes

import (
	"context"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/internal/kubeconnect"
)

// SecretDriver is the driver for Secrets alone, as Azure's Service Connector
// writes them to an AKS cluster.
func SecretDriver() driver.SourceDriver {
	return driver.SourceDriver{
		Driver: secretDescription,
		Open: func(_ context.Context, c driver.Config) (driver.Source, error) {
			return openSecrets(c)
		},
	}
}

// secretSource is a namespace. Each connection has a Secret there, whose fields
// are its field manager's: what somebody else adds or edits stays theirs.
type secretSource struct {
	reach
	everywhere bool // no scope was named: Owned is of all namespaces
}

func openSecrets(c driver.Config) (*secretSource, error) {
	if err := driver.CheckAdmin(secretDescription, c.Admin); err != nil {
		return nil, err
	}
	var p struct {
		kubeconnect.Access
		Namespace string `json:"namespace"`
	}
	if err := driver.DecodeProperties(secretDescription, c.Properties, &p); err != nil {
		return nil, err
	}
	config, _, err := kubeconnect.Configure(c, p.Access)
	if err != nil {
		return nil, err
	}
	namespace := "default" // Azure's, whatever a kubeconfig says
	if p.Namespace != "" {
		namespace = p.Namespace
	}
	if c.Scope != "" {
		namespace = c.Scope
	}
	if !dnsName.MatchString(namespace) || strings.Contains(namespace, ".") || len(namespace) > 63 {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the namespace %.80q is no name that Kubernetes has", namespace)
	}
	client, err := connect(config, namespace)
	if err != nil {
		return nil, err
	}
	return &secretSource{reach{client, c.ID, rightsOn("", "secrets", "get", "list", "create", "patch", "delete")}, c.Scope == ""}, nil
}

var (
	alphanumeric = regexp.MustCompile(`[^a-z0-9]`)
	azureSecret  = regexp.MustCompile(`^sc-[a-z0-9]+-secret$`)
)

// azureName is the name of a connection's Secret (contract 7.5). Kubernetes has no
// capitals.
func azureName(connection string) string {
	return "sc-" + alphanumeric.ReplaceAllString(strings.ToLower(connection), "") + "-secret"
}

// Close implements [driver.Source].
func (s *secretSource) Close() error {
	s.close()
	return nil
}

// Inspect implements [driver.Source].
func (s *secretSource) Inspect(ctx context.Context) (driver.SourceInfo, error) {
	if err := s.checkRights(ctx); err != nil {
		return driver.SourceInfo{}, err
	}
	if _, err := s.all(ctx); err != nil {
		return driver.SourceInfo{}, err
	}
	return driver.SourceInfo{
		NoFiles:  "a Secret is mounted where its pod says; register the workload with the driver kubernetes and --deliver servicebinding",
		Warnings: []string{"nothing is restarted: a workload that refers to the Secret reads it when it starts"},
	}, nil
}

// all are the Secrets in the namespace that are called as Azure calls them,
// whoever made them, by name.
func (s *secretSource) all(ctx context.Context) (map[string]*corev1.Secret, error) {
	// A namespace may have megabytes of others' Secrets: their names do.
	names, err := s.core.Get().Namespace(s.namespace).Resource("secrets").
		SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").Do(ctx).Raw()
	var list metav1.PartialObjectMetadataList
	if err == nil {
		err = json.Unmarshal(names, &list)
	}
	if err != nil {
		return nil, s.fault(patchbay.SettingsUnreadable, on("", "secrets", "list"), err)
	}
	all := map[string]*corev1.Secret{}
	for _, one := range list.Items {
		if !azureSecret.MatchString(one.Name) {
			continue
		}
		secret, err := s.secrets.Get(ctx, one.Name, metav1.GetOptions{})
		switch {
		case missing(err): // it went meanwhile
		case err != nil:
			return nil, s.fault(patchbay.SettingsUnreadable, on("", "secrets", "get"), err)
		default:
			all[one.Name] = secret
		}
	}
	return all, nil
}

// ReadSettings implements [driver.Source]: the keys of all these Secrets, those of
// connections over those of anybody else.
func (s *secretSource) ReadSettings(ctx context.Context) (driver.Snapshot, error) {
	all, err := s.all(ctx)
	if err != nil {
		return driver.Snapshot{}, err
	}
	return snapshot(all)
}

func snapshot(all map[string]*corev1.Secret) (driver.Snapshot, error) {
	settings := map[string]patchbay.Secret{}
	for _, ours := range []bool{false, true} {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if (markOf(all[name]).UID != "") != ours {
				continue
			}
			for key, value := range all[name].Data {
				settings[key] = patchbay.NewSecret(string(value))
			}
		}
	}
	copies := map[string]keptSecret{}
	for name, secret := range all {
		copies[name] = copyOf(secret)
	}
	content, err := json.Marshal(copies)
	if err != nil {
		return driver.Snapshot{}, err
	}
	return driver.Snapshot{Version: sum(content), Settings: settings, Content: patchbay.NewSecret(string(content))}, nil
}

func copyOf(secret *corev1.Secret) keptSecret {
	return keptSecret{secret.Labels, secret.Annotations, secret.Type, secret.Data}
}

// CheckChange implements [driver.Source].
func (s *secretSource) CheckChange(ctx context.Context, c driver.Change) error {
	if err := s.checkForm(c); err != nil || len(c.Set) == 0 {
		return err
	}
	now, err := s.get(ctx, c)
	if err != nil {
		return err
	}
	_, err = s.put(ctx, c.Mark, now, c, true)
	return err
}

func (s *secretSource) checkForm(c driver.Change) error {
	if len(c.Set) > 0 && !azureSecret.MatchString(azureName(c.Name)) {
		return patchbay.Errorf(patchbay.InvalidArgument, "the connection %.80q has no letter or digit that a Secret could be called by", c.Name)
	}
	size := 0
	for _, set := range c.Set {
		value := set.Value.Reveal()
		size += len(value)
		switch {
		case set.File:
			return patchbay.Errorf(patchbay.NotSupported, "%s gets a Secret alone, and no files in a container", s.id.Name()).
				WithFix("register the workload with the driver kubernetes and --deliver servicebinding")
		case !variable.MatchString(set.Name) || strings.HasPrefix(set.Name, ".."):
			return patchbay.Errorf(patchbay.InvalidArgument, "a key of a Secret that becomes an environment variable can't be called %.80q: letters, digits, -, _ and ., no digit first", set.Name)
		case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
			return patchbay.Errorf(patchbay.InvalidArgument, "the value of %s is not text without zero bytes, as an environment variable is", set.Name)
		}
	}
	if size > maxSecret {
		return patchbay.Errorf(patchbay.InvalidArgument, "the settings are larger than a Secret may be, %d bytes", maxSecret)
	}
	return nil
}

// get is the connection's Secret, nil when there is none; NotOurs when it is
// somebody else's, or another connection's whose name differs in its dashes only.
func (s *secretSource) get(ctx context.Context, c driver.Change) (*corev1.Secret, error) {
	name := azureName(c.Name)
	secret, err := s.secrets.Get(ctx, name, metav1.GetOptions{})
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, s.fault(patchbay.SettingsUnreadable, on("", "secrets", "get"), err)
	}
	switch m := markOf(secret); m.UID {
	case c.Mark.UID:
		return secret, nil
	case "":
		return secret, patchbay.Errorf(patchbay.NotOurs, "the namespace %s has a Secret %s that is no connection's", s.namespace, name).
			WithFix("give the connection another name, or kubectl -n %s delete secret %s   (if nobody needs it)", s.namespace, name)
	default:
		return secret, patchbay.Errorf(patchbay.NotOurs, "the Secret %s in the namespace %s is that of the connection %s", name, s.namespace, m.Connection.Name()).
			WithFix("give the connection a name that differs in its letters and digits: the others are left out of a Secret's name")
	}
}

// put makes the Secret hold exactly what c sets, and what others have put into it.
func (s *secretSource) put(ctx context.Context, m driver.Mark, now *corev1.Secret, c driver.Change, dry bool) (*corev1.Secret, error) {
	return s.applySecret(ctx, azureName(c.Name), m.UID, now, keptSecret{labelsOf(m), annotationsOf(m), corev1.SecretTypeOpaque, data(c, false)}, dry)
}

func (s *secretSource) applySecret(ctx context.Context, name, uid string, now *corev1.Secret, k keptSecret, dry bool) (*corev1.Secret, error) {
	a := corev1ac.Secret(name, s.namespace).WithLabels(k.Labels).WithAnnotations(k.Annotations).WithData(k.Data).WithType(k.Type)
	if now != nil {
		a.WithUID(now.UID).WithResourceVersion(now.ResourceVersion)
	}
	// What is there is the connection's; what comes to be there meanwhile is not.
	o := metav1.ApplyOptions{FieldManager: manager(uid), Force: now != nil}
	if dry {
		o.DryRun = []string{metav1.DryRunAll}
	}
	next, err := s.secrets.Apply(ctx, a, o)
	verb := "patch"
	if apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot create") {
		verb = "create"
	}
	return next, s.fault(patchbay.SettingsUnwritable, on("", "secrets", verb), err)
}

// WriteSettings implements [driver.Source].
func (s *secretSource) WriteSettings(ctx context.Context, c driver.Change, ifVersion string) (string, error) {
	if err := s.checkForm(c); err != nil {
		return "", err
	}
	now, err := s.ReadSettings(ctx)
	if err != nil {
		return "", err
	}
	secret, err := s.get(ctx, c)
	if err != nil {
		if len(c.Set) == 0 && patchbay.CodeOf(err) == patchbay.NotOurs {
			return now.Version, nil
		}
		return "", err
	}
	if done(secret, c) {
		return now.Version, nil
	}
	if now.Version != ifVersion {
		return "", kubeconnect.Changed("the Secrets of " + s.namespace)
	}
	if len(c.Set) == 0 {
		err = s.take(ctx, secret, c.Mark.UID)
	} else {
		_, err = s.put(ctx, c.Mark, secret, c, false)
	}
	if err != nil {
		return "", err
	}
	if now, err = s.ReadSettings(ctx); err != nil {
		return "", err
	}
	return now.Version, nil
}

// done reports whether the connection's Secret is as c would leave it.
func done(secret *corev1.Secret, c driver.Change) bool {
	if secret == nil || len(c.Set) == 0 {
		return secret == nil && len(c.Set) == 0
	}
	if m := markOf(secret); m.Generation != c.Mark.Generation || !m.Connection.Equal(c.Mark.Connection) {
		return false
	}
	want := data(c, false)
	for key, value := range want {
		if had, ok := secret.Data[key]; !ok || string(had) != string(value) {
			return false
		}
	}
	// Of the manager's own keys there must be no other one.
	return !slices.ContainsFunc(keysOf(secret, manager(c.Mark.UID)), func(key string) bool { _, ok := want[key]; return !ok })
}

// keysOf are the keys of a Secret's data that a field manager has; with another,
// false, those that anybody but it has.
func keysOf(secret *corev1.Secret, of string) []string { return keys(secret, of, true) }

func keys(secret *corev1.Secret, of string, its bool) []string {
	var all []string
	for _, entry := range secret.ManagedFields {
		var fields struct {
			Data map[string]json.RawMessage `json:"f:data"`
		}
		if (entry.Manager == of) != its || entry.FieldsV1 == nil || json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields) != nil {
			continue
		}
		for key := range fields.Data {
			if name, ok := strings.CutPrefix(key, "f:"); ok {
				all = append(all, name)
			}
		}
	}
	return all
}

// take takes the connection out of its Secret: all of it, unless somebody else
// has keys there.
func (s *secretSource) take(ctx context.Context, secret *corev1.Secret, uid string) error {
	if secret == nil {
		return nil
	}
	theirs := slices.DeleteFunc(keys(secret, manager(uid), false), func(key string) bool { _, ok := secret.Data[key]; return !ok })
	if len(theirs) > 0 {
		a := corev1ac.Secret(secret.Name, s.namespace).WithUID(secret.UID).WithResourceVersion(secret.ResourceVersion)
		_, err := s.secrets.Apply(ctx, a, metav1.ApplyOptions{FieldManager: manager(uid), Force: true})
		return s.fault(patchbay.SettingsUnwritable, on("", "secrets", "patch"), err)
	}
	err := s.secrets.Delete(ctx, secret.Name, preconditions(secret.ObjectMeta))
	if missing(err) {
		return nil
	}
	return s.fault(patchbay.SettingsUnwritable, on("", "secrets", "delete"), err)
}

// RestoreSettings implements [driver.Source].
func (s *secretSource) RestoreSettings(ctx context.Context, c driver.Change, before driver.Snapshot) error {
	var was map[string]keptSecret
	if err := json.Unmarshal([]byte(before.Content.Reveal()), &was); err != nil {
		return patchbay.Errorf(patchbay.SettingsUnreadable, "what was kept of %s from before the change can't be read", s.id.Name())
	}
	for try := 0; ; try++ {
		err := s.restore(ctx, c, was)
		if patchbay.CodeOf(err) != patchbay.SettingsChanged || try == tries {
			return err
		}
	}
}

func (s *secretSource) restore(ctx context.Context, c driver.Change, was map[string]keptSecret) error {
	secret, err := s.get(ctx, c)
	switch patchbay.CodeOf(err) {
	case "":
	case patchbay.NotOurs, patchbay.SourceNotFound:
		return nil // nothing of this connection's is there
	default:
		return err
	}
	old, had := was[azureName(c.Name)]
	if !had || old.Labels[connectionLabel] != c.Mark.UID {
		return s.take(ctx, secret, c.Mark.UID)
	}
	if secret == nil && len(c.Set) > 0 {
		return nil // somebody has removed it, which stays so
	}
	data := map[string][]byte{}
	for key, value := range old.Data {
		// A key that somebody has by now is theirs.
		if secret == nil || !slices.Contains(keys(secret, manager(c.Mark.UID), false), key) {
			data[key] = value
		}
	}
	labels := map[string]string{connectionLabel: old.Labels[connectionLabel], managedLabel: old.Labels[managedLabel]}
	annotations := map[string]string{connectionAnnotation: old.Annotations[connectionAnnotation], generationAnnotation: old.Annotations[generationAnnotation]}
	_, err = s.applySecret(ctx, azureName(c.Name), c.Mark.UID, secret, keptSecret{labels, annotations, old.Type, data}, false)
	return err
}

// Owned implements [driver.Source]. Without a scope it is of all namespaces that
// Patchbay may look into.
func (s *secretSource) Owned(ctx context.Context) ([]driver.Owned, error) {
	var list *corev1.SecretList
	err := error(nil)
	ours := metav1.ListOptions{LabelSelector: connectionLabel}
	if s.everywhere {
		list, err = s.secretsIn("").List(ctx, ours)
	}
	if !s.everywhere || apierrors.IsForbidden(err) {
		list, err = s.secrets.List(ctx, ours)
	}
	if err != nil {
		return nil, s.fault(patchbay.SettingsUnreadable, on("", "secrets", "list"), err)
	}
	var owned []driver.Owned
	for _, one := range list.Items {
		m := markOf(&one)
		if !azureSecret.MatchString(one.Name) || !m.Connection.Equal(s.id.Linker(m.Connection.Name())) {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(one.Data)) {
			owned = append(owned, driver.Owned{Mark: m, Name: key})
		}
	}
	return owned, nil
}
