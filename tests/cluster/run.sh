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
  # GOTOOLCHAIN may let an older Go fetch what is needed: so Go itself is asked.
  (cd tests/cluster && go list -mod=readonly tool > /dev/null) \
    || skip "this Go cannot read tests/cluster/go.mod (it needs Go $needed and the modules)"
  CLUSTER_BINARIES=$(tests/cluster/build.sh)
  export CLUSTER_BINARIES
fi
[ -n "${KSERVE_CRD:-}" ] || echo "test-cluster: without KSERVE_CRD: KServe's definition is made of its Python classes"
.venv/bin/python -m pytest tests/cluster
