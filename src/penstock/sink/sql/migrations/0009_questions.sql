-- Questions in plain language: who asked what, the SQL that a model made of it, what came
-- of that, and what it cost. penstock_asker writes it, which is neither what reads logs nor
-- what stores them: roles.sql says what it may. No row of a log is in these tables.

CREATE TABLE penstock_question (
    id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- These two are nobody's to fill in.
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    login    text        NOT NULL DEFAULT session_user,
    asked_by text        NOT NULL,  -- as which the program says that it asks
    question text        NOT NULL,
    sql      text,                  -- of the last answer, whether it was run or not
    reading  text,                  -- how the model has read the question
    outcome  text        NOT NULL DEFAULT 'asked' CHECK (outcome IN (
        'asked',         -- no answer yet; or the process ended before there was one
        'proposed',      -- the SQL was shown, and not run yet
        'declined',      -- somebody saw it and said no
        'ran',
        'failed',        -- PostgreSQL ended it: problem says why
        'refused',       -- by the guard or by PostgreSQL's planner, also after repairs
        'asked_back',    -- the model needs to know more
        'no_answer',     -- logs cannot tell, the model says
        'model_failed'   -- no answer, or one of no use
    )),
    problem  text,
    row_count bigint,
    seconds  double precision,      -- of the SQL
    is_saved boolean     NOT NULL DEFAULT false  -- an example for later questions
);

COMMENT ON TABLE penstock_question IS 'Questions in plain language, their SQL, and what came of it.';

CREATE INDEX penstock_question_saved ON penstock_question (id) WHERE is_saved;

-- A row for each call of a model. Never changed: the day's limit is counted from it.
CREATE TABLE penstock_model_call (
    id                 bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    called_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    question           bigint      NOT NULL REFERENCES penstock_question ON DELETE CASCADE,
    model              text        NOT NULL,
    input_tokens       bigint      NOT NULL,
    cache_write_tokens bigint      NOT NULL,
    cache_read_tokens  bigint      NOT NULL,
    output_tokens      bigint      NOT NULL,
    -- Null: there was no price for the model, nor a limit. What is not a cost is no row.
    cost_usd           numeric(14, 8) CHECK (cost_usd >= 0)
);

COMMENT ON TABLE penstock_model_call IS 'What each call of a model for a question has cost.';

CREATE INDEX penstock_model_call_called_at ON penstock_model_call (called_at);
CREATE INDEX penstock_model_call_question ON penstock_model_call (question);

-- Theirs is the owner of the tables, whoever migrates.
DO $$
DECLARE
    owner CONSTANT name := (
        SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'logs'::regclass
    );
BEGIN
    IF owner <> current_user THEN
        EXECUTE format('ALTER TABLE penstock_question OWNER TO %I', owner);
        EXECUTE format('ALTER TABLE penstock_model_call OWNER TO %I', owner);
    END IF;
END
$$;
