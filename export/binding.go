package export

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"regexp"

	"patchbay.dev/patchbay"
)

// entryName is what a file of a binding may be called.
var entryName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}$`)

// binding is a directory of the connection's name, which nobody but its owner
// reads.
func binding(c Connection) ([]byte, []string, error) {
	if !entryName.MatchString(c.Name) {
		return nil, nil, patchbay.Errorf(patchbay.InvalidArgument, "the connection name %q can't be a directory's", c.Name)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	put := func(h tar.Header, content string) error {
		h.Size, h.Format = int64(len(content)), tar.FormatPAX
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
		_, err := w.Write([]byte(content))
		return err
	}
	err := put(tar.Header{Typeflag: tar.TypeDir, Name: c.Name + "/", Mode: 0o700}, "")
	for _, s := range c.Set {
		if !entryName.MatchString(s.Name) {
			return nil, nil, refuse(s.Name, "is none that a file of a binding can have")
		}
		if err == nil {
			err = put(tar.Header{Typeflag: tar.TypeReg, Name: c.Name + "/" + s.Name, Mode: 0o600}, s.Value.Reveal())
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, nil, patchbay.Errorf(patchbay.Internal, "write the archive: %w", err)
	}
	return b.Bytes(), nil, nil
}

// service is a service instance that its user provides, as Cloud Foundry tells an
// application of one.
type service struct {
	Label        string            `json:"label"`
	Name         string            `json:"name"`
	Tags         []string          `json:"tags"`
	InstanceName string            `json:"instance_name"`
	BindingName  *string           `json:"binding_name"`
	Credentials  map[string]string `json:"credentials"`
	Drain        string            `json:"syslog_drain_url"`
	Mounts       []string          `json:"volume_mounts"`
}

const userProvided = "user-provided"

// vcap is one line of JSON.
func vcap(c Connection) ([]byte, []string, error) {
	s := service{Label: userProvided, Name: c.Name, InstanceName: c.Name, Tags: []string{}, Credentials: map[string]string{}, Mounts: []string{}}
	for _, set := range c.Set {
		s.Credentials[set.Name] = set.Value.Reveal()
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(map[string][]service{userProvided: {s}})
	return b.Bytes(), nil, err
}
