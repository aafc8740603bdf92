-- Named blocks: each begins with its name between double dashes.

-- archiver --
-- Whether WAL is archived and how that goes. What the archiver counts is not enough:
-- when its shell ends with more than 125 it dies, and failed_count stays as it was.
SELECT current_setting('archive_mode') AS mode,
       current_setting('archive_command') AS command,
       coalesce(current_setting('archive_library', true), '') AS library,
       pg_size_bytes(current_setting('wal_segment_size')) AS segment_bytes,
       CASE WHEN NOT pg_is_in_recovery()
            THEN pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint
       END AS written_bytes,
       extract(epoch FROM clock_timestamp())::float8 AS now_seconds,
       archived_count,
       last_archived_wal,
       extract(epoch FROM last_archived_time)::float8 AS last_archived_seconds,
       failed_count,
       last_failed_wal,
       extract(epoch FROM last_failed_time)::float8 AS last_failed_seconds
FROM pg_stat_archiver

-- ready --
-- What waits to be archived: pg_monitor or a superuser may look.
SELECT count(*) AS files,
       extract(epoch FROM min(modification))::float8 AS oldest_seconds
FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'
