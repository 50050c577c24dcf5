package mosquitto

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/driver"
)

// productName begins what a broker calls itself.
const productName = "mosquitto version "

// Inspect implements [driver.Target]. What it asks is what an administrator needs for
// everything else.
func (t *target) Inspect(ctx context.Context, sub string) (driver.TargetInfo, error) {
	if sub != "" {
		return driver.TargetInfo{}, patchbay.Errorf(patchbay.ChildMissing, "a Mosquitto broker has no %s: name the broker itself", driver.Quoted(sub))
	}
	var info driver.TargetInfo
	err := t.administer(ctx, "look at the broker", func(s *session) error {
		version, err := s.version()
		if err != nil {
			return err
		}
		answers, err := s.run(do("getDefaultACLAccess"), do("getAnonymousGroup"))
		if err != nil {
			return err
		}
		info = driver.TargetInfo{Version: "2", TLS: s.protocol, Values: t.values()}
		number, is := strings.CutPrefix(version, productName)
		switch {
		case is && old(number):
			return patchbay.Errorf(patchbay.NotSupported, "the broker is version %s, and Mosquitto %s is needed", driver.Quoted(number), oldest)
		case is:
			info.Version = driver.Quoted(number)
		default:
			info.Warnings = append(info.Warnings, fmt.Sprintf("the broker does not say its version: it publishes no %s (sys_interval), or the administrator may not subscribe to it", versionTopic))
		}
		if !t.secure() && !loopback(t.host) {
			info.Warnings = append(info.Warnings, "connections to the broker are not encrypted, and whoever is in between reads the passwords")
		}
		open, err := openly(answers)
		info.Warnings = append(info.Warnings, open...)
		return err
	})
	return info, err
}

// values are what clients need to reach it.
func (t *target) values() map[string]string {
	v := map[string]string{"host": t.host, "port": strconv.Itoa(int(t.port)), "ssl": strconv.FormatBool(t.secure())}
	for name, value := range map[string]string{"ca": t.tls.CA, "serverName": t.tls.ServerName, "websocket": t.websocket} {
		if value != "" {
			v[name] = value
		}
	}
	return v
}

// old reports whether a version is older than the oldest that there may be.
func old(version string) bool {
	major, _, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(major)
	return err == nil && n < 2
}

// openly warns of what the broker lets everybody do. Logins of ours are denied what they are
// not given, but for topics of a broker's own, which no wildcard is for.
func openly(answers []answer) ([]string, error) {
	for _, a := range answers {
		if a.Error != "" {
			return nil, a.refuse()
		}
	}
	var defaults struct {
		ACLs []acl `json:"acls"`
	}
	var anonymous struct {
		Group struct {
			Name string `json:"groupname"`
		} `json:"group"`
	}
	if json.Unmarshal(answers[0].Data, &defaults) != nil || json.Unmarshal(answers[1].Data, &anonymous) != nil {
		return nil, unreadable()
	}
	var list []string
	for _, a := range defaults.ACLs {
		what, matters := map[string]string{
			aclSend:     "publish to topics that begin with $, and to every topic where it has no role that denies it",
			"subscribe": "subscribe to every topic where it has no role that denies it",
		}[a.Type]
		if a.Allow && matters {
			list = append(list, fmt.Sprintf("by its defaults the broker lets everybody %s: mosquitto_ctrl dynsec setDefaultACLAccess %s deny", what, a.Type))
		}
	}
	if anonymous.Group.Name != "" {
		list = append(list, fmt.Sprintf("who signs in without a name, where a listener allows that, has the rights of the group %s", driver.Quoted(anonymous.Group.Name)))
	}
	return list, nil
}
