# shellcheck shell=bash
# Owns the containers: no one else starts, stops or replaces them. penstock-stack.service
# calls it, and compose's restart policy is for processes that fail, not for reboots.

# A first start makes the database, and its roles and tables; a start after a crash
# recovers it.
start_wait_seconds=900
# How long all has to stay healthy to be believed, and how often it is looked at.
settle_seconds=15
settle_pause_seconds=3
# The load balancer gives a receiver no new sender after three failed checks of /health,
# ten seconds apart (deploy/terraform/modules/compute/receivers.tf).
deregister_seconds=35
# The bridge of compose.yaml's network `role`: PostgreSQL, that archives WAL, and backups.
role_bridge="penstock-role"
pull_problem=""

compose() {
  docker compose --project-name penstock --env-file "$run/stack.env" \
    --file "$opt/compose/compose.yaml" "$@"
}

stack_start() {
  local image
  take_turn 1800 || die "somebody else has been changing the containers for half an hour"
  rm -f -- "$run/stopped"
  # Where the boot has failed for lack of one of them, it may have come meanwhile.
  prepare
  image=$(image_here) || die "$IMAGE_PARAMETER names no image yet: \`penstock deploy push\`; tried again each minute"
  environment "$image"
  pull "$image" || die "$pull_problem: not pushed yet? \`penstock deploy push\`; tried again each minute"
  same_major || die "$pull_problem"
  say "starting the stack with $image"
  up || die "the stack does not become healthy: $(ailing)"
  remember "$image"
  agent_rights
  say "the stack is up"
}

prepare() {
  if ! volume_is_there; then
    volume_wait_seconds=0
    volume
  fi
  make_directories
  [[ -s $run/secrets/shared_key && -s $data/tls/server.key ]] || secrets
}

# What waits is committed and acked (SIGTERM to Penstock), then PostgreSQL stops: compose
# does it in the reverse order of depends_on, with each service's stop_grace_period.
stack_stop() {
  install -d -m 0755 "$run"
  # Before: the watchdog starts what nobody has stopped.
  : >"$run/stopped"
  take_turn || say "an upgrade has not ended: stopping all the same"
  compose stop || die "not all containers stopped: docker ps"
}

# Commits and acks what waits, and ends Penstock: SIGTERM, and stop_grace_period for it.
drain() { compose stop penstock; }

# Before that, behind a load balancer: without nginx /health fails, and new senders go
# elsewhere while those that are connected are still served. Only for a machine that
# ends: the auto scaling group replaces one that is unhealthy for long.
send_elsewhere() {
  compose stop nginx || warn "nginx did not stop: new senders may still come"
  sleep "$deregister_seconds"
}

# The metadata service is two hops away, for what writes to the bucket. With the role comes
# the whole secret, so nobody else gets there: not nginx, that people reach, nor what is not
# ours. Docker lets what is in this chain stand; a reboot does not.
close_metadata() {
  local rule=(DOCKER-USER -d 169.254.169.254/32 ! -i "$role_bridge" -j REJECT)
  iptables -w 10 -C "${rule[@]}" 2>/dev/null || iptables -w 10 -I "${rule[@]}"
}

# up --wait ends with 1 as soon as a container fails or stays unhealthy.
up() {
  close_metadata || die "the metadata service could not be closed to the containers (iptables), and with the role they would have every password"
  compose up --detach --remove-orphans --wait --wait-timeout "$start_wait_seconds" &&
    stays_healthy
}

# Healthy once is not enough: what ends and is restarted is healthy in between.
stays_healthy() {
  local first now until
  first=$(container_state penstock)
  until=$((SECONDS + settle_seconds))
  while :; do
    now=$(container_state penstock)
    [[ $now == "running healthy "* && $now == "$first" ]] || return 1
    ((SECONDS < until)) || return 0
    sleep "$settle_pause_seconds"
  done
}

# `running healthy RESTARTS ID`.
container_state() {
  local id
  id=$(compose ps --all --quiet "$1" 2>/dev/null | head -n 1)
  [[ -n $id ]] || { echo "missing"; return; }
  docker inspect --format \
    '{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{else}}unchecked{{end}} {{.RestartCount}} {{.Id}}' \
    "$id" 2>/dev/null || echo "missing"
}

# `SERVICE STATE HEALTH EXIT` of each container, a line each.
containers() {
  local ids
  ids=$(docker ps --all --quiet --filter label=com.docker.compose.project=penstock \
    --filter label=com.docker.compose.oneoff=False) || return 1
  [[ -n $ids ]] || return 0
  # shellcheck disable=SC2086  # a list of ids
  docker inspect --format \
    '{{index .Config.Labels "com.docker.compose.service"}} {{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{else}}unchecked{{end}} {{.State.ExitCode}}' \
    $ids
}

# What is not as it should be, for one line.
ailing() {
  local found
  found=$(containers | awk '
    $3 == "unhealthy" || $3 == "starting" { list = list ", " $1 " is " $3 }
    $2 == "exited" && $4 != 0 { list = list ", " $1 " ended with " $4 }
    $2 == "restarting" { list = list ", " $1 " ends again and again" }
    END { print substr(list, 3) }') || found=""
  echo "${found:-no container says why}; docker compose logs, or the log group ${LOG_GROUP:-}"
}

# What is here already needs no registry, so a reboot needs none. Says why not in
# pull_problem.
pull() {
  local image images=("$1") said
  [[ $DATABASE != docker ]] || images+=("$POSTGRES_IMAGE")
  for image in "${images[@]}"; do
    docker image inspect "$image" >/dev/null 2>&1 && continue
    said=$(registry_login "$image" 2>&1) && said=$(docker pull --quiet "$image" 2>&1) && continue
    pull_problem="$image cannot be had (${said##*$'\n'})"
    return 1
  done
}

# PostgreSQL of another major version would make an empty database beside the full one.
# Says why not in pull_problem.
same_major() {
  local wanted file there=()
  [[ $DATABASE == docker ]] || return 0
  wanted=$(docker image inspect --format '{{range .Config.Env}}{{println .}}{{end}}' \
    "$POSTGRES_IMAGE" 2>/dev/null | sed -n 's/^PG_MAJOR=//p') || return 0
  # Digits: the container makes these names, and they are said to people.
  for file in "$data"/postgres/[0-9][0-9]/docker; do
    [[ ! -d $file ]] || there+=("$(basename -- "${file%/docker}")")
  done
  [[ -n $wanted && ${#there[@]} != 0 && " ${there[*]} " != *" $wanted "* ]] || return 0
  pull_problem="$POSTGRES_IMAGE is PostgreSQL $wanted, and the data here are of ${there[*]}: a new deployment and a restored backup bring them over"
  return 1
}

# The login of twelve hours lies in memory with the secrets, and goes through a pipe.
registry_login() {
  local host=${1%%/*}
  # All of the name: it is a password that is sent there.
  [[ $host =~ ^[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$ ]] || return 0
  aws_cli ecr get-login-password |
    docker login --username AWS --password-stdin "$host" >/dev/null
}

# Written down only when it has become healthy here.
remember() {
  local before=""
  install -d -m 0755 "$state"
  [[ ! -s $state/image ]] || before=$(<"$state/image")
  [[ $1 != "$before" ]] || return 0
  [[ -z $before ]] || write "$state/image.previous" 0644 <<<"$before"
  write "$state/image" 0644 <<<"$1"
}

status() {
  local wanted here_now name
  here_now=$(cat "$state/image" 2>/dev/null || echo "none yet")
  wanted=$(image_wanted || echo unknown)
  echo "image: $here_now"
  [[ $wanted == "$here_now" ]] || echo "wanted: $wanted ($IMAGE_PARAMETER)"
  [[ ! -s $state/image.previous ]] || echo "previous: $(<"$state/image.previous")"
  if volume_is_there; then
    echo "data: $(df -h --output=used,size,pcent "$data" | tail -n 1 | xargs) ${DATA_VOLUME_ID:-root disk}"
  else
    echo "data: $DATA_VOLUME_ID is not mounted"
  fi
  for name in docker penstock-volume penstock-secrets penstock-stack; do
    echo "$name.service: $(systemctl is-active "$name.service" || true)"
  done
  containers | awk '{ print $1 ": " $2 ($3 == "unchecked" ? "" : ", " $3) ($2 == "exited" ? " " $4 : "") }'
}
