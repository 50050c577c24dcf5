package s3

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// What each access may do, to objects and to their bucket. Each has what the one before
// it has. Nothing here may change whose the bucket is, who may do what to it, or that it
// is there.
var (
	readObjects  = words{"s3:GetObject", "s3:GetObjectAttributes", "s3:GetObjectTagging"}
	writeObjects = words{"s3:PutObject", "s3:DeleteObject", "s3:PutObjectTagging", "s3:DeleteObjectTagging", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"}
	ownObjects   = words{"s3:GetObjectVersion", "s3:GetObjectVersionAttributes", "s3:GetObjectVersionTagging", "s3:DeleteObjectVersion", "s3:PutObjectVersionTagging", "s3:DeleteObjectVersionTagging"}
	readBucket   = words{"s3:ListBucket", "s3:GetBucketLocation"}
	writeBucket  = words{"s3:ListBucketMultipartUploads"}
	ownBucket    = words{
		"s3:ListBucketVersions", "s3:GetBucketVersioning", "s3:PutBucketVersioning", "s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration",
		"s3:GetBucketCORS", "s3:PutBucketCORS", "s3:GetBucketTagging", "s3:PutBucketTagging", "s3:GetBucketNotification", "s3:PutBucketNotification",
		"s3:GetBucketWebsite", "s3:PutBucketWebsite", "s3:DeleteBucketWebsite",
	}
)

// Bounds on what a login's statements hold.
const (
	maxPrefixes = 16
	maxPrefix   = 512 // bytes
	maxSources  = 32
)

// ownMinIO is what MinIO has of ownBucket.
var ownMinIO = words{
	"s3:ListBucketVersions", "s3:GetBucketVersioning", "s3:PutBucketVersioning", "s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration",
	"s3:GetBucketTagging", "s3:PutBucketTagging", "s3:GetBucketNotification", "s3:PutBucketNotification",
}

// scope is what a login may do, and where.
type scope struct {
	access   patchbay.Access
	prefixes []string // none: all objects
	sources  []netip.Prefix
	minio    bool // its statements are of a policy of MinIO's, which is the user's own
}

// scopeOf checks what a request asks for.
func scopeOf(access patchbay.Access, options map[string]string, sources []netip.Prefix) (scope, error) {
	s := scope{access: access, sources: sources}
	for name := range options {
		if name != optionPrefixes {
			return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "there is no option %.40q; there is %s", name, optionPrefixes)
		}
	}
	if !slices.Contains([]patchbay.Access{patchbay.Reader, patchbay.Writer, patchbay.Owner}, access) {
		return scope{}, patchbay.Errorf(patchbay.NotSupported, "there is no access %.40q; there are reader, writer and owner", access)
	}
	for prefix := range strings.SplitSeq(options[optionPrefixes], ",") {
		prefix = strings.TrimSpace(prefix)
		if prefix == "" || slices.Contains(s.prefixes, prefix) {
			continue
		}
		switch {
		case len(prefix) > maxPrefix, len(s.prefixes) == maxPrefixes:
			return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "the prefixes are more than %d, or one is longer than %d bytes", maxPrefixes, maxPrefix)
		case strings.ContainsAny(prefix, "*?$\\") || !utf8.ValidString(prefix) || strings.ContainsFunc(prefix, func(r rune) bool { return r < ' ' || r == 0x7f }):
			return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "the prefix %.60q has a character that a policy would read otherwise: * ? $ \\, or one that is not printed", prefix)
		case strings.HasPrefix(prefix, "/") || strings.Contains(prefix, "//") || strings.HasPrefix(prefix, "./") || strings.Contains(prefix, "/./") || strings.HasPrefix(prefix, "../") || strings.Contains(prefix, "/../"):
			return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "the prefix %.60q has a part that is empty, . or ..: servers that keep objects in files read it as another", prefix)
		}
		s.prefixes = append(s.prefixes, prefix)
	}
	slices.Sort(s.prefixes)
	if access == patchbay.Owner && len(s.prefixes) > 0 {
		return scope{}, patchbay.Errorf(patchbay.InvalidArgument, "an owner is of the whole bucket: its settings are for all objects").
			WithFix("leave out the option %s, or ask for the access writer", optionPrefixes)
	}
	if len(sources) > maxSources {
		return scope{}, patchbay.Errorf(patchbay.NotSupported, "a login is bound to %d addresses at most", maxSources)
	}
	return s, nil
}

// checkRequest checks everything of a request that can be checked without the server.
func (c config) checkRequest(r driver.LoginRequest) (m mark, bucket string, want []statement, err error) {
	if m, err = markOf(r); err != nil {
		return mark{}, "", nil, err
	}
	switch {
	case r.Auth != patchbay.AuthSecret:
		return mark{}, "", nil, patchbay.Errorf(patchbay.NotSupported, "a login signs with a secret access key, not with %.40q", r.Auth)
	case len(r.Roles) > 0:
		return mark{}, "", nil, patchbay.Errorf(patchbay.NotSupported, "a login has statements of its own and no roles: use access and the option %s", optionPrefixes)
	}
	if bucket, err = bucketOf(r.Sub); err != nil {
		return mark{}, "", nil, err
	}
	s, err := scopeOf(r.Access, r.Options, r.Sources)
	if err != nil {
		return mark{}, "", nil, err
	}
	s.minio = c.api == apiMinIO
	return m, bucket, s.statements(m, bucket), nil
}

// statements are what the policy of the bucket has to have for the login.
func (s scope) statements(m mark, bucket string) []statement {
	objects, about := slices.Clone(readObjects), slices.Clone(readBucket)
	if s.access != patchbay.Reader {
		objects, about = append(objects, writeObjects...), append(about, writeBucket...)
	}
	if s.access == patchbay.Owner {
		settings := ownBucket
		if s.minio {
			settings = ownMinIO
		}
		objects, about = append(objects, ownObjects...), append(about, settings...)
	}
	from := map[string]map[string]words{}
	if len(s.sources) > 0 {
		var all words
		for _, p := range s.sources {
			all = append(all, p.Masked().String())
		}
		slices.Sort(all)
		from["IpAddress"] = map[string]words{"aws:SourceIp": all}
	}
	one := func(number int, actions, resources words, condition map[string]map[string]words) statement {
		who := principals{m.login}
		if s.minio {
			who = nil
		}
		return statement{Sid: m.sid(number), Effect: "Allow", Principal: who, Action: actions, Resource: resources, Condition: condition}
	}
	if len(s.prefixes) == 0 {
		// One statement is smaller than two, and an action on what it is not for says nothing.
		return []statement{one(1, append(objects, about...), words{arn + bucket, arn + bucket + "/*"}, from)}
	}
	// What is listed is bound to the prefixes by a condition, which nothing else about the
	// bucket can have. Uploads can't be listed below a prefix alone.
	var below, begins words
	for _, prefix := range s.prefixes {
		below = append(below, arn+bucket+"/"+prefix+"*")
		begins = append(begins, prefix+"*")
	}
	listed := maps.Clone(from)
	listed["StringLike"] = map[string]words{"s3:prefix": begins}
	return []statement{
		one(1, objects, below, from),
		one(2, words{"s3:ListBucket"}, words{arn + bucket}, listed),
		one(3, words{"s3:GetBucketLocation"}, words{arn + bucket}, from),
	}
}

// differs says what a policy's statements of the login lack of those that it should have,
// and what they give beyond.
func differs(m mark, want []statement, d document) (missing, excess []string) {
	wanted, have := map[string]bool{}, map[string]bool{}
	for _, s := range want {
		maps.Copy(wanted, s.rights())
	}
	for _, text := range d.statements {
		s, ok := parseStatement(text)
		ours := m.marks(s.Sid)
		switch {
		case ours && !ok:
			excess = append(excess, "something that can't be compared in the statement "+driver.Quoted(s.Sid))
		case ours:
			maps.Copy(have, s.rights())
		case slices.Contains(s.Principal, m.login):
			excess = append(excess, "what the statement "+driver.Quoted(s.Sid)+" of somebody else's says of it")
		}
	}
	for right := range wanted {
		if !have[right] {
			missing = append(missing, shown(right, m))
		}
	}
	for right := range have {
		if !wanted[right] {
			excess = append(excess, driver.Quoted(shown(right, m)))
		}
	}
	slices.Sort(missing)
	slices.Sort(excess)
	return missing, excess
}

func shown(right string, m mark) string { return strings.TrimSuffix(right, asPrincipal+m.login) }

// raw are statements as a document has them.
func raw(all []statement) ([]json.RawMessage, error) {
	texts := make([]json.RawMessage, len(all))
	for i, s := range all {
		text, err := asJSON(s)
		if err != nil {
			return nil, fmt.Errorf("make a statement: %w", err)
		}
		texts[i] = text
	}
	return texts, nil
}
