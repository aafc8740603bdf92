-- Named blocks: each begins with its name between double dashes. They run as
-- penstock_reader, on the views. No ORDER BY: a LIMIT alone ends as soon as it is full,
-- where sorting would read whole days. Several windows, so that what was seen this minute
-- does not hide what was seen yesterday.

-- values --
-- $1: now. Levels, services, hosts and tags that were seen lately, the frequent ones first.
WITH sample AS MATERIALIZED (
    (SELECT level, service, host, tag FROM logs
     WHERE ts > $1::timestamptz - interval '15 minutes' AND ts <= $1
     LIMIT 2000)
    UNION ALL
    (SELECT level, service, host, tag FROM logs
     WHERE ts > $1::timestamptz - interval '1 day'
       AND ts <= $1::timestamptz - interval '15 minutes'
     LIMIT 2000)
    UNION ALL
    (SELECT level, service, host, tag FROM logs
     WHERE ts > $1::timestamptz - interval '8 days'
       AND ts <= $1::timestamptz - interval '1 day'
     LIMIT 2000)
)
SELECT seen.kind, seen.value, count(*) AS rows
FROM sample,
     LATERAL (VALUES ('level', level::text), ('service', service), ('host', host),
                     ('tag', tag)) AS seen (kind, value)
WHERE length(seen.value) <= 80
GROUP BY seen.kind, seen.value
ORDER BY rows DESC, seen.kind, seen.value
LIMIT 400

-- keys --
-- $1: now. The keys of attributes, three levels deep, and the types of what stands there.
-- The path is JSON: a key may hold a dot.
WITH RECURSIVE sample AS MATERIALIZED (
    (SELECT attributes FROM logs
     WHERE ts > $1::timestamptz - interval '15 minutes' AND ts <= $1
     LIMIT 300)
    UNION ALL
    (SELECT attributes FROM logs
     WHERE ts > $1::timestamptz - interval '1 day'
       AND ts <= $1::timestamptz - interval '15 minutes'
     LIMIT 300)
    UNION ALL
    (SELECT attributes FROM logs
     WHERE ts > $1::timestamptz - interval '8 days'
       AND ts <= $1::timestamptz - interval '1 day'
     LIMIT 300)
), found (path, value, depth) AS (
    SELECT jsonb_build_array(each.key), each.value, 1
    FROM sample, LATERAL jsonb_each(attributes) AS each
    WHERE jsonb_typeof(attributes) = 'object' AND length(each.key) <= 80
    UNION ALL
    SELECT found.path || to_jsonb(each.key), each.value, found.depth + 1
    FROM found, LATERAL jsonb_each(found.value) AS each
    WHERE jsonb_typeof(found.value) = 'object' AND found.depth < 3
      AND length(each.key) <= 80
)
SELECT path::text AS path, jsonb_typeof(value) AS type, count(*) AS rows
FROM found
WHERE jsonb_typeof(value) NOT IN ('object', 'null')
GROUP BY path, type
ORDER BY rows DESC, path, type
LIMIT 200
