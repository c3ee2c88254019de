#!/bin/sh
# make test-docker: the container tests, with an image made of Debian's own PostgreSQL, so that no registry is needed.
# Needs docker and debootstrap; where no daemon answers, root gets one of its own, which is stopped afterwards.
set -eu
cd "$(dirname "$0")/../.."
image=eventmark-postgres:debian
place=$(mktemp -d /var/tmp/eventmark-docker-XXXXXX)
daemon=

clean() {
  if [ -n "$daemon" ]; then
    kill "$daemon" && wait "$daemon" || true
  fi
  rm -rf "$place"
}
trap clean EXIT

for program in docker debootstrap; do
  command -v "$program" > /dev/null || { echo "$program is not installed: apt-get install docker.io debootstrap" >&2; exit 4; }
done
if ! docker info > /dev/null 2>&1; then
  export DOCKER_HOST="unix://$place/docker.sock"
  export TESTCONTAINERS_CONNECTION_MODE=docker_host # its ports are this machine's, also if this is a container
  dockerd --host "$DOCKER_HOST" --data-root "$place/data" --exec-root "$place/run" --pidfile "$place/dockerd.pid" \
    > "$place/dockerd.log" 2>&1 &
  daemon=$!
  for _ in $(seq 60); do
    docker info > /dev/null 2>&1 && break
    kill -0 "$daemon" 2> /dev/null || { tail -5 "$place/dockerd.log" >&2; exit 4; }
    sleep 1
  done
fi
if ! docker image inspect "$image" > /dev/null 2>&1; then
  . /etc/os-release
  debootstrap --variant=minbase --include=postgresql "$VERSION_CODENAME" "$place/root" > "$place/debootstrap.log" \
    || { tail -5 "$place/debootstrap.log" >&2; exit 4; }
  rm -rf "$place"/root/var/lib/postgresql/* "$place"/root/var/cache/apt/archives/*.deb
  install -m 755 tests/server/docker_entrypoint.sh "$place/root/entrypoint"
  tar -C "$place/root" -c . | docker import --change 'ENTRYPOINT ["/entrypoint"]' --change 'EXPOSE 5432' - "$image"
fi
# Ryuk, which removes what a killed run leaves behind, is an image of a registry's
EVENTMARK_DOCKER_IMAGE=$image TESTCONTAINERS_RYUK_DISABLED=true .venv/bin/pytest -m docker "$@"
