#!/bin/sh
# Make the virtual environment. Plain pip is enough; uv is used where it is present because it takes seconds instead of a minute.
set -eu
venv=$1
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "error: skillrun needs Python 3.11 or newer; $python is $("$python" -V 2>&1). Fix: make PYTHON=python3.11 setup" >&2
  exit 2
}
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" 2>/dev/null || {
  echo "error: $python can not make a virtual environment. Fix: apt-get install python3-venv" >&2
  exit 2
}

# torch first and pinned, so that nothing that depends on it brings another build.
if command -v uv >/dev/null 2>&1; then
  links=$("$python" -m pip config get :env:.find-links 2>/dev/null || "$python" -m pip config get global.find-links 2>/dev/null || true)
  set -- --python "$venv/bin/python" -c constraints.txt
  [ -z "$links" ] || set -- "$@" --find-links "$links"
  uv pip install -q "$@" torch
  uv pip install -q "$@" -e '.[local,dev]'
else
  "$venv/bin/python" -m pip install -q -c constraints.txt torch
  "$venv/bin/python" -m pip install -q -c constraints.txt -e '.[local,dev]'
fi
