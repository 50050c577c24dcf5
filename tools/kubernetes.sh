#!/usr/bin/env bash
# A Kubernetes cluster's programs, those of its node, what enforces policies there, and
# what applies manifests as Flux does, for the tests (make test-kubernetes):
#
#   tools/kubernetes.sh build    builds what the cache lacks: ten minutes of both
#                                cores of a small machine
#   tools/kubernetes.sh cached   says whether they are in the cache
#
# Each prints the directory that they are in. They have modules of their own:
# tools/kubernetes, and below it containerd, kube-router and flux.
set -euo pipefail
cd "$(dirname "$0")/kubernetes"

# What is built is named by what it is built of.
built="${XDG_CACHE_HOME:-$HOME/.cache}/patchbay/kubernetes/$(cat main.go go.mod go.sum containerd/go.{mod,sum} kube-router/go.{mod,sum} flux/main.go flux/go.{mod,sum} | sha256sum | cut -c1-16)"
programs=(etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl)
node=(containerd containerd-shim-runc-v2 ctr)

# A cluster says its version to its clients, and refuses nodes that don't.
version() { go list -m -f '{{.Version}}' k8s.io/kubernetes; }

stamp() {
	local v package
	v=$(version)
	printf -- '-s -w'
	for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
		printf ' -X %s.gitVersion=%s -X %s.gitMajor=%s -X %s.gitMinor=%s' \
			"$package" "$v" "$package" "$(cut -d. -f1 <<<"${v#v}")" "$package" "$(cut -d. -f2 <<<"$v")"
	done
}

case "${1:-}" in
cached)
	[ -e "$built/complete" ] || exit 1
	;;
build)
	if [ ! -e "$built/complete" ]; then
		printf 'kubernetes: building the programs of a cluster, which are not in %s\n' "$built" >&2
		mkdir -p "$built"
		export CGO_ENABLED=0
		go build -p "${JOBS:-2}" -trimpath -buildvcs=false -ldflags "$(stamp)" -o "$built/kubernetes" .
		for program in "${programs[@]}"; do ln -sf kubernetes "$built/$program"; done
		for program in "${node[@]}"; do
			go -C containerd build -p "${JOBS:-2}" -trimpath -buildvcs=false -ldflags '-s -w' -o "$built/$program" \
				"github.com/containerd/containerd/v2/cmd/$program"
		done
		go -C kube-router build -p "${JOBS:-2}" -trimpath -buildvcs=false -ldflags '-s -w' -o "$built/kube-router" \
			github.com/cloudnativelabs/kube-router/v2/cmd/kube-router
		go -C flux build -p "${JOBS:-2}" -trimpath -buildvcs=false -ldflags '-s -w' -o "$built/flux" .
		: >"$built/complete"
	fi
	;;
*)
	printf 'usage: tools/kubernetes.sh build|cached\n' >&2
	exit 2
	;;
esac
printf '%s\n' "$built"
