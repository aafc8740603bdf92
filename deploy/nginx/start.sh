#!/bin/sh
# Starts nginx in its container, or tells whether it answers (`healthy`). It owns which
# resolver nginx asks; all else is in nginx.conf.
set -eu

if [ "${1:-}" = healthy ]; then
  # Whether it is up and has valid files; Penstock's own state is its own check's.
  nginx -t -q -c /etc/nginx/nginx.conf
  kill -0 "$(cat /tmp/nginx.pid)"
  exit
fi
# The container engine's own: Docker's is 127.0.0.11, podman's the network's gateway. By
# it a Penstock that comes back with another address is found again.
server=$(awk '$1 == "nameserver" { print $2; exit }' /etc/resolv.conf)
case $server in *:*) server="[$server]" ;; esac
echo "resolver ${server:-127.0.0.11} valid=5s;" >/tmp/resolver.conf
exec nginx -c /etc/nginx/nginx.conf -g 'daemon off;'
