# shellcheck shell=bash
# Owns the change from one image to another: with a health check, and back where it
# fails. One machine at a time; which, is for who calls (penstock deploy upgrade).

# Ends with 0 when IMAGE runs and is healthy, else with 1, one line and the image of
# before running again.
upgrade() {
  local image=$1 before="" reason=""
  [[ ! -s $state/image ]] || before=$(<"$state/image")
  take_turn 0 || die "another upgrade or a start is under way on this machine: try again when it has ended"
  prepare
  pull "$image" || die "$pull_problem: nothing was changed"
  fetch || die "nothing was changed"
  # From here on a signal, too, leads back.
  trap 'undo "$image" "$before" "it was interrupted"' INT TERM HUP
  # What is set may have changed with them: profiles, another image of PostgreSQL.
  load_instance
  { pull "$image" && same_major; } || undo "$image" "$before" "$pull_problem"
  install_units
  environment "$image"
  if [[ -n $before && $(container_state penstock) == running* ]]; then
    # What cannot work is known before anything has been stopped.
    say "migrating the database for $image, while $before takes events"
    compose run --rm --no-deps -T migrate || reason="its migration failed"
    [[ -n $reason ]] || drain || reason="$before could not be drained"
  fi
  [[ -n $reason ]] || say "starting $image"
  [[ -n $reason ]] || up || reason=$(ailing)
  [[ -z $reason ]] || undo "$image" "$before" "$reason"
  trap - INT TERM HUP
  remember "$image"
  agent_rights
  forget_images "$image" "$before"
  [[ $DATABASE != docker ]] || forget_images "$POSTGRES_IMAGE" ""
  rm -f -- "$run/stopped"
  systemctl start --no-block penstock-stack.service
  say "$image runs and is healthy${before:+; $before was before}"
}

# Back to the image and to the files of before, then the end.
undo() {
  local image=$1 before=$2 reason=$3
  trap '' INT TERM HUP
  if [[ -z $before ]]; then
    die "$image does not run ($reason), and there is none before it to go back to"
  fi
  warn "$image: $reason; going back to $before"
  compose logs --no-color --tail 20 penstock >&2 || true
  if [[ -d $opt.previous ]]; then
    rm -rf -- "$opt.new"
    cp -a -- "$opt.previous" "$opt.new"
    put_in_place "$opt.new"
    load_instance
    install_units
  fi
  environment "$before"
  if up; then
    agent_rights
    die "upgrade to $image failed ($reason): $before runs again"
  fi
  die "upgrade to $image failed ($reason), and so did going back to $before: $(ailing)"
}

# The disk would fill, an image at a time. By their ids: what was pulled by its digest has
# no tag.
forget_images() {
  local image=$1 before=$2 repository id keep
  repository=${image%@*}
  [[ ${repository##*/} != *:* ]] || repository=${repository%:*}
  # shellcheck disable=SC2086  # there may be none before
  keep=$(docker image inspect --format '{{.Id}}' "$image" $before 2>/dev/null) || return 0
  for id in $(docker image ls --no-trunc --quiet "$repository" 2>/dev/null); do
    [[ $keep == *"$id"* ]] || docker image rm "$id" >/dev/null 2>&1 || true
  done
}
