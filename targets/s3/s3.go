// Package s3 administers S3-compatible object storage as targets: the Versity S3 Gateway
// (versitygw) of version 1.8 on, and MinIO.
//
// S3 itself has no users. Who makes them is the product's own affair, and a server says
// which one it is ([detecting]); what they may do is statements in S3's own form. A login
// is a user whose access key id is the login's name. On the gateway its statements are in
// the policy of its one bucket, which is everybody's to write: what others have in it
// stays ([document]). On MinIO they are in a policy of the user's own ([minioTarget]).
//
// # Marks
//
// Statements have a Sid, which is the mark ([mark.sid]). A user of the gateway has no place
// for a comment: whose it is follows from its secret too, whose end is made of the rest and
// of the mark ([mark.owns]) (decision 0040).
//
// # Access
//
// Access is to all objects of a bucket, or to those below prefixes (option prefixes).
//
//	reader  lists and gets objects
//	writer  and puts and deletes them
//	owner   and reads and deletes old versions, and sets the bucket's versioning,
//	        lifecycle, tags and notifications (and CORS and website on the gateway)
//
// Nobody of ours may change the policy, the ACL or the ownership of a bucket, or remove
// the bucket.
package s3

import (
	"context"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// Driver serves S3-compatible object storage.
func Driver() driver.TargetDriver {
	return driver.TargetDriver{
		Driver: description, Kind: "s3", Children: []string{"buckets"},
		Open: open, Probe: tryLogin,
	}
}

// target is one server, and administers it where it is the Versity S3 Gateway.
type target struct {
	config
	s3    *client // as the administrator
	admin *client // the admin API, which may be elsewhere
}

func open(_ context.Context, c driver.Config) (driver.Target, error) {
	cfg, err := parseConfig(c)
	if err != nil {
		return nil, err
	}
	if err := driver.CheckAdmin(description, c.Admin); err != nil {
		return nil, err
	}
	who := keys{id: c.Admin["accessKeyId"].Reveal(), secret: c.Admin["secretAccessKey"]}
	if strings.Contains(who.id, "/") {
		return nil, patchbay.Errorf(patchbay.InvalidArgument, "the administrator's access key id has a slash, which a signature can't have")
	}
	t := &target{config: cfg}
	if t.s3, err = newClient(cfg, cfg.endpoint, "", c.Dialer, who); err != nil {
		return nil, err
	}
	t.admin = t.s3
	if cfg.admin != cfg.endpoint {
		if t.admin, err = newClient(cfg, cfg.admin, "", c.Dialer, who); err != nil {
			return nil, err
		}
	}
	switch cfg.api {
	case apiMinIO:
		return minioTarget{t}, nil
	case apiVersity:
		return t, nil
	}
	return &detecting{target: t}, nil
}

// Close implements [driver.Target].
func (t *target) Close() error {
	t.s3.close()
	t.admin.close()
	return nil
}
