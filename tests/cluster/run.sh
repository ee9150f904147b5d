#!/bin/sh
# Builds a control plane of Kubernetes, then runs the tests of this folder before it. Where it
# cannot be built it says so and skips. CLUSTER_BINARIES names a folder of ready binaries instead.
# KSERVE_CRD names KServe's own definition of InferenceServices (kserve_crd.py).
set -eu
cd "$(dirname "$0")/../.."
skip() { echo "test-cluster: skipped: $1"; exit 0; }

if [ -z "${CLUSTER_BINARIES:-}" ]; then
  command -v go > /dev/null || skip "Go is not installed"
  needed=$(sed -n 's/^go //p' tests/cluster/go.mod)
  # Asked there, for Go may fetch the version that a go.mod needs.
  found=$(cd tests/cluster && go env GOVERSION | sed 's/^go//')
  [ "$(printf '%s\n' "$needed" "$found" | sort -V | head -n 1)" = "$needed" ] \
    || skip "Go $found is installed, and Go $needed or later is needed"
  CLUSTER_BINARIES=$(tests/cluster/build.sh)
  export CLUSTER_BINARIES
fi
[ -n "${KSERVE_CRD:-}" ] || echo "test-cluster: without KSERVE_CRD: KServe's definition is made of its Python classes"
.venv/bin/python -m pytest tests/cluster
