# shellcheck shell=bash
# Owns the watchdog: each minute it looks at the containers and restarts what is not
# well, within limits, and says so. It must not do what an alarm is for: a restart that
# has not helped is left to people.

# So many minutes in a row before a restart: PostgreSQL that recovers answers nobody, and
# a restart would have it begin again.
watch_patience=3
watch_patience_postgres=15
# So many restarts of one service an hour: then it is not the process.
watch_limit=3
watch_window_seconds=3600

watchdog() {
  local name status health exit_code
  # A container that was made since has a log that the agent may not read yet.
  agent_rights
  grow_with_volume
  # Who upgrades or starts knows better.
  take_turn 0 || return 0
  if [[ $(systemctl is-active penstock-stack.service) != active ]]; then
    start_what_nobody_stopped
    return
  fi
  install -d -m 0755 "$run/watchdog"
  while read -r name status health exit_code; do
    if is_well "$name" "$status" "$health" "$exit_code"; then
      rm -f -- "$run/watchdog/$name.count"
    else
      watch_ailing "$name" "$status" "$health"
    fi
  done < <(containers)
}

# A volume or a secret that came late has failed the start for good.
start_what_nobody_stopped() {
  local now
  now=$(systemctl is-active penstock-stack.service || true)
  [[ ! -e $run/stopped && ($now == inactive || $now == failed) ]] || return 0
  say "penstock-stack.service is $now and nobody has stopped it: starting it"
  systemctl start --no-block penstock-stack.service
}

is_well() {
  local name=$1 status=$2 health=$3 exit_code=$4
  case $name in
    # They run once and end.
    setup | migrate) return 0 ;;
  esac
  [[ $status == running && $health != unhealthy ]]
}

watch_ailing() {
  local name=$1 seen=0 patience=$watch_patience
  # Penstock without its database keeps what it has and waits: a restart would be no help.
  if [[ $name == penstock && $(container_state postgres) == running\ @(unhealthy|starting)* ]]; then
    say "penstock is $3, and so is postgres: waiting for that"
    return
  fi
  [[ "$name $2" != "postgres running" ]] || patience=$watch_patience_postgres
  [[ ! -s $run/watchdog/$name.count ]] || seen=$(<"$run/watchdog/$name.count")
  seen=$((seen + 1))
  echo "$seen" >"$run/watchdog/$name.count"
  ((seen >= patience)) || return 0
  if ! may_restart "$name"; then
    warn "$name is $2, $3; restarted $watch_limit times within an hour and left alone now"
    return
  fi
  warn "$name is $2, $3, for $seen minutes: restarting it"
  rm -f -- "$run/watchdog/$name.count"
  compose restart "$name" </dev/null || warn "$name could not be restarted"
}

# Notes a restart, unless there were as many as may be.
may_restart() {
  local file=$run/watchdog/$1.restarts now recent=() at
  printf -v now '%(%s)T' -1
  if [[ -s $file ]]; then
    while read -r at; do
      ((now - at >= watch_window_seconds)) || recent+=("$at")
    done <"$file"
  fi
  ((${#recent[@]} < watch_limit)) || return 1
  printf '%s\n' "${recent[@]}" "$now" | sed '/^$/d' | write "$file" 0644
}
