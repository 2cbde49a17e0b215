#!/usr/bin/env bash
# A private Docker engine for tests: engine.sh start|stop|status. It uses a socket and a data folder of its own, so that
# nothing on the host's own engine is touched. `start` prints the line that points clients to it.
#   ENGINE_DIR   its folder (default: $TMPDIR/skillrun-engine); a second engine needs another one
#   ENGINE_PATH  folders put before PATH for the engine alone, e.g. one with a stand-in GPU hook
#   ENGINE_FLAGS more flags for dockerd, e.g. --live-restore
set -euo pipefail
dir=${ENGINE_DIR:-${TMPDIR:-/tmp}/skillrun-engine}
socket=$dir/docker.sock

answers() { python3 - "$socket" <<'PY'
import http.client, socket, sys
link = socket.socket(socket.AF_UNIX)
link.settimeout(5)
try:
    link.connect(sys.argv[1])
    client = http.client.HTTPConnection("engine")
    client.sock = link
    client.request("GET", "/_ping")
    sys.exit(client.getresponse().status != 200)
except OSError:
    sys.exit(1)
PY
}

install_engine() {
  command -v dockerd >/dev/null && return
  echo "installing docker.io" >&2
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io iptables >/dev/null
}

start() {
  if ! { [ -S "$socket" ] && answers; }; then
    install_engine
    mkdir -p "$dir"
    PATH="${ENGINE_PATH:+$ENGINE_PATH:}$PATH" setsid dockerd --data-root "$dir/data" --exec-root "$dir/exec" \
      --pidfile "$dir/dockerd.pid" -H "unix://$socket" --group root ${ENGINE_FLAGS:-} >>"$dir/dockerd.log" 2>&1 </dev/null &
    for _ in $(seq 1 240); do
      [ -S "$socket" ] && answers && break
      kill -0 $! 2>/dev/null || { echo "dockerd ended:" >&2; tail -n 20 "$dir/dockerd.log" >&2; exit 1; }
      sleep 0.125
    done
    answers || { echo "dockerd does not answer after 30 s:" >&2; tail -n 20 "$dir/dockerd.log" >&2; exit 1; }
  fi
  echo "export DOCKER_HOST=unix://$socket"
}

stop() {
  [ -f "$dir/dockerd.pid" ] || return 0
  local pid
  pid=$(cat "$dir/dockerd.pid")
  kill -TERM "$pid" 2>/dev/null || true
  for _ in $(seq 1 120); do
    kill -0 "$pid" 2>/dev/null || { rm -f "$dir/dockerd.pid"; return 0; }
    sleep 0.125
  done
  kill -KILL "$pid" 2>/dev/null || true
}

case ${1:-} in
  start) start ;;
  stop) stop ;;
  status) answers && echo running || { echo stopped; exit 1; } ;;
  *) echo "usage: engine.sh start|stop|status" >&2; exit 2 ;;
esac
