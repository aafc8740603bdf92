-- Named blocks: each begins with its name between double dashes. They run as
-- penstock_asker, or as the owner of the tables; nothing of a model's is ever SQL here.

-- place --
SELECT to_regclass('penstock_question') IS NOT NULL AS is_migrated

-- take_asker --
-- Only in a database that has been set up for it: roles are the cluster's, rights are not.
SELECT set_config('role', rolname, false)
FROM pg_roles
WHERE rolname = 'penstock_asker' AND rolname <> session_user
  AND pg_has_role(session_user, oid, $1)
  AND has_column_privilege(oid, to_regclass('penstock_question'), 'question', 'INSERT')

-- may_write --
SELECT has_column_privilege('penstock_question', 'question', 'INSERT')
   AND has_column_privilege('penstock_model_call', 'cost_usd', 'INSERT')

-- begin --
INSERT INTO penstock_question (asked_by, question) VALUES ($1, $2) RETURNING id

-- spent --
SELECT coalesce(sum(cost_usd), 0) FROM penstock_model_call
WHERE called_at > now() - interval '24 hours'

-- call --
INSERT INTO penstock_model_call (question, model, input_tokens, cache_write_tokens,
    cache_read_tokens, output_tokens, cost_usd)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- finish --
UPDATE penstock_question
SET outcome = $2, sql = coalesce($3, sql), reading = coalesce($4, reading), problem = $5,
    row_count = $6, seconds = $7
WHERE id = $1

-- save --
UPDATE penstock_question SET is_saved = true WHERE id = $1 AND sql IS NOT NULL

-- examples --
SELECT question, sql FROM penstock_question
WHERE is_saved AND sql IS NOT NULL
ORDER BY id DESC
LIMIT $1
