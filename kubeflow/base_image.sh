#!/bin/sh
# Makes the Dockerfile's BASE from Debian's packages alone, where no registry is reachable:
# Debian 13 by debootstrap, and Debian 12's Python 3.11, which runs on it. Needs root.
# Usage: base_image.sh [ENGINE]; prints the image's name.
set -eu
engine=${1:-podman}
image=localhost/debian13-python3.11
# The mirror that this machine's apt uses.
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' \
  | awk '$1 !~ /security/ { print $2; exit }')}
if "$engine" image inspect "$image" > /dev/null 2>&1; then
  echo "$image"
  exit 0
fi
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
{
  debootstrap --variant=minbase trixie "$root" "$mirror"
  printf 'deb %s trixie main\ndeb %s bookworm main\n' "$mirror" "$mirror" > "$root/etc/apt/sources.list"
  printf 'Package: *\nPin: release n=bookworm\nPin-Priority: 100\n' > "$root/etc/apt/preferences.d/bookworm"
  chroot "$root" apt-get update -q
  DEBIAN_FRONTEND=noninteractive chroot "$root" \
    apt-get install -y -q --no-install-recommends python3.11 python3-pip-whl ca-certificates
  chroot "$root" sh -c 'python3.11 "$(ls /usr/share/python-wheels/pip-*.whl)/pip" install \
    --no-index --find-links /usr/share/python-wheels --break-system-packages pip'
  chroot "$root" apt-get clean
  rm -rf "$root"/var/lib/apt/lists/*
  tar -C "$root" -c . | "$engine" import - "$image"
} >&2
echo "$image"
