#!/bin/sh
# Builds Prism, pinned by go.mod, as FOLDER/prism: prism.sh FOLDER. Seconds, once Go's caches are warm.
#
# Prism (2.77) listens on every address of the machine, and whoever reaches it may have code
# executed. In the copy that is built here, one line is replaced: it listens on loopback alone.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/beam" && cd "$1"
package=github.com/apache/beam/sdks/v2
source=$(cd "$here" && go mod download $package && go list -m -f '{{.Dir}}' $package)
rm -rf beam/go
cp -R "$source/go" "$source/go.mod" beam/ && chmod -R u+w beam
server=beam/go/pkg/beam/runners/prism/internal/jobservices/server.go
sed 's/net.Listen("tcp", fmt.Sprintf(":%d"/net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d"/' \
  "$source/${server#beam/}" > $server
if cmp -s "$source/${server#beam/}" $server; then
  echo "prism.sh: Prism's server.go has changed; see what it listens on now" >&2
  exit 1
fi
cp "$here/go.mod" "$here/go.sum" .
go mod edit -replace $package=./beam
go build -mod=readonly -trimpath -o prism $package/go/cmd/prism
