# What a developer of Patchbay does, one word each; `make` lists them. Everything
# works without CI, and .ci/run does nothing else.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.SUFFIXES:

# How much is built and tested at once. The tests start real servers: more than
# two packages at a time want more than a small machine has.
JOBS ?= 2
export JOBS
# How long each fuzz target runs, in seconds.
FUZZTIME ?= 30
# Arguments of the benchmark, as in make bench BENCH='-only engine'.
BENCH ?=

# As it is released. With a C compiler on the machine everything above net would be
# built twice: the tests' own programs need no library at all.
export CGO_ENABLED ?= 0

GO ?= go
LINT = $(GO) tool -modfile=tools/go.mod golangci-lint

# A checkout without git, or of somebody else's, still builds.
GIT = git -c safe.directory='*'
VERSION ?= $(shell $(GIT) describe --tags --match 'v*' --dirty 2>/dev/null || echo v0.0.0-$$($(GIT) describe --always --dirty --abbrev=12 2>/dev/null || echo unknown))
COMMIT ?= $(shell h=$$($(GIT) rev-parse HEAD 2>/dev/null) && printf %s "$$h" && { $(GIT) diff --quiet HEAD || printf %s -dirty; })
STAMP = patchbay.dev/patchbay/internal/version
# The time of the commit, so that an archive's bytes don't depend on the day.
export SOURCE_DATE_EPOCH ?= $(shell $(GIT) log -1 --format=%ct 2>/dev/null || echo 0)

GOFILES = find . -name '*.go' -not -path '*/node_modules/*' -not -path '*/testdata/*'

##@ Every day

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  make %-22s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The packages that take longest, which come first: the last one would run alone.
SLOW = ./targets/postgres ./sources/docker ./sources/systemd ./internal/crashtest

# make vet does what go test would do of it, and more. Tests that run beside each
# other wait for the most part.
.PHONY: test
test: deps ## all tests, against real servers; fetches what they need
	$(GO) test -p $(JOBS) -parallel 4 -vet=off -timeout 15m -json $(SLOW) ./... | $(GO) run ./internal/tested

.PHONY: build
build: ## bin/patchbay, for this machine
	$(GO) build -p $(JOBS) -trimpath -buildvcs=false \
		-ldflags '-X $(STAMP).version=$(VERSION) -X $(STAMP).commit=$(COMMIT)' -o bin/patchbay ./cmd/patchbay

.PHONY: quick
quick: fmt-check vet house ## what finds most mistakes in seconds

.PHONY: docs
docs: ## write the generated parts of the documentation anew
	$(GO) generate ./...

.PHONY: fmt
fmt: ## gofmt everything
	@$(GOFILES) -exec gofmt -s -w {} +

.PHONY: deps
deps: ## Debian and npm packages that the tests need, where they are missing, and what has to be built
	@tools/deps.sh postgres stores objects npm node libraries readers sshd systemd engines nftables
	@$(GO) mod download
	@$(GO) -C sources/envfile/testdata/compose mod download
	@$(GO) -C examples/driver mod download

##@ Before a change goes in

.PHONY: lint
lint: fmt-check vet tidy-check docs-check golangci vuln ## all that reads the code

.PHONY: race
race: ## the race detector on the engine and the stores
	@tools/deps.sh cc
	CGO_ENABLED=1 $(GO) test -race -p $(JOBS) -timeout 20m ./saga/... ./store/...

.PHONY: crash
crash: deps ## kill -9 at every step and instant, with real servers; prints a table
	@compose=$$(tools/compose.sh build); \
		PATCHBAY_COMPOSE=$$compose $(GO) test -count=1 -v -timeout 8h ./internal/crashtest -every=1 -rotations=50 -compose

# make test takes every 60th scenario, of applications with a settings file; a number that
# shares no factor with it takes others.
.PHONY: crash-short
crash-short: deps ## a share of the same, for CI
	$(GO) test -count=1 -v -timeout 30m ./internal/crashtest -every=19 -rotations=4

.PHONY: attack
attack: deps ## all that attacks: hostile servers against every client, tenants, floods; prints a table
	$(GO) test -count=1 -v -timeout 30m ./internal/attacktest -whole
	$(GO) test -count=1 -p 1 -timeout 30m ./targets/postgres ./targets/mysql ./targets/nats -run Hostile -every=1

# make test takes one version or two a test, by its name: all of them come to their turn.
.PHONY: test-postgres
test-postgres: deps ## PostgreSQL's driver, each test on every version that it is about
	$(GO) test -count=1 -timeout 60m ./targets/postgres -versions

# make test takes two versions, and really tries one of sixteen sign-ins.
.PHONY: test-pghba
test-pghba: deps ## the guard in pg_hba.conf on every version of PostgreSQL, each sign-in really tried
	$(GO) test -count=1 -timeout 30m ./networks/pghba -whole

# make test takes every 40th death, a third of the many kinds of containers, and what takes
# long on Docker alone.
.PHONY: test-containers
test-containers: deps ## the drivers of containers, on Docker and Podman, and of their networks: all suites, and a death at each call of an engine
	$(GO) test -count=1 -v -timeout 90m ./sources/docker -whole -every=1
	$(GO) test -count=1 -v -timeout 30m ./networks/docker -every=1

# make test tries what takes many restarts a few times, and what is alike for both
# managers with one.
.PHONY: test-systemd
test-systemd: deps ## units of a user's manager and of a machine's, each value by itself
	$(GO) test -count=1 -timeout 60m ./sources/systemd -whole

.PHONY: test-ssh
test-ssh: deps ## hosts by SSH, cut at every single instant of every change
	PATCHBAY_EXHAUSTIVE=1 $(GO) test -count=1 -timeout 30m ./hosts/ssh

.PHONY: test-etcd
test-etcd: deps ## etcd's driver on Debian's etcd and on the newest, which is built first
	@etcd=$$(tools/etcd.sh build); \
		PATCHBAY_ETCD=$$etcd $(GO) test -count=1 -timeout 20m ./targets/etcd

.PHONY: test-minio
test-minio: deps ## the driver of S3 on MinIO, which is built first: ten minutes
	@minio=$$(tools/minio.sh build); \
		PATCHBAY_MINIO=$$minio $(GO) test -count=1 -timeout 20m ./targets/s3

# make test takes the model alone.
.PHONY: test-mongodb
test-mongodb: deps ## MongoDB's driver on its model, and what FerretDB has of it, which is built first
	@ferretdb=$$(tools/ferretdb.sh build); \
		PATCHBAY_FERRETDB=$$ferretdb $(GO) test -count=1 -timeout 20m ./targets/mongodb

# make test takes what is quick, where Compose is built already.
.PHONY: test-compose
test-compose: deps ## sources in Compose projects, with Compose itself, which is built first
	@compose=$$(tools/compose.sh build); \
		export PATCHBAY_COMPOSE=$$compose; $(GO) test -count=1 -timeout 60m ./sources/compose -whole; \
		$(GO) test -count=1 -v -timeout 60m ./internal/crashtest -run Compose -compose

.PHONY: test-az
test-az: deps ## az itself, of two ages, against fifteen kinds of target and every kind of source; installs it
	@tools/deps.sh az
	@az=$$(tools/az.sh build); \
		PATCHBAY_AZ=$$az $(GO) test -tags az -count=1 -timeout 20m -run Az ./internal/clienttest

.PHONY: test-az-short
test-az-short: deps ## a share of the same, for CI
	@tools/deps.sh az
	@az=$$(tools/az.sh cached) || echo 'NOT CHECKED: az of today: it is not in the cache; make test-az fetches it'; \
		PATCHBAY_AZ=$$az $(GO) test -tags az -count=1 -timeout 10m -short -run Az ./internal/clienttest

.PHONY: test-terraform
test-terraform: deps ## Terraform itself, with azurerm, which is built first: a quarter of an hour
	@provider=$$(tools/terraform.sh build); \
		PATCHBAY_TERRAFORM_PROVIDER=$$provider $(GO) test -tags terraform -count=1 -timeout 30m -run Terraform ./internal/clienttest

.PHONY: test-terraform-cached
test-terraform-cached: ## the same where the provider is in the cache, for CI
	@if tools/terraform.sh cached >/dev/null; then $(MAKE) test-terraform; \
		else echo 'NOT CHECKED: Terraform: its provider is not in the cache, or there is no terraform; make test-terraform builds it'; fi

.PHONY: test-kubernetes
test-kubernetes: ## sources and guards in a Kubernetes cluster, which is built first: ten minutes and more
	@tools/deps.sh kubernetes
	@tools/kubernetes.sh build >/dev/null
	PATCHBAY_TESTENV=required $(GO) test -p 1 -count=1 -timeout 30m ./internal/testenv/kubernetes ./sources/kubernetes ./networks/networkpolicy -cluster
	PATCHBAY_TESTENV=required $(GO) test -count=1 -timeout 30m ./internal/crashtest -run InKubernetes -cluster

# What goes wrong in a life, and not each form that a workload may have.
.PHONY: test-kubernetes-short
test-kubernetes-short: ## a share of the same where the cluster's programs are in the cache, for CI
	@if tools/kubernetes.sh cached >/dev/null; then tools/deps.sh kubernetes; \
		PATCHBAY_TESTENV=required $(GO) test -count=1 -timeout 15m ./sources/kubernetes -cluster \
			-run 'TestSourceSuite|TestALife|TestACrashLoop|TestFlux|TestSpokenFromAPod|TestATakenName|TestTheRoleIsEnough|TestRotation'; \
		PATCHBAY_TESTENV=required $(GO) test -count=1 -timeout 15m ./networks/networkpolicy -cluster \
			-run 'TestALife|TestPatchbayIsNotShutOut|TestAnotherAllowIsTried|TestWherePodsFindATarget|TestANetworkThatDoesNotEnforce|TestASourceOfTheCluster|TestNetwork/Shared|TestNetwork/Foreign|TestNetwork/Drift/what|TestNetwork/Concurrent'; \
		PATCHBAY_TESTENV=required $(GO) test -count=1 -timeout 15m ./internal/crashtest -run InKubernetes -cluster -every=41; \
		else echo 'NOT CHECKED: sources and guards in Kubernetes: the programs of a cluster are not in the cache; make test-kubernetes builds them'; fi

# Hours: one after the other, each whole.
.PHONY: test-all
test-all: test attack test-postgres test-pghba test-containers test-systemd test-ssh test-etcd test-minio test-mongodb test-compose test-az test-terraform test-kubernetes race fuzz crash ## all that make test takes a sample of, whole: the better part of a day

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME
	@tools/fuzz.sh $(FUZZTIME)

.PHONY: fuzz-short
fuzz-short: ## every fuzz target for a moment, in 165 s together, for CI
	@tools/fuzz.sh 5 165

.PHONY: bench
bench: deps ## the measurements of docs/performance.md; BENCH has arguments
	$(GO) run ./internal/bench $(BENCH)

.PHONY: release
release: ## archives for linux and darwin, amd64 and arm64, into dist/
	@tools/release.sh '$(VERSION)' '$(COMMIT)'

# Cold, each platform takes minutes; vet has compiled darwin's already.
.PHONY: release-short
release-short: ## archives of this platform and of another, for CI
	@tools/release.sh '$(VERSION)' '$(COMMIT)' "$$($(GO) env GOHOSTOS)/$$($(GO) env GOHOSTARCH)" darwin/amd64

.PHONY: clean
clean: ## remove what was built and fetched
	rm -rf bin dist internal/testenv/npm/node_modules internal/clienttest/npm/node_modules settings/testdata/libraries/node_modules sources/envfile/testdata/npm/node_modules

##@ Parts of them

.PHONY: fmt-check
fmt-check: ## nothing is left to gofmt; scripts parse
	@list=$$($(GOFILES) -exec gofmt -s -l {} +); \
		[ -z "$$list" ] || { printf 'not gofmt-ed, see make fmt:\n%s\n' "$$list"; exit 1; }
	@for script in .ci/run tools/*.sh; do bash -n "$$script"; done

# Both builds of the failpoints, and the platform that CI does not run on, in the
# way that its release is built: what is compiled here is not compiled again.
.PHONY: vet
vet: ## go vet, all variants
	$(GO) vet -p $(JOBS) ./...
	$(GO) vet -p $(JOBS) -tags failpoints ./...
	$(GO) vet -p $(JOBS) -tags az,terraform ./internal/clienttest
	GOOS=darwin $(GO) vet -trimpath -p $(JOBS) ./...
	$(GO) -C examples/driver vet -p $(JOBS) ./...

.PHONY: house
house: ## the rules of the repository
	$(GO) test ./internal/house

.PHONY: tidy-check
tidy-check: ## go.mod and go.sum are as go mod tidy would leave them
	$(GO) mod tidy -diff
	$(GO) -C examples/driver mod tidy -diff

.PHONY: docs-check
docs-check: ## the generated documentation is what would be generated
	@sums() { find . \( -name .git -o -name node_modules -o -name dist -o -name bin \) -prune -o -type f -exec cksum {} + | sort; }; \
		before=$$(sums); $(GO) generate ./...; after=$$(sums); [ "$$before" = "$$after" ] || \
		{ diff <(echo "$$before") <(echo "$$after") || true; echo 'generated files were old; they are new now: commit them'; exit 1; }

# The example has none of the paths that the exclusions are for, and each would warn.
.PHONY: golangci
golangci: ## golangci-lint, with staticcheck in it
	$(LINT) run -j $(JOBS) ./...
	$(LINT) run -j $(JOBS) --build-tags az,terraform ./internal/clienttest/...
	cd examples/driver && $(GO) tool -modfile=../../tools/go.mod golangci-lint run -j $(JOBS) ./... 2> >(grep -v 'Skipped 0 issues' >&2)

.PHONY: vuln
vuln: ## known vulnerabilities in what the code calls
	@tools/vuln.sh
