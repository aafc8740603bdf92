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
      penstock_backup create
      ;;
    verify) penstock_backup verify --last ;;
    base)
      # What is on already stays as it is; WAL has to be archived for a base backup.
      penstock_wal wal-enable
      penstock_wal base
      ;;
  esac
}

# Any other command of Penstock's, as the tables' owner: rejected list, backup list.
penstock() {
  local terminal=-T
  [[ ! -t 0 ]] || terminal=-t
  compose --profile backup run --rm --no-deps "$terminal" --entrypoint penstock \
    penstock-backup "$@"
}

# As PostgreSQL's superuser, where its files are.
penstock_wal() {
  compose --profile backup run --rm --no-deps -T penstock-wal "$@"
}

penstock_backup() {
  compose --profile backup run --rm --no-deps -T penstock-backup "$@"
}

# Receivers share a database, and each has the timer.
another_has_made_one() {
  [[ $VARIANT == receivers ]] || return 1
  penstock_backup list -o json 2>/dev/null | python3 -c '
import datetime, json, sys
now = datetime.datetime.now(datetime.timezone.utc)
newest = max((json.loads(line)["id"][:16] for line in sys.stdin), default="")
made = newest and datetime.datetime.strptime(newest, "%Y%m%dT%H%M%SZ").replace(tzinfo=now.tzinfo)
sys.exit(not (made and (now - made).total_seconds() < int(sys.argv[1])))' "$backup_fresh_seconds"
}
