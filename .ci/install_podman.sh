#!/bin/sh
# Podman and debootstrap from Debian's packages, where apt and root are at hand.
set -eu
if command -v docker > /dev/null && docker info > /dev/null 2>&1; then exit 0; fi
if ! command -v podman > /dev/null || ! command -v debootstrap > /dev/null; then
  apt-get update -q > /dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    podman buildah runc netavark iptables debootstrap > /dev/null
fi
# crun refuses the hybrid cgroup layout of older kernels' machines, runc does not.
if [ ! -s /etc/containers/containers.conf ]; then
  mkdir -p /etc/containers
  cat > /etc/containers/containers.conf << 'CONF'
[containers]
default_ulimits = ["nofile=1024:20000", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
[engine.runtimes]
runc = ["/usr/sbin/runc"]
CONF
fi
