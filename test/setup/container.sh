#!/bin/bash
# test/setup/container.sh [SUITE]: builds what Containerfile says, and runs it.
#
# With buildah, which is what podman builds with, on a base image that is made of
# the suite's clean chroot (see tools/matrix.sh). Isolation by chroot works where
# user namespaces do not. Ends with "N passed, N failed", or says why it is skipped.

. "$(dirname "${BASH_SOURCE[0]}")/../../tools/matrix.sh"

if ! command -v buildah >/dev/null; then
	say "skipped: test/setup/container.sh needs buildah"
	exit 0
fi
suite=${1:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
if [ "$suite" != bookworm ]; then
	say "skipped: Containerfile is for PostgreSQL 15, that is Debian bookworm"
	exit 0
fi

make_chroot "$suite" "$suite-clean" apt
store=$(mktemp -d "$CHROOTS/containers.XXXXXX")
echo "$store" >>"$SANDBOX/trash"
log=$SANDBOX/container.log
passed=0
failed=0

builder() {
	buildah --root "$store/root" --runroot "$store/run" --storage-driver vfs "$@"
}

# check NAME COMMAND...
check() {
	if "${@:2}" >>"$log" 2>&1; then
		passed=$((passed + 1))
		echo "ok - $1"
	else
		failed=$((failed + 1))
		echo "not ok - $1"
		tail -n 40 "$log" | sed 's/^/# /'
	fi
}

make_base() {
	local container
	container=$(builder from scratch) &&
		builder add -q "$container" "$CHROOT" / && builder commit -q --rm "$container" localhost/base
}

# As podman run does it, but that the network is the machine's
run_image() {
	local container
	container=$(builder from "$1") && builder run --isolation chroot "$container" "${@:2}" </dev/null
}

runs_the_demo() {
	# shellcheck disable=SC2046 # words
	run_image demo $(builder inspect --format '{{range .OCIv1.Config.Cmd}}{{.}} {{end}}' --type image demo) >"$SANDBOX/demo" 2>&1
	cat "$SANDBOX/demo"
	grep -q '^ 90,000 jobs, cancel_jobs .* every job in the answer' "$SANDBOX/demo" && [ "$(grep -c ERROR: "$SANDBOX/demo")" = 1 ]
}

# The server on a port that is free here, asked over TCP as from outside
runs_the_server() {
	local port
	port=$(/usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	run_image server bash -c "sed -i 's/^port = .*/port = $port/' /etc/postgresql/15/main/postgresql.conf &&
		pg_ctlcluster 15 main start -- -o '-c listen_addresses=127.0.0.1' &&
		psql -XAtq -h 127.0.0.1 -p $port -U demo -c 'CREATE EXTENSION pasqal_jobs' -c 'SELECT create_jobs_table()' \
			-c 'SELECT cancel_jobs(gen_random_uuid())'; pg_ctlcluster 15 main stop" >"$SANDBOX/server" 2>&1
	cat "$SANDBOX/server"
	grep -qx '{"data": {"jobs": \[\], "errors": {}}}' "$SANDBOX/server"
}

cd "$PROJECT"
check "a base image" make_base
for target in demo server; do
	check "target $target is built" builder bud --isolation chroot --layers --build-arg BASE=localhost/base --target "$target" -t "$target" .
done
check "the demo runs" runs_the_demo
check "the server serves the extension" runs_the_server

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
