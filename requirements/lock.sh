#!/bin/sh
# Resolves the *.in files into the locks beside them. Needs uv and the network.
set -eu
cd "$(dirname "$0")"
compile() {
  uv pip compile --quiet --no-header --generate-hashes --python-version 3.11 "$@"
}
compile --python-platform x86_64-manylinux_2_39 runtime.in -o glibc-2.39.txt
compile --python-platform x86_64-manylinux_2_39 dev.in -c glibc-2.39.txt -o dev.txt
compile --no-deps kserve.in -o kserve.txt
compile uv.in -o uv.txt
compile --python-platform x86_64-manylinux_2_39 sbom.in -o sbom.txt
compile --python-platform x86_64-manylinux_2_28 --only-binary :all: peers.in -o peers.txt

# The lock for older systems is the same one with two packages replaced. A resolver refuses
# that mix (their metadata asks for protobuf < 6), so it is spliced and installed as it stands.
compile --python-platform x86_64-manylinux_2_28 --no-deps glibc-2.28.in -o glibc-2.28.replaced
awk '/^[a-z]/ { skip = /^(ml-metadata|tensorflow-data-validation)==/ } !skip' glibc-2.39.txt \
  | cat - glibc-2.28.replaced > glibc-2.28.txt
rm glibc-2.28.replaced
