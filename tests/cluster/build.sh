#!/bin/sh
# Builds etcd and Kubernetes (go.mod beside this file) and prints the folder of their binaries. It
# lies outside the repository and is named after the versions, so that other clones find it too.
# About ten minutes on two cores the first time, and nothing after that. GOFLAGS is Go's own.
set -eu
cd "$(dirname "$0")"
kubernetes=$(sed -n 's/^.*k8s.io\/kubernetes \(v[0-9.]*\).*$/\1/p' go.mod)
digest=$(cat go.mod go.sum build.sh | sha256sum | cut -c1-12)
folder=${XDG_CACHE_HOME:-$HOME/.cache}/tfx-recommender/cluster-$kubernetes-$digest
if [ ! -d "$folder" ]; then
  echo "test-cluster: building etcd and Kubernetes $kubernetes (once; minutes)" >&2
  mkdir -p "$(dirname "$folder")"
  made=$(mktemp -d "$folder.XXXXXX")
  trap 'rm -rf "$made"' EXIT
  version=k8s.io/component-base/version
  # shellcheck disable=SC2046 # one word a package
  CGO_ENABLED=0 nice -n 10 go build -mod=readonly -trimpath -o "$made/" \
    -ldflags "-s -w -X $version.gitVersion=$kubernetes -X $version.gitMajor=1 \
      -X $version.gitMinor=$(echo "$kubernetes" | cut -d. -f2) -X $version.gitTreeState=clean" \
    $(go list -mod=readonly tool) >&2
  mv "$made/server" "$made/etcd" # go names it after its folder
  chmod 755 "$made"
  mv -T "$made" "$folder" 2> /dev/null || [ -d "$folder" ] # another build may have been faster
fi
echo "$folder"
