# shellcheck shell=bash
# Owns the notice that a receiver ends: EC2's of a spot instance, two minutes before, or
# the auto scaling group's. It drains the receiver, so that no chunk that a sender
# believes acked waits here.

metadata=http://169.254.169.254
# The notice comes two minutes before the end.
spot_pause_seconds=5
by_group="auto scaling"

spot() {
  local notice
  say "waiting for the notice that this instance ends"
  until notice=$(spot_notice); do sleep "$spot_pause_seconds"; done
  say "this instance ends ($notice): draining"
  take_turn 20 || say "an upgrade is under way: draining all the same"
  # Not before the drain: the watchdog would start it again.
  : >"$run/stopped"
  # The group has asked the load balancer already; EC2, that takes spot capacity, has not.
  [[ $notice == "$by_group" ]] || send_elsewhere
  drain || warn "the drain failed: what waits is in the spool or is sent again"
  systemctl stop --no-block penstock-stack.service
  say "drained: all that was acked is stored"
  [[ $notice != "$by_group" ]] || release
}

# Prints the notice, if there is one.
spot_notice() {
  local token found
  token=$(metadata_token) || return 1
  if found=$(metadata_ask "$token" spot/instance-action); then
    # {"action": "terminate", "time": "2026-11-30T08:22:00Z"}
    [[ $found =~ \"action\"[[:space:]]*:[[:space:]]*\"([a-z]+)\" ]] || return 1
    echo "spot: ${BASH_REMATCH[1]}"
    return
  fi
  found=$(metadata_ask "$token" autoscaling/target-lifecycle-state) || return 1
  [[ $found == Terminated ]] || return 1
  echo "$by_group"
}

# The group's hook waits for this, or for its time to be over. Names: receivers.tf.
release() {
  local token id
  if token=$(metadata_token) && id=$(metadata_ask "$token" instance-id); then
    aws_cli autoscaling complete-lifecycle-action --lifecycle-hook-name drain \
      --auto-scaling-group-name "$NAME-$ENVIRONMENT-receivers" --instance-id "$id" \
      --lifecycle-action-result CONTINUE && return
  fi
  warn "the group was not told that this instance has drained: it waits in vain"
}

metadata_token() {
  curl -fsS -m 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' \
    "$metadata/latest/api/token" 2>/dev/null
}

# The token goes by stdin: an argument can be read by everybody.
metadata_ask() {
  curl -fsS -m 2 -H @- "$metadata/latest/meta-data/$2" 2>/dev/null \
    <<<"X-aws-ec2-metadata-token: $1"
}
