#!/bin/sh
# Makes .venv from the lock that fits this machine; does nothing when it is up to date.
set -eu
cd "$(dirname "$0")/.."

python=${PYTHON:-$(command -v python3.11 || command -v python3 || true)}
if [ -z "$python" ] || ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
  echo "setup: Python 3.11 is needed (TFX 1.21 with Kubeflow's SDK runs on no later one);" \
    "install it or say where it is: make PYTHON=/path/to/python3.11" >&2
  exit 2
fi

# tensorflow-data-validation 1.21 and ml-metadata 1.21 have wheels for glibc 2.39 and later only.
lock=requirements/$("$python" -c '
import platform
version = tuple(map(int, platform.libc_ver()[1].split(".")[:2]))
print("glibc-2.39.txt" if version >= (2, 39) else "glibc-2.28.txt")
')

wanted=$(cat "$lock" requirements/dev.txt requirements/kserve.txt requirements/uv.txt setup.py pyproject.toml "$0" | sha256sum)
stamp=.venv/.made-from
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted $PWD" ]; then
  exit 0
fi

echo "setup: making .venv from $lock"
rm -rf .venv
"$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
# The lock is complete and, for older systems, spliced: installed as it stands (--no-deps).
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --require-hashes \
  --compile-bytecode -r "$lock" -r requirements/dev.txt -r requirements/kserve.txt
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e .
echo "$wanted $PWD" > "$stamp"
