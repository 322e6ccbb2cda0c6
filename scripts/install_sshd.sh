#!/usr/bin/env bash
# Installs the ssh server that tests of private repositories start on a free port; its own service is not started.
set -euo pipefail

command -v sshd >/dev/null 2>&1 || [ -x /usr/sbin/sshd ] && { echo "install_sshd: it is there" >&2; exit 0; }
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
apt-get update -q >&2
DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends openssh-server >&2
