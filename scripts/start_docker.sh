#!/usr/bin/env bash
# Makes a Docker Engine with a base image for the tests and prints its address (a value for DOCKER_HOST).
#
# A daemon that answers already is used. Otherwise Debian's packages are installed if they are missing and a daemon of
# its own is started, with its data in a temporary directory; that needs root. No image can be pulled: the base image
# `millrace-test-base:bookworm` (Debian with Python) is made by debootstrap from apt's own mirror, in about a minute.
# The registry that the tests push to is Debian's `docker-registry`; the tests start it themselves.
set -euo pipefail
image="millrace-test-base:bookworm"

say() { echo "start_docker: $*" >&2; }

missing=()
for pair in dockerd:docker.io iptables:iptables docker-registry:docker-registry debootstrap:debootstrap git:git; do
  command -v "${pair%%:*}" >/dev/null 2>&1 || [ -x "/usr/sbin/${pair%%:*}" ] || missing+=("${pair##*:}")
done
if [ "${#missing[@]}" -gt 0 ]; then
  say "installing ${missing[*]}"
  apt-get update -q >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >&2
fi
PATH="$PATH:/usr/sbin:/sbin"

if ! docker info >/dev/null 2>&1; then
  place="$(mktemp -d /tmp/millrace-docker.XXXXXX)"
  export DOCKER_HOST="unix://$place/docker.sock"
  setsid dockerd --host "$DOCKER_HOST" --data-root "$place/data" --exec-root "$place/exec" --pidfile "$place/pid" \
    >"$place/log" 2>&1 </dev/null &
  for _ in $(seq 60); do
    docker info >/dev/null 2>&1 && break
    sleep 0.5
  done
  docker info >/dev/null 2>&1 || { tail -n 20 "$place/log" >&2; say "dockerd did not start (it needs root)"; exit 1; }
fi

if ! docker image inspect "$image" >/dev/null 2>&1; then
  say "making $image"
  root="$(mktemp -d /tmp/millrace-base.XXXXXX)"
  mirror="$(apt-get indextargets --format '$(SITE)' | grep -m 1 debian)"
  debootstrap --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates bookworm "$root/root" "$mirror" >&2
  # the certificates that this machine trusts, so that pip works in it where pip works here
  cp /etc/ssl/certs/ca-certificates.crt "$root/root/etc/ssl/certs/ca-certificates.crt"
  ln -s python3 "$root/root/usr/bin/python"
  # half of it is what nobody reads, and each test that pushes packs all of it
  find "$root/root/var/cache/apt" "$root/root/var/lib/apt/lists" -type f -delete
  rm -rf "$root/root/usr/share/doc" "$root/root/usr/share/man" "$root/root/usr/share/locale"
  tar -C "$root/root" -c . | docker import \
    --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_BREAK_SYSTEM_PACKAGES=1 LANG=C.UTF-8' - "$image" >&2
  rm -rf "$root"
fi
echo "${DOCKER_HOST:-unix:///var/run/docker.sock}"
