package cli

import (
	"context"
	"fmt"
	"strconv"

	"patchbay.dev/patchbay"
)

// askKind lets the person choose among the targets that there are.
func (a *app) askKind(ctx context.Context, f *connectFlags) (targetKind, error) {
	all := targetKinds(a.shown())
	if f.targetID != "" {
		id, err := patchbay.ParseID(f.targetID)
		if err != nil {
			return targetKind{}, err
		}
		for _, k := range all {
			if k.fits(id) || k.serves(id.Type()) {
				return k, nil
			}
		}
		return targetKind{}, patchbay.Errorf(patchbay.TargetTypeNotSupported, "no target kind has ids of type %s", id.Type())
	}
	inventory, err := a.resources(ctx)
	if err != nil {
		return targetKind{}, err
	}
	type found struct {
		kind targetKind
		id   patchbay.ID
	}
	var choices []choice
	var values []found
	for _, r := range inventory {
		asked := map[string]bool{} // a kind under its first word
		for _, k := range all {
			if asked[k.Name] || !a.serves(k)(r) {
				continue
			}
			asked[k.Name] = true
			choices = append(choices, choice{fmt.Sprintf("%s  (%s, %s)", r.ID.Name(), k.Title, r.ID.ResourceGroup()), strconv.Itoa(len(values))})
			values = append(values, found{k, r.ID})
		}
	}
	if len(choices) == 0 {
		return targetKind{}, patchbay.Errorf(patchbay.ResourceNotFound, "no target is registered yet").
			WithFix("patchbay resource add --help")
	}
	chosen, err := a.asker.choose(ctx, "Which target?", choices)
	if err != nil {
		return targetKind{}, err
	}
	at, err := strconv.Atoi(chosen)
	if err != nil {
		return targetKind{}, err
	}
	f.targetID, f.guided = string(values[at].id), true
	return values[at].kind, nil
}

// askMissing asks for what create needs and was not given.
func (a *app) askMissing(ctx context.Context, k targetKind, f *connectFlags) error {
	if !f.ref.named() {
		sources, err := a.sources(ctx)
		if err != nil {
			return err
		}
		if len(sources) == 0 {
			return patchbay.Errorf(patchbay.ResourceNotFound, "no source is registered yet").
				WithFix("patchbay resource add --help")
		}
		var choices []choice
		for _, id := range sources {
			choices = append(choices, choice{id.Name() + "  (" + id.ResourceGroup() + ")", string(id)})
		}
		f.guided = true
		if f.ref.sourceID, err = a.asker.choose(ctx, "Which source, the application to connect?", choices); err != nil {
			return err
		}
	}
	if f.targetID == "" && f.targetName == "" && f.server == "" {
		inventory, err := a.resources(ctx)
		if err != nil {
			return err
		}
		var choices []choice
		for _, r := range inventory {
			if a.serves(k)(r) {
				choices = append(choices, choice{r.ID.Name() + "  (" + r.ID.ResourceGroup() + ")", string(r.ID)})
			}
		}
		if len(choices) == 0 {
			return patchbay.Errorf(patchbay.ResourceNotFound, "no %s target is registered yet", k.Title).
				WithFix("patchbay resource add --help")
		}
		f.guided = true
		if f.targetID, err = a.asker.choose(ctx, "Which "+k.Title+" target?", choices); err != nil {
			return err
		}
	}
	if f.access == "" && f.guided {
		var err error
		f.access, err = a.asker.choose(ctx, "What may the application do there?", []choice{
			{"writer: read and write what is there", "writer"},
			{"reader: only read", "reader"},
			{"owner: also make and change the objects themselves", "owner"},
		})
		if err != nil {
			return err
		}
	}
	if f.clientType == "" {
		var choices []choice
		for _, c := range words(k.Clients) {
			choices = append(choices, choice{c, c})
		}
		var err error
		f.clientType, err = a.asker.choose(ctx, "What reads the settings?", choices)
		return err
	}
	return nil
}
