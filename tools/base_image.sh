#!/usr/bin/env bash
# A base image for our CPU images without any image registry: base_image.sh NAME, e.g. skillrun-base:ci
# Debian packages only: a minimal system with Python and venv. Does nothing where the engine has NAME already.
#   BASE_TAR  the system as a tar: used where it exists, else made there (default: made in a temporary folder)
#   SUITE     the Debian release (default: bookworm)
set -euo pipefail
name=${1:?usage: base_image.sh NAME}
docker=$( [ -x /usr/bin/docker ] && echo /usr/bin/docker || command -v docker ) || {
  echo "error: no docker command. Fix: apt-get install docker.io" >&2
  exit 2
}
"$docker" version >/dev/null
"$docker" image inspect "$name" >/dev/null 2>&1 && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tar=${BASE_TAR:-$work/base.tar}
if [ ! -s "$tar" ]; then
  command -v mmdebstrap >/dev/null || {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mmdebstrap >/dev/null
  }
  # It gets its name when it is whole.
  mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --aptopt='Acquire::Languages "none"' "${SUITE:-bookworm}" "$work/new.tar"
  mv "$work/new.tar" "$tar.part"
  mv "$tar.part" "$tar"
fi
"$docker" import -c 'CMD ["bash"]' "$tar" "$name" >/dev/null
