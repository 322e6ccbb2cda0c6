#!/usr/bin/env bash
# Starts a Postgres server of its own for tests/contract, on loopback, and prints its URL. Debian's package is installed
# if it is missing. The data lies in a temporary directory and is not synced: it is for tests only.
set -euo pipefail
free_port='import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
port="${MILLRACE_TEST_POSTGRES_PORT:-$(python3 -c "$free_port")}"

find_bin() { find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1; }
bin="$(find_bin)"
if [ -z "$bin" ]; then
  apt-get update -q >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends postgresql >&2
  bin="$(find_bin)"
fi

as_owner=()
place="$(mktemp -d /tmp/millrace-postgres.XXXXXX)"
if [ "$(id -u)" -eq 0 ]; then
  chown postgres "$place"
  as_owner=(runuser -u postgres --)
fi
"${as_owner[@]}" "$bin/initdb" -D "$place/data" -A trust -U millrace >&2
"${as_owner[@]}" "$bin/pg_ctl" -D "$place/data" -w -l "$place/log" \
  -o "-p $port -k $place -c listen_addresses=127.0.0.1 -c fsync=off -c synchronous_commit=off -c full_page_writes=off" start >&2
echo "postgresql://millrace@127.0.0.1:$port/postgres"
