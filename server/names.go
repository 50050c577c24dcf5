package server

import (
	"slices"
	"strconv"
	"strings"
	"sync"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/arm"
	"patchbay.dev/patchbay/settings"
)

// confluent is what clients call Confluent Cloud, which has no ARM type.
const confluent = "CONFLUENT.CLOUD"

// configurationNames lists the names of the settings that connections write:
// one item for each kind of target, client type and way to sign in.
func (s *Server) configurationNames(x *exchange) error {
	f, err := arm.ParseFilter(x.query("$filter"), "TargetService", "AuthType", "ClientType")
	if err != nil {
		return err
	}
	// az names the last part of a storage account's services, which is the same
	// for all.
	if want, ok := f["TargetService"]; ok {
		f["TargetService"] = strings.TrimSuffix(strings.ToUpper(want), "/DEFAULT")
	}
	after, limit, err := x.page()
	if err != nil {
		return err
	}
	at := 0
	if after != "" {
		if at, err = strconv.Atoi(after); err != nil || at < 0 {
			return badSkip()
		}
	}
	var fitting []arm.NamedSettings
	for _, n := range namedSettings() {
		if f.Matches("TargetService", n.Target) && f.Matches("AuthType", string(n.Auth)) && f.Matches("ClientType", string(n.Client)) {
			fitting = append(fitting, n)
		}
	}
	fitting = fitting[min(at, len(fitting)):]
	next := ""
	if len(fitting) > limit {
		fitting, next = fitting[:limit], strconv.Itoa(at+limit)
	}
	items := make([]any, len(fitting))
	for i, n := range fitting {
		items[i] = arm.ConfigurationName(x.version, n)
	}
	return x.list(items, next)
}

// namedSettings is the settings table as the wire lists it. The table does not
// change while the program runs.
var namedSettings = sync.OnceValue(func() []arm.NamedSettings {
	var all []arm.NamedSettings
	for _, k := range settings.Kinds() {
		for _, t := range k.Types() {
			for _, auth := range k.Auths {
				for _, client := range k.Clients {
					n, ok := named(k, t, client, auth)
					if !ok {
						continue
					}
					all = append(all, n)
					if auth == patchbay.AuthSecret && settings.HasAccessKey(k.Name) {
						n.Auth = patchbay.AuthAccessKey
						all = append(all, n)
					}
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b arm.NamedSettings) int { return strings.Compare(a.Target, b.Target) })
	return all
})

func named(k patchbay.TargetKind, typ string, client patchbay.ClientType, auth patchbay.AuthType) (arm.NamedSettings, bool) {
	names, err := settings.Names(k.Name, client, auth, "")
	if err != nil {
		return arm.NamedSettings{}, false // not every client signs in every way
	}
	n := arm.NamedSettings{Target: strings.ToUpper(typ), Client: client, Auth: auth}
	if !strings.Contains(typ, "/") && slices.Contains(k.Words, "confluent-cloud") {
		n.Target = confluent
	}
	for _, s := range names {
		n.Names = append(n.Names, arm.SettingName{Name: s.Name, Description: s.Description, Required: !s.Optional})
	}
	return n, true
}
