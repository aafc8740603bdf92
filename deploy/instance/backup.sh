# shellcheck shell=bash
# Owns the backups that the timers ask for. It must not remove any: the instance's role
# cannot, so prune and `base --keep-days` belong to a machine that may (docs/backups.md).

# A backup younger than this is another receiver's of this night.
backup_fresh_seconds=43200

backup() {
  [[ $(container_state penstock) == running* ]] || die "Penstock does not run, so no backup: $program status"
  case $1 in
    create)
      ! another_has_made_one || { say "another receiver has made a backup this night"; return; }
      service penstock-backup create
      ;;
    verify) service penstock-backup verify --last ;;
    base)
      archives_wal || { say "WAL is not archived, so a base backup would be of no use: docs/backups.md, wal-enable"; return; }
      service penstock-wal base
      ;;
  esac
}

# Of compose.yaml's profile backup.
service() {
  compose --profile backup run --rm --no-deps -T "$@"
}

# postgresql.conf begins with an archive_command that does nothing.
archives_wal() {
  local command
  command=$(compose exec -T postgres psql -U postgres -Atc 'SHOW archive_command' </dev/null) || return 1
  [[ -n $command && $command != true && $command != "(disabled)" ]]
}

# Receivers share a database, and each has the timer.
another_has_made_one() {
  [[ $VARIANT == receivers ]] || return 1
  service penstock-backup list -o json 2>/dev/null | python3 -c '
import datetime, json, sys
now = datetime.datetime.now(datetime.timezone.utc)
newest = max((json.loads(line)["id"][:16] for line in sys.stdin), default="")
made = newest and datetime.datetime.strptime(newest, "%Y%m%dT%H%M%SZ").replace(tzinfo=now.tzinfo)
sys.exit(not (made and (now - made).total_seconds() < int(sys.argv[1])))' "$backup_fresh_seconds"
}
