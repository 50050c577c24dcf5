package pghba

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
	"patchbay.dev/patchbay/hosts"
	"patchbay.dev/patchbay/internal/failpoint"
)

// includes are known since this version, and the server names the files that it reads.
const includes = 16

const (
	maxFile = 8 << 20 // bytes of pg_hba.conf, and of the file of our own
	temp    = ".patchbay-hba.tmp"
	backFor = 10 * time.Second // to put back what was
)

// state is what there is, under the lock: the files, and what the server reads in them.
type state struct {
	n        *network
	admin    *admin
	able     abilities
	path     string // of pg_hba.conf on the host
	ownPath  string // of the file of our own there
	mode     fs.FileMode
	conf     conf
	confText string
	ownText  string // of the file of our own
	ownThere bool
	text     string // what is ours of both
	document document
	entries  []entry
	groups   []string // roles that the login in question is a member of
}

// ownFile is the name of our file beside a pg_hba.conf.
func ownFile(name string) string { return strings.TrimSuffix(name, ".conf") + ".patchbay.conf" }

// locked reads what there is, for what is asked of that login, and lets nobody else of
// Patchbay's write meanwhile.
func (n *network) locked(ctx context.Context, login string, f func(*state) error) error {
	if err := ctx.Err(); err != nil {
		return n.server.Lost(ctx, err)
	}
	done, err := turn(ctx, n.server)
	if err != nil {
		return err
	}
	defer done()
	s := &state{n: n}
	if s.admin, err = signIn(ctx, n.server); err != nil {
		return err
	}
	defer s.admin.close()
	if s.able, err = s.admin.able(ctx); err != nil {
		return err
	}
	if s.path = n.path; s.path == "" {
		s.path = s.able.path
	}
	if err := checkPath(s.path); err != nil {
		return err
	}
	s.ownPath = path.Join(path.Dir(s.path), ownFile(path.Base(s.path)))
	unlock, err := n.host.Lock(ctx, s.path)
	if err != nil {
		return s.missing(fileError("lock the directory of", s.path, err))
	}
	defer unlock()
	if err := s.read(ctx); err != nil {
		return err
	}
	if s.entries, s.groups, err = s.admin.rules(ctx, s.able, login); err != nil {
		return err
	}
	return f(s)
}

// read reads the files.
func (s *state) read(ctx context.Context) error {
	file, err := s.n.host.ReadFile(ctx, s.path, maxFile)
	if err != nil {
		return s.missing(fileError("read", s.path, err))
	}
	s.mode, s.confText = file.Mode, string(file.Content)
	if s.conf, err = parseConf(s.confText); err != nil {
		return err
	}
	s.text, s.ownText, s.ownThere = s.conf.block, "", false
	if s.able.version >= includes {
		own, err := s.n.host.ReadFile(ctx, s.ownPath, maxFile)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fileError("read", s.ownPath, err)
		default:
			s.ownText, s.ownThere = string(own.Content), true
			if s.ownText != "" && !strings.HasPrefix(s.ownText, heading) {
				return patchbay.Errorf(patchbay.NotOurs, "%s is there and does not begin as what Patchbay writes", s.ownPath).
					WithFix("look at it, and move it away: mv %s %s.before", shell(s.ownPath), shell(s.ownPath))
			}
			s.text += s.ownText
		}
	}
	s.document = parse(s.text, s.able.version)
	return nil
}

// missing says of a file that is not there that it may be on another machine.
func (s *state) missing(err error) error {
	if e := (*patchbay.Error)(nil); errors.As(err, &e) && e.Code == patchbay.NotSupported && s.n.path == "" {
		return e.WithFix("register the guard with the host that PostgreSQL runs on (--host), or with where the file is there (--path)")
	}
	return err
}

// ours reports whether an entry is of what we have written.
func (s *state) ours(e entry) bool {
	if s.able.version >= includes && e.file == path.Join(path.Dir(s.able.path), path.Base(s.ownPath)) {
		return true
	}
	return e.file == s.able.path && e.number >= s.conf.first && e.number <= s.conf.last && s.conf.first > 0
}

// brokenOfOthers is an entry that the server can't read and that is not ours; nil when
// there is none. Of a line that it reads, and that can't match, it says so too.
func (s *state) brokenOfOthers() *entry {
	for i := range s.entries {
		if e := &s.entries[i]; e.broken != "" && e.kind == "" && !s.ours(*e) {
			return e
		}
	}
	return nil
}

// block is what stands in pg_hba.conf for the document.
func (s *state) block(d document) string {
	if len(d) > 0 && s.able.version >= includes {
		return "include_if_exists " + quoted(path.Base(s.ownPath)) + "\n"
	}
	return d.text(s.able.version)
}

// edit is a file that gets another content; nil: none.
type edit struct {
	name, path string // the name of its failpoints
	from, to   *string
}

// edits are what makes the files hold the document. Whatever is done of them, a server
// that starts finds rules that it can read: a file that is not there is not included.
func (s *state) edits(d document) []edit {
	at := s.conf.at
	if at < 0 || slices.ContainsFunc(d, s.wider) {
		rejects := map[int]bool{}
		for _, e := range s.entries {
			if e.file == s.able.path && e.method == "reject" {
				rejects[e.number] = true
			}
		}
		at = s.conf.place(rejects)
	}
	var all []edit
	change := func(name, path, from, to string, there, wanted bool) {
		if from == to && there == wanted {
			return
		}
		e := edit{name: name, path: path}
		if there {
			e.from = &from
		}
		if wanted {
			e.to = &to
		}
		all = append(all, e)
	}
	if s.able.version >= includes {
		change("own", s.ownPath, s.ownText, d.text(s.able.version), s.ownThere, len(d) > 0)
	}
	change("conf", s.path, s.confText, s.conf.with(s.block(d), at), true, true)
	return all
}

// write makes the files hold the document, and the server go by them; or leaves both as
// they were. The lock is held.
func (s *state) write(ctx context.Context, d document) error {
	if e := s.brokenOfOthers(); e != nil {
		return s.broken(e)
	}
	for _, path := range []string{s.path, s.ownPath} { // a link leads to another directory
		_ = s.n.host.Sweep(ctx, path, temp) // who may not write is told below
	}
	var undo []edit
	for _, e := range s.edits(d) {
		err := s.apply(ctx, e)
		if err == nil {
			undo = append(undo, edit{e.name, e.path, e.to, e.from})
			continue
		}
		return s.back(ctx, undo, err)
	}
	if err := s.understood(ctx, d); err != nil {
		return s.back(ctx, undo, err)
	}
	if err := failpoint.Hit(ctx, "pghba/reload/before"); err != nil {
		return err
	}
	if err := reload(ctx, s.n.server); err != nil {
		return err // it is right, and read with the next reload: the same call again
	}
	return failpoint.Hit(ctx, "pghba/reload/after")
}

// broken says of a line that nothing is changed before it is mended.
func (s *state) broken(e *entry) error {
	return patchbay.Errorf(patchbay.Conflict, "line %d of %s can't be read by the server, which goes by the rules that it had before; nothing was changed", e.number, driver.Quoted(e.file)).
		WithFix("mend that line; what the server says of it: SELECT file_name, line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL").
		WithSaid(e.broken)
}

// apply makes one edit.
func (s *state) apply(ctx context.Context, e edit) error {
	if err := failpoint.Hit(ctx, "pghba/"+e.name+"/before"); err != nil {
		return err
	}
	sum := ""
	if e.from != nil {
		sum = hosts.Sum([]byte(*e.from))
	}
	var err error
	if e.to == nil {
		err = s.n.host.RemoveFile(ctx, e.path, sum)
	} else {
		err = s.n.host.ReplaceFile(ctx, hosts.Replacement{
			Path: e.path, Content: []byte(*e.to), Temp: temp, Mode: s.mode, IfSum: sum,
			Ready: func(ctx context.Context) error { return failpoint.Hit(ctx, "pghba/"+e.name+"/before-rename") },
		})
	}
	if err != nil {
		return fileError("write", e.path, err)
	}
	return failpoint.Hit(ctx, "pghba/"+e.name+"/after")
}

// understood asks the server what it reads now.
func (s *state) understood(ctx context.Context, d document) error {
	if err := s.read(ctx); err != nil {
		return err
	}
	var err error
	if s.entries, _, err = s.admin.rules(ctx, s.able, ""); err != nil {
		return err
	}
	var read []entry
	for _, e := range s.entries {
		if e.broken != "" && e.kind == "" {
			whose := "line"
			if s.ours(e) {
				whose = "line of Patchbay's"
			}
			return patchbay.Errorf(patchbay.Conflict, "the server can't read %s %d of %s after the change", whose, e.number, driver.Quoted(e.file)).
				WithFix("see that the user of the server may read %s and %s; if it has to have another owner, make it beforehand: install -o postgres -g postgres -m 0640 /dev/null %s", s.path, s.ownPath, shell(s.ownPath)).
				WithSaid(e.broken)
		}
		if s.ours(e) {
			read = append(read, e)
		}
	}
	if !slices.EqualFunc(read, d.entries(s.able.version), entry.equal) {
		return patchbay.Errorf(patchbay.NotSupported, "what was written to %s is not what %s reads in %s: they are not the same file", s.path, s.n.server.Address(), driver.Quoted(s.able.path)).
			WithFix("register the guard with the host that PostgreSQL runs on (--host), or with where the file is there (--path)")
	}
	return nil
}

// back puts back what was, and says why. The server was not told to read anything.
func (s *state) back(ctx context.Context, undo []edit, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), backFor)
	defer cancel()
	slices.Reverse(undo)
	for _, e := range undo {
		if err := s.apply(ctx, e); err != nil {
			told := *patchbay.AsError(why)
			told.Message += fmt.Sprintf("; and %s could not be put back as it was: %s", e.path, patchbay.AsError(err).Message)
			told.Transient = false
			return &told
		}
	}
	if len(undo) > 0 {
		told := *patchbay.AsError(why)
		told.Message += "; the files are as they were"
		return &told
	}
	return why
}

func checkPath(name string) error {
	if !path.IsAbs(name) || path.Clean(name) != name || name == "/" || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }) {
		return invalid("the path %.100q of pg_hba.conf is not an absolute one without . and .. and control characters", name)
	}
	return nil
}

// fileError says what keeps a file from being read or written.
func fileError(doing, name string, err error) error {
	if known := (*patchbay.Error)(nil); errors.As(err, &known) {
		return known // of the host
	}
	frozen := (*hosts.FrozenError)(nil)
	forbidden := func(why string) *patchbay.Error {
		return patchbay.Errorf(patchbay.Forbidden, "Patchbay may not %s %s: %s", doing, name, why)
	}
	const asOwner = "let Patchbay work there as the owner of the file: run it as that user or as root; or register the guard with a host whose become is that user (patchbay host add … --become postgres), and patchbay host check says which lines of sudo that needs"
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return patchbay.Errorf(patchbay.Timeout, "no time was left to %s %s", doing, name).AsTransient()
	case errors.Is(err, context.Canceled):
		return patchbay.Errorf(patchbay.Canceled, "stopped before %s was changed", name).AsTransient()
	case errors.Is(err, hosts.ErrChanged):
		return patchbay.Errorf(patchbay.Conflict, "somebody else changed %s meanwhile", name).
			WithFix("try again: the rule is then made in what is there now").AsTransient()
	case errors.Is(err, hosts.ErrPrivate):
		return invalid("%s leads to what is Patchbay's own", name)
	case errors.As(err, &frozen):
		return forbidden(err.Error()).WithFix("chattr -%s %s", frozen.Attribute, shell(frozen.Path))
	case errors.Is(err, hosts.ErrReadOnly):
		return forbidden("nobody may, by its mode").WithFix("chmod u+w %s", shell(name))
	case errors.Is(err, hosts.ErrOwner):
		return forbidden("its owner, mode or attributes would not stay").WithFix(asOwner)
	case errors.Is(err, syscall.EROFS):
		return forbidden("it is on a file system that is mounted read-only").
			WithFix(`mount -o remount,rw "$(findmnt -nro TARGET -T %s)"`, shell(path.Dir(name)))
	case errors.Is(err, syscall.EBUSY):
		return forbidden("it is a mount of its own").WithFix("mount the directory that it is in")
	case errors.Is(err, fs.ErrPermission):
		return forbidden("that is not its right").WithFix(asOwner)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return patchbay.Errorf(patchbay.NotSupported, "there is no %s on the guard's host", name).
			WithFix("register the guard with where the file is there (--path)")
	case errors.Is(err, hosts.ErrIrregular), errors.Is(err, hosts.ErrTooLarge):
		return patchbay.Errorf(patchbay.NotSupported, "%s is no file that can be worked on: %w", name, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return patchbay.Errorf(patchbay.Conflict, "no space is left for %s", name).WithFix("df -h %s   (and free some)", shell(path.Dir(name)))
	}
	return patchbay.Errorf(patchbay.Internal, "%s can't be worked on: %w", name, err)
}

var plain = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

// shell is a path as a shell takes it.
func shell(path string) string {
	if plain.MatchString(path) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
