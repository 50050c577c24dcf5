package cli

import (
	"context"
	"fmt"
	"strings"

	"patchbay.dev/patchbay"
)

// askKind lets the person choose among the targets that there are.
func (a *app) askKind(ctx context.Context, f *connectFlags) (targetKind, error) {
	if f.targetID != "" {
		id, err := patchbay.ParseID(f.targetID)
		if err != nil {
			return targetKind{}, err
		}
		for _, k := range targetKinds {
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
	var choices []choice
	kinds := map[string]targetKind{}
	for _, r := range inventory {
		for _, k := range kindsOf(r.ID.Type()) {
			key := k.name + " " + string(r.ID)
			if _, again := kinds[string(r.ID)]; again && len(k.types) == 1 {
				continue // postgres-flexible is postgres under another name
			}
			kinds[key], kinds[string(r.ID)] = k, k
			choices = append(choices, choice{fmt.Sprintf("%s  (%s, %s)", r.ID.Name(), k.product, r.ID.ResourceGroup()), key})
		}
	}
	if len(choices) == 0 {
		return targetKind{}, patchbay.Errorf(patchbay.ResourceNotFound, "no target is registered yet").
			WithFix("patchbay resource add --help")
	}
	key, err := a.asker.choose(ctx, "Which target?", choices)
	if err != nil {
		return targetKind{}, err
	}
	k := kinds[key]
	f.targetID, f.guided = strings.TrimPrefix(key, k.name+" "), true
	return k, nil
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
				WithFix("patchbay resource add envfile NAME --path FILE")
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
			if k.serves(r.ID.Type()) {
				choices = append(choices, choice{r.ID.Name() + "  (" + r.ID.ResourceGroup() + ")", string(r.ID)})
			}
		}
		if len(choices) == 0 {
			return patchbay.Errorf(patchbay.ResourceNotFound, "no %s target is registered yet", k.product).
				WithFix("patchbay resource add --help")
		}
		f.guided = true
		if f.targetID, err = a.asker.choose(ctx, "Which "+k.product+" target?", choices); err != nil {
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
		for _, c := range k.client {
			choices = append(choices, choice{c, c})
		}
		var err error
		f.clientType, err = a.asker.choose(ctx, "What reads the settings?", choices)
		return err
	}
	return nil
}
