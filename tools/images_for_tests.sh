#!/usr/bin/env bash
# What tests/docker needs, without any image registry: an engine, a base image, and both CPU images of this checkout.
#   images_for_tests.sh VENV
# Prints the lines that point the tests to it: eval "$(tools/images_for_tests.sh .venv)"
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$1/bin
wheels=build/wheelhouse
settings=$(bash tools/engine.sh start)
eval "$settings"
bash tools/base_image.sh skillrun-base:ci >&2
mkdir -p "$wheels"
"$bin/python" -m pip download -qq --disable-pip-version-check -d "$wheels" -c constraints.txt \
  -r containers/visual_changenet/requirements-train.txt -r containers/visual_changenet/requirements-deploy-cpu.txt >&2
"$bin/skillrun" images build --cpu --wheelhouse "$wheels" --base skillrun-base:ci >&2
echo "$settings"
echo "export SKILLRUN_TEST_WHEELHOUSE=$PWD/$wheels"
