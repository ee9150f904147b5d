#!/bin/sh
# Builds the image of all steps. Usage: build_image.sh [NAME]
# ENGINE (podman or docker), BASE (another Debian 13 with Python 3.11), CA_BUNDLE (certificates
# that the package index here is signed with) may be set in the environment.
set -eu
cd "$(dirname "$0")/.."
name=${1:-localhost/tfx-recommender}
engine=${ENGINE:-$(command -v podman || command -v docker || true)}
if [ -z "$engine" ]; then
  echo "make image: neither podman nor docker is installed; install one" >&2
  exit 2
fi
set -- --network host -f kubeflow/Dockerfile -t "$name" \
  --build-arg "VERSION=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' src/tfx_recommender/__init__.py)" \
  --build-arg "REVISION=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
[ -z "${BASE:-}" ] || set -- "$@" --build-arg "BASE=$BASE"
[ -z "${CA_BUNDLE:-}" ] || set -- "$@" -v "$CA_BUNDLE:/etc/ssl/certs/ca-certificates.crt:ro"
exec "$engine" build -q "$@" .
