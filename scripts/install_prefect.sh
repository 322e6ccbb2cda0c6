#!/usr/bin/env bash
# Makes the environment of the real Prefect (and papermill) that tests/interop and the benchmarks use, if it is missing.
# Prints its directory: MILLRACE_PEER_VENV, or .venv-peer beside this checkout.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
place="${MILLRACE_PEER_VENV:-$here/../.venv-peer}"
wanted="$here/peer-requirements.txt"
python="${MILLRACE_PEER_PYTHON:-python3}"

if [ ! -x "$place/bin/prefect" ] || { [ -z "${MILLRACE_PEER_VENV:-}" ] && ! cmp -s "$wanted" "$place/.ready"; }; then
  echo "installing the real Prefect into $place (a minute or two the first time) ..." >&2
  [ -x "$place/bin/python" ] || "$python" -m venv "$place"
  "$place/bin/python" -m pip --disable-pip-version-check --quiet install -r "$wanted" >&2
  cp "$wanted" "$place/.ready"
fi
(cd "$place" && pwd)
