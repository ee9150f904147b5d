#!/bin/sh
# Builds Prism and runs the tests of this folder on it. Without Go it says so and skips. PRISM names
# a ready binary instead.
set -eu
cd "$(dirname "$0")/../.."
skip() { echo "test-beam: skipped: $1"; exit 0; }

if [ -z "${PRISM:-}" ]; then
  command -v go > /dev/null || skip "Go is not installed, and PRISM names no binary; no step met an engine"
  wanted=$(sed -n 's/^go //p' tests/beam/go.mod)
  found=$(cd tests/beam && go env GOVERSION 2> /dev/null) \
    || skip "Prism needs Go $wanted, and this one can neither build it nor fetch that"
  echo "test-beam: building Prism $(sed -n 's/.*beam\/sdks\/v2 \(v[0-9.]*\).*/\1/p' tests/beam/go.mod) with $found"
  nice -n 10 tests/beam/prism.sh build/beam
  PRISM=build/beam/prism
fi
echo "test-beam: Flink, Spark and Dataflow are not here; their part is played by Prism alone"
TFX_RECOMMENDER_PRISM=$(realpath "$PRISM") .venv/bin/python -m pytest tests/beam --durations=0
