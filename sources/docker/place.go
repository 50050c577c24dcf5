package docker

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"patchbay.dev/patchbay"
)

// place is an application's container and what of ours is beside it.
type place struct {
	// current is whose place it is: the container that has the application's name,
	// or is about to have it again.
	current *container
	// staged are those that are to take its place, the one that counts last.
	staged []*sibling
	others []*sibling
	// unfinished are the renamings that a call had begun; the name belongs to the
	// container of that id.
	unfinished string
	// linked are other containers that know it by a link.
	linked []string
}

type sibling struct {
	label
	*container
}

// effective is the container whose settings count.
func (p *place) effective() *container {
	if len(p.staged) > 0 {
		return p.staged[len(p.staged)-1].container
	}
	return p.current
}

// with is one of these roles that names the current container; nil when there is none.
func (p *place) with(roles ...role) *sibling {
	for _, s := range p.others {
		if slices.Contains(roles, s.role) && s.other == short(p.current.ID) {
			return s
		}
	}
	return nil
}

// look finds out where things stand. It changes nothing. Without an application it
// is SourceNotFound, along with what of ours is there.
func (s *source) look(ctx context.Context) (*place, error) {
	for range 3 {
		p, err := s.lookOnce(ctx)
		if !errors.Is(err, errMoved) {
			return p, err
		}
	}
	return nil, patchbay.Errorf(patchbay.SettingsChanged, "the container %s is being changed by somebody else", s.name).AsTransient()
}

// errMoved: a container was listed, and is not there any more.
var errMoved = errors.New("moved")

func (s *source) lookOnce(ctx context.Context) (*place, error) {
	all, err := s.engine.list(ctx)
	if err != nil {
		return nil, err
	}
	p := &place{}
	for _, listed := range all {
		for _, name := range listed.Names {
			name = strings.TrimPrefix(name, "/")
			if parent, _, ok := strings.Cut(name, "/"); ok { // the parent's name for it, by a link
				if slices.Contains(listed.Names, "/"+s.name) {
					p.linked = append(p.linked, parent)
				}
				continue
			}
			l, is := parseLabel(name, s.name)
			if name != s.name && !is {
				continue
			}
			c, err := s.engine.inspect(ctx, listed.ID)
			if err != nil {
				return nil, err
			}
			if c == nil || c.Name != name {
				return nil, errMoved
			}
			if is {
				p.others = append(p.others, &sibling{l, c})
			} else {
				p.current = c
			}
		}
	}
	if p.current == nil {
		p.begun()
	}
	if p.current == nil {
		return p, patchbay.Errorf(patchbay.SourceNotFound, "there is no container %s at %s", s.name, s.engine.URL).
			WithFix("docker --host %s ps --all   (and register the source with the name that it has there)", s.engine.URL)
	}
	p.sort()
	s.grace.Store(int64(p.current.graceOf()))
	return p, nil
}

// begun finds the application while nobody has its name: between two renamings, at
// which a call has died.
func (p *place) begun() {
	for _, had := range p.others {
		for _, s := range p.others {
			if had.other != short(s.ID) {
				continue
			}
			switch {
			case (had.role == kept || had.role == idle || had.role == undone || had.role == undoneIdle) && s.role.staged() && s.other == short(had.ID):
				// s is about to be called what had was.
				p.current, p.unfinished = s.container, s.ID
			case (had.role == undone || had.role == undoneIdle) && (s.role == kept || s.role == idle):
				p.current, p.unfinished = s.container, s.ID
			default:
				continue
			}
			p.others = slices.DeleteFunc(p.others, func(o *sibling) bool { return o == s })
			return
		}
	}
}

// sort finds among the others those that are to take current's place.
func (p *place) sort() {
	networks := p.current.networks()
	p.others = slices.DeleteFunc(p.others, func(o *sibling) bool {
		// One that is not in all networks yet is not finished.
		if o.role.staged() && o.other == short(p.current.ID) && slices.Equal(o.networks(), networks) {
			p.staged = append(p.staged, o)
			return true
		}
		return false
	})
	slices.SortFunc(p.staged, func(a, b *sibling) int { return cmp.Compare(a.n, b.n) })
}

// settle ends what a call had begun that died.
func (s *source) settle(ctx context.Context, p *place) error {
	if p.unfinished == "" {
		return nil
	}
	if err := s.engine.rename(ctx, p.unfinished, s.name); err != nil {
		return err
	}
	p.unfinished, p.current.Name = "", s.name
	return nil
}

// clear removes what nothing will come back to: those that were to take the place of
// a container that is not the application's any more, unfinished ones, and staged
// ones when they don't count any more.
func (s *source) clear(ctx context.Context, p *place, staged bool) error {
	gone := func(o *sibling) bool { return o.role.staged() }
	for _, o := range p.others {
		if gone(o) {
			if err := s.engine.remove(ctx, o.ID); err != nil {
				return err
			}
		}
	}
	p.others = slices.DeleteFunc(p.others, gone)
	if !staged {
		return nil
	}
	for _, o := range p.staged {
		if err := s.engine.remove(ctx, o.ID); err != nil {
			return err
		}
	}
	p.staged = nil
	return nil
}
