-- Named blocks: each begins with its name between double dashes.
-- {matching} is the block of that name.

-- matching --
-- Which events a command is about; what is NULL restricts nothing. "refused" is the
-- reason of all that PostgreSQL refused, "refused: name" of one constraint or error.
($1::bigint[] IS NULL OR id = ANY ($1))
AND ($2::text IS NULL OR reason = $2 OR starts_with(reason, $2 || ':'))
AND ($3::text IS NULL OR tag = $3)
AND ($4::text IS NULL OR sqlstate = $4)
AND ($5::interval IS NULL OR received_at >= now() - $5)
AND ($6::interval IS NULL OR received_at < now() - $6)

-- list --
SELECT id, received_at, sender, tag, chunk, reason, sqlstate, length(raw) AS bytes
FROM rejected_event
WHERE {matching}
ORDER BY id DESC
LIMIT $7

-- count_by_kind --
SELECT count(*) AS events, reason, sqlstate, tag,
       min(received_at) AS oldest, max(received_at) AS newest
FROM rejected_event
WHERE {matching}
GROUP BY reason, sqlstate, tag
ORDER BY events DESC, reason, sqlstate, tag

-- one --
SELECT id, received_at, sender, tag, chunk, reason, sqlstate, raw
FROM rejected_event
WHERE id = $1

-- extent --
-- What comes later is not a command's that has begun.
SELECT count(*) AS events, coalesce(max(id), 0) AS last_id
FROM rejected_event
WHERE {matching}

-- purge --
WITH chosen AS (
    SELECT id
    FROM rejected_event
    WHERE {matching} AND id <= $7
    ORDER BY id
    LIMIT $8
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM rejected_event USING chosen WHERE rejected_event.id = chosen.id
    RETURNING rejected_event.id
)
SELECT count(*) FROM gone

-- batch --
-- The next events to replay, so many and of so many bytes; one of any size.
SELECT id, received_at, tag, reason, raw
FROM (
    SELECT *, sum(length(raw)) OVER (ORDER BY id) - length(raw) AS bytes_before
    FROM (
        SELECT id, received_at, tag, reason, raw
        FROM rejected_event
        WHERE {matching} AND id > $7 AND id <= $8
        ORDER BY id
        LIMIT $9
    ) AS chosen
) AS counted
WHERE bytes_before < $10
ORDER BY id

-- lock --
-- Those that another replay has, or has stored already, are not ours.
SELECT id
FROM rejected_event
WHERE id = ANY ($1::bigint[])
ORDER BY id
FOR UPDATE SKIP LOCKED

-- delete --
DELETE FROM rejected_event WHERE id = ANY ($1::bigint[])

-- reject_part --
-- What is no row in a chunk whose other entries are.
INSERT INTO rejected_event (received_at, sender, tag, chunk, reason, raw)
SELECT received_at, sender, tag, chunk, $2, $3 FROM rejected_event WHERE id = $1
