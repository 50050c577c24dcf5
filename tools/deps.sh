#!/usr/bin/env bash
# Fetches what the tests need and this machine lacks:
#
#   tools/deps.sh postgres npm node readers engines az cc make
#
#   postgres  PostgreSQL's server and client, as Debian has it
#   stores    Redis, MariaDB, Mosquitto, etcd and RabbitMQ, as Debian has them, and
#             PgBouncer
#   objects   the Versity S3 Gateway, which no distribution has: it is built, in three
#             minutes of two cores (tools/s3)
#   libraries clients of databases in other languages, as Debian and npm have
#             them (settings/testdata/libraries)
#   npm       npm, and with it the other PostgreSQL versions and Azurite
#             (internal/testenv/npm)
#   node      node, and Azure's JavaScript SDK for it (internal/clienttest/npm)
#   readers   what reads settings files: libraries of Python, PHP, Ruby and Node.js
#             (sources/envfile/testdata/npm), and Redis' command line
#   sshd      OpenSSH's server, sudo, and what machines have otherwise: fish and csh as
#             login shells, busybox (internal/testenv/sshd)
#   nftables  nft, and iptables that writes for it: what guards are
#   kubernetes  what a Kubernetes node needs besides its own programs
#   engines   Docker and Podman, as Debian has them, with runc, and Debian's Compose
#   az        the Azure command line, as Debian has it: half a gigabyte
#   systemd   what boots a machine in a container, for units of a real one
#   cc        a C compiler, which the race detector wants
#
# Nothing is installed that is there already. Debian packages are installed by
# root or through sudo; elsewhere this says what is missing and fails.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()

need() { # need PACKAGE what it is for: nothing of it was found
	missing+=("$1")
	printf 'deps: %s is missing (%s)\n' "$1" "$2" >&2
}

have() { command -v "$1" >/dev/null 2>&1; }

# Debian keeps initdb and postgres out of PATH, one directory a version.
have_postgres() {
	have initdb && have postgres && return
	compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif [ -t 0 ]; then
		sudo "$@"
	else
		sudo -n "$@"
	fi
}

# Debian keeps servers out of a user's PATH.
have_server() { have "$1" || [ -x "/usr/sbin/$1" ]; }

install_missing() {
	[ "${#missing[@]}" = 0 ] && return
	local by_hand="apt-get install --no-install-recommends ${missing[*]}"
	if ! have apt-get; then
		printf 'deps: this is no Debian; install what is named above with its own package manager\n' >&2
		exit 1
	fi
	if [ "$(id -u)" != 0 ] && ! { have sudo && { [ -t 0 ] || sudo -n true 2>/dev/null; }; }; then
		printf 'deps: neither root nor sudo without a password; as root:\n  %s\n' "$by_hand" >&2
		exit 1
	fi
	case " ${missing[*]} " in *' postgresql '*)
		# The tests start servers of their own; a cluster that Debian makes and
		# starts at installation would be a surprise.
		if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
			as_root mkdir -p /etc/postgresql-common
			as_root sh -c 'echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf'
		fi
		;;
	esac
	# Nor are the stores and PgBouncer to run because they are here.
	if [ ! -e /usr/sbin/policy-rc.d ]; then
		trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
		as_root sh -c 'printf "#!/bin/sh\nexit 101\n" >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d'
	fi
	local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=500 -o Acquire::Retries=3 -o Dpkg::Options::=--force-confold)
	as_root "${apt[@]}" update -qq
	as_root "${apt[@]}" install -y -qq --no-install-recommends "${missing[@]}" >&2
}

# The packages of a directory, when its lock file says other than what was
# fetched last: fetch_npm DIRECTORY what its tests do without them.
fetch_npm() {
	local dir=$1 stamp
	[ -f "$dir/package-lock.json" ] || return 0
	stamp="$dir/node_modules/.fetched"
	if cmp -s "$dir/package-lock.json" "$stamp"; then
		return
	fi
	if (cd "$dir" && npm ci --no-audit --no-fund --no-progress --loglevel=error) >&2; then
		cp "$dir/package-lock.json" "$stamp"
		return
	fi
	printf 'deps: NOT CHECKED: the packages of %s could not be fetched; %s\n' "$dir" "$2" >&2
}

# Debian's Python may not be the first one in PATH.
have_python() {
	local python=/usr/bin/python3
	[ -x "$python" ] || python=python3
	have "$python" && "$python" -c "import $1" >/dev/null 2>&1
}

npm=false node=false libraries=false readers=false objects=false
for group in "$@"; do
	case "$group" in
	postgres) have_postgres || need postgresql 'the server that connections are made to' ;;
	stores)
		have_server redis-server || need redis-server 'a store whose logins are tried'
		have_server pgbouncer || need pgbouncer 'a pooler that PostgreSQL is reached through'
		compgen -G '/usr/lib/*/mosquitto_dynamic_security.so' >/dev/null || need mosquitto 'a broker that connections are made to'
		have_server etcd || need etcd-server 'a key-value store whose logins are made and tried'
		have etcdctl || need etcd-client 'signs in with what is written for it'
		have_server mariadbd || need mariadb-server 'a database whose logins are tried'
		[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || need rabbitmq-server 'a broker that logins are made on'
		;;
	objects) objects=true ;;
	libraries)
		libraries=true
		have npm || need npm 'fetches client libraries'
		have php || need php-cli 'a reader of settings'
		have ruby || need ruby 'a reader of settings'
		have mosquitto_sub || need mosquitto-clients 'a reader of settings'
		for package in php-mysql php-pgsql ruby-mysql2 ruby-pg python3-psycopg2 python3-pymysql python3-mysqldb python3-pymssql python3-redis python3-paho-mqtt node-mqtt python3-etcd3 python3-pika amqp-tools python3-azure-storage python3-boto3 python3-pymongo; do
			dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || need "$package" 'a reader of settings'
		done
		;;
	npm)
		npm=true
		have npm || need npm 'fetches the other PostgreSQL versions and Azurite'
		;;
	node)
		node=true
		have node || need nodejs "Azure's JavaScript SDK"
		have npm || need npm "fetches Azure's JavaScript SDK"
		;;
	readers)
		readers=true
		have_python dotenv || need python3-dotenv "reads what is written for Python"
		have_python environ || need python3-django-environ "reads what is written for Django"
		have_python decouple || need python3-decouple "reads what is written for Python"
		have php || need php-cli "reads what is written for PHP"
		[ -f /usr/share/php/Dotenv/autoload.php ] || need php-vlucas-phpdotenv "reads what is written for PHP"
		[ -f /usr/share/php/Symfony/Component/Dotenv/autoload.php ] || need php-symfony-dotenv "reads what is written for PHP"
		have ruby && ruby -e 'require "dotenv"' 2>/dev/null || need ruby-dotenv "reads what is written for Ruby"
		have node || need nodejs "reads what is written for Node.js"
		have npm || need npm "fetches what reads what is written for Node.js"
		have redis-cli || need redis-tools "signs in with what is written for it"
		;;
	systemd) have systemd-nspawn || need systemd-container 'boots a machine whose units are connected' ;;
	sshd)
		have_server sshd || need openssh-server 'another machine'
		[ -x /usr/lib/openssh/sftp-server ] || need openssh-sftp-server 'the files of another machine'
		have sudo || need sudo 'the rights of another machine'
		have_server ip || need iproute2 'the network to another machine'
		have_server nft || need nftables 'a network that loses everything'
		have openssl || need openssl 'the password of another machine'
		have pgrep || need procps 'the processes of another machine'
		have fish || need fish 'a login shell'
		have tcsh || need tcsh 'a login shell'
		have busybox || need busybox-static 'programs that can do less'
		;;
	nftables)
		have_server nft || need nftables 'a guard that is tried'
		have_server ip || need iproute2 'the networks around a guard'
		have_server iptables-nft || need iptables 'rules of others'
		;;
	kubernetes)
		have_server runc || need runc 'runs the containers of pods'
		[ -x /usr/lib/cni/bridge ] || need containernetworking-plugins 'the network of pods'
		have_server ip || need iproute2 'the network of a node'
		have_server ipset || need ipset 'what enforces policies on a node'
		have_server iptables || need iptables 'what enforces policies on a node'
		;;
	engines)
		have_server dockerd || need docker.io 'an engine that applications run on'
		have podman || need podman 'an engine that applications run on'
		have runc || need runc 'what both run containers with'
		have_server netavark || [ -x /usr/lib/podman/netavark ] || need netavark "Podman's networks"
		[ -x /usr/lib/podman/aardvark-dns ] || need aardvark-dns "the names in Podman's networks"
		have newuidmap || need uidmap "Podman of a login that is not root"
		have slirp4netns || need slirp4netns 'its networks'
		[ -x /usr/bin/docker-compose ] || need docker-compose 'Compose of before, which is refused'
		have iptables || have_server iptables || need iptables "Docker's networks"
		have ip || have_server ip || need iproute2 'networks of their own'
		;;
	az) have az || need azure-cli 'the Azure command line' ;;
	cc)
		have "${CC:-cc}" || {
			need gcc 'the race detector'
			need libc6-dev 'the race detector'
		}
		;;
	make) have make || need make 'runs everything' ;;
	*)
		printf 'deps: unknown group %s\n' "$group" >&2
		exit 2
		;;
	esac
done
install_missing
if $objects && ! tools/s3.sh build >/dev/null; then
	printf 'deps: NOT CHECKED: the Versity S3 Gateway could not be built; the tests with it are skipped\n' >&2
fi
if $npm; then
	fetch_npm internal/testenv/npm "the tests run against Debian's PostgreSQL alone"
fi
if $libraries; then
	fetch_npm settings/testdata/libraries 'the tests with them are skipped'
	fetch_npm targets/azurestorage/testdata/npm 'the tests with them are skipped'
fi
if $node; then
	fetch_npm internal/clienttest/npm 'the tests with them are skipped'
fi
if $readers; then
	fetch_npm sources/envfile/testdata/npm 'what Node.js reads is not asked of its libraries'
fi
