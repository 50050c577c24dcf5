package hosts

import (
	"net/netip"
	"slices"
	"syscall"

	"patchbay.dev/patchbay"
)

// metadata are the addresses where clouds tell a machine who it is, and hand
// out credentials of it: no service of anybody's is there.
var metadata = []netip.Addr{
	netip.MustParseAddr("169.254.169.254"), // AWS, Azure, Google Cloud and others
	netip.MustParseAddr("fd00:ec2::254"),   // AWS
	netip.MustParseAddr("169.254.170.2"),   // tasks of ECS
	netip.MustParseAddr("169.254.170.23"),  // pods of EKS
	netip.MustParseAddr("fd00:ec2::23"),
	netip.MustParseAddr("168.63.129.16"),   // Azure's wire server
	netip.MustParseAddr("100.100.100.200"), // Alibaba Cloud
}

// RefuseMetadata is a [net.Dialer]'s Control that connects to no metadata
// service of a cloud. It sees addresses after names are resolved, so a name
// that leads there is refused too.
func RefuseMetadata(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err == nil && slices.Contains(metadata, at.Addr().Unmap().WithZone("")) {
		return patchbay.Errorf(patchbay.InvalidArgument, "%s is a cloud's metadata service, and no connection is made to it", at.Addr())
	}
	return nil
}
