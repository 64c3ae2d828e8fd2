#!/bin/sh
# Build the runner's image: infra/build-image.sh TAG [OPTION…]
#
# Options go to the engine, which is docker, podman or buildah, whichever is found first, or what
# ENGINE names. For example, more Debian packages for what your agents build and test:
#
#   infra/build-image.sh claude-run --build-arg EXTRA_PACKAGES="build-essential nodejs npm"
set -eu

if [ $# -eq 0 ]; then
  echo "usage: infra/build-image.sh TAG [OPTION…]" >&2
  exit 64
fi
tag=$1
shift
cd "$(dirname "$0")/.."

for engine in ${ENGINE:-docker podman buildah}; do
  if command -v "$engine" >/dev/null; then
    # Podman and buildah write the OCI format unless told; it has no health check.
    export BUILDAH_FORMAT=docker
    exec "$engine" build --file container/Dockerfile --tag "$tag" \
      --build-arg PYTHON_VERSION="$(cat .python-version)" "$@" .
  fi
done
echo "Nothing to build with: install docker, podman or buildah (none of these is on PATH)." >&2
exit 69
