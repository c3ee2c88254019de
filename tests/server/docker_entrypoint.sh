#!/bin/sh
# The entrypoint of the test image: makes a cluster for POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB, as the
# official image's does, and runs the server's command line.
set -eu
PATH="$(echo /usr/lib/postgresql/*/bin):$PATH"
data=/var/lib/postgresql/data
as_postgres="setpriv --reuid=postgres --regid=postgres --init-groups"

install -d -o postgres -g postgres -m 700 "$data"
install -d -o postgres -g postgres /var/run/postgresql
printf %s "$POSTGRES_PASSWORD" > /tmp/password
chown postgres /tmp/password
$as_postgres initdb -D "$data" -U "$POSTGRES_USER" --pwfile=/tmp/password -A scram-sha-256 -E UTF8 --locale=C > /dev/null
rm /tmp/password
echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
[ "$POSTGRES_DB" = postgres ] \
  || echo "create database \"$POSTGRES_DB\"" | $as_postgres postgres --single -D "$data" postgres > /dev/null
exec $as_postgres "$@" -D "$data" -c "listen_addresses=*"
