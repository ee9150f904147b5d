#!/bin/sh
# Builds the image, then runs the tests of this folder in it. Without an engine it says so and
# skips. IMAGE names a ready image instead.
set -eu
cd "$(dirname "$0")/../.."
skip() { echo "test-kubeflow: skipped: $1"; exit 0; }

engine=${ENGINE:-$(command -v podman || command -v docker || true)}
[ -n "$engine" ] || skip "neither podman nor docker is installed"
"$engine" info > /dev/null 2>&1 || skip "$engine cannot run here (see: $engine info)"

if [ -z "${DOCKER_HOST:-}" ] && [ "$(basename "$engine")" = podman ]; then
  # KFP's local runner speaks Docker's API; Podman's service does too, for as long as we run.
  folder=$(mktemp -d)
  "$engine" system service --time=0 "unix://$folder/podman.sock" &
  service=$!
  trap 'kill $service; rm -rf "$folder"' EXIT
  export DOCKER_HOST="unix://$folder/podman.sock"
fi

if [ -z "${IMAGE:-}" ]; then
  IMAGE=localhost/tfx-recommender
  base=$(sed -n 's/^ARG BASE=//p' kubeflow/Dockerfile)
  if [ -z "${BASE:-}" ] && ! timeout 120 "$engine" pull -q "$base" > /dev/null 2>&1; then
    [ "$(id -u)" = 0 ] && command -v debootstrap > /dev/null \
      || skip "no registry with $base is reachable, and without root and debootstrap no base can be made"
    echo "test-kubeflow: no registry is reachable, so the base comes from debootstrap"
    BASE=$(kubeflow/base_image.sh "$engine")
    export BASE
  fi
  # The package index may be signed by a certificate that only this machine knows.
  [ ! -e /etc/ssl/certs/ca-certificates.crt ] || export CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt
  kubeflow/build_image.sh "$IMAGE" > /dev/null
  echo "test-kubeflow: $IMAGE weighs $("$engine" image inspect --format '{{.Size}}' "$IMAGE") bytes"
fi
TFX_RECOMMENDER_IMAGE=$IMAGE .venv/bin/python -m pytest tests/container -s --durations=0
