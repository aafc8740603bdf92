-- Named blocks: each begins with its name between double dashes. What stands in braces is a
-- name or a text, quoted as PostgreSQL does.
--
-- What docs/production.md has somebody run who may make roles and databases: a superuser,
-- or the master user of a managed PostgreSQL, who has CREATEROLE and CREATEDB. Each may be
-- run again.

-- roles --
SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($1::text[])

-- quoted --
SELECT quote_ident($1)

-- quoted_text --
SELECT quote_literal($1)

-- log_in --
-- The verifier, not the password (RFC 5803): a statement may come into a server's log.
ALTER ROLE {role} LOGIN PASSWORD {verifier}

-- is_member --
SELECT pg_has_role($1, $2, 'USAGE')

-- add_member --
GRANT {role} TO {login}

-- take_owner --
-- Who makes a database for somebody else has to be able to become them; a superuser is.
SELECT NOT pg_has_role(current_user, $1, $2)

-- grant_owner --
GRANT {role} TO CURRENT_USER

-- has_database --
SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)

-- make_database --
CREATE DATABASE {database} OWNER {role} ENCODING 'UTF8' TEMPLATE template0
