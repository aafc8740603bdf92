"""Questions: what a model is told, what of its answer is run, and what is written down.

The model is a server on this machine; the SDK, the guard and PostgreSQL are real.
"""

from collections.abc import Iterator

import pytest

from benchmarks import fake_model
from benchmarks.fake_model import FakeModel, sql
from penstock.ask.answers import AskBack, NoAnswer, UnusableAnswerError
from penstock.ask.conversation import Proposal
from penstock.ask.problems import MendableError
from penstock.ask.spend import SpendLimitError
from penstock.embedded import EmbeddedPostgres
from penstock.errors import (
    ModelError,
    ModelUnavailableError,
    PenstockError,
    SettingsError,
)
from tests.integration.ask_parts import (
    HOSTILE_KEY,
    HOSTILE_SERVICE,
    KEY,
    SECRET,
    conversation,
    seed,
)
from tests.integration.conftest import Database, create_database, drop_database

COUNT = "SELECT service, count(*) AS n FROM logs GROUP BY service ORDER BY service"


@pytest.fixture(scope="module")
def logs(postgres: EmbeddedPostgres, template: str) -> Iterator[Database]:
    made = create_database(postgres, template)
    seed(made)
    yield made
    drop_database(made)


@pytest.fixture(scope="module")
def server() -> Iterator[FakeModel]:
    with fake_model.fake_model() as model:
        yield model


@pytest.fixture
def model(server: FakeModel) -> FakeModel:
    server.will()
    server.decide = None
    return server


def last(logs: Database, columns: str = "outcome") -> tuple[object, ...]:
    (row,) = logs.fetch(
        f"SELECT {columns} FROM penstock_question ORDER BY id DESC LIMIT 1"
    )
    return row


async def test_a_question_becomes_sql_that_runs_and_is_written_down(
    logs: Database, model: FakeModel
) -> None:
    model.will(sql(COUNT, "Events by service."))
    async with conversation(logs, model) as talk:
        proposal = await talk.ask("how many events by service?")
        assert isinstance(proposal, Proposal)
        assert proposal.sql == COUNT
        assert last(logs) == ("proposed",)
        rows = await talk.run(proposal)
    assert ("checkout", 25) in rows.rows
    assert last(
        logs, "asked_by, question, sql, reading, outcome, row_count, problem"
    ) == (
        "tests",
        "how many events by service?",
        COUNT,
        "Events by service.",
        "ran",
        len(rows.rows),
        None,
    )


async def test_the_model_is_told_names_and_the_time_but_no_row(
    logs: Database, model: FakeModel
) -> None:
    model.will(sql(COUNT))
    async with conversation(logs, model) as talk:
        proposal = await talk.ask("q")
        assert isinstance(proposal, Proposal)
        await talk.run(proposal)
    (request,) = model.requests
    told = request.turns[0]
    for name in ("checkout", "duration_ms", '"user","plan"', "Asia/Seoul", "web-1"):
        assert name in told
    assert SECRET not in str(request.body)
    assert "message" not in told


async def test_what_strangers_named_cannot_leave_the_data_it_stands_in(
    logs: Database, model: FakeModel
) -> None:
    model.will(sql(COUNT))
    async with conversation(logs, model) as talk:
        await talk.ask("q")
    (request,) = model.requests
    told = request.turns[0]
    data = told.partition("<in_use>")[2]
    assert data.count("</in_use>") == 1
    assert HOSTILE_SERVICE.replace("<", "\\u003c").replace(">", "\\u003e") in data
    assert HOSTILE_SERVICE not in str(request.body)
    assert "ignore all rules" in data.partition("</in_use>")[0]
    assert HOSTILE_KEY not in told
    # What cannot be read, or is no name, is not told at all.
    assert "bell" not in told
    assert "longlong" not in told
    assert "tab" not in told
    # Nothing of a database is among what is said as ours.
    assert "checkout" not in request.system.partition("# Examples")[0]


@pytest.mark.parametrize(
    "attack",
    [
        "DROP TABLE logs",
        "SELECT 1; DELETE FROM logs",
        "SELECT pg_sleep(100)",
        "SELECT * FROM penstock_question",
        "SELECT question FROM public.penstock_question",
        "SELECT rolpassword FROM pg_authid",
        "COPY (SELECT 1) TO PROGRAM 'id'",
        "SELECT set_config('role', 'postgres', false)",
        "EXPLAIN SELECT 1",
        "not sql at all",
    ],
)
async def test_hostile_sql_of_a_model_is_refused_and_never_reaches_postgresql(
    logs: Database, model: FakeModel, attack: str
) -> None:
    model.will(sql(attack), sql(attack), sql(attack))
    async with conversation(logs, model) as talk:
        with pytest.raises(MendableError, match="guard refuses"):
            await talk.ask("q")
    assert last(logs) == ("refused",)
    assert logs.value("SELECT count(*) FROM logs") == 52


async def test_refused_sql_is_mended_by_the_stronger_model(
    logs: Database, model: FakeModel
) -> None:
    model.will(sql("SELECT nothing FROM logs"), sql(COUNT))
    async with conversation(logs, model) as talk:
        proposal = await talk.ask("q")
        assert isinstance(proposal, Proposal)
        assert (proposal.sql, proposal.repairs) == (COUNT, 1)
        assert [usage.model for usage in talk.spent.calls] == [
            "claude-haiku-5-5",
            "claude-sonnet-5-5",
        ]
    assert "nothing" in model.requests[1].turns[-1]


async def test_a_repair_stops_after_as_many_as_are_set(
    logs: Database, model: FakeModel
) -> None:
    model.will(*[sql("SELECT nope FROM logs")] * 9)
    async with conversation(logs, model, ask_max_repairs=1) as talk:
        with pytest.raises(MendableError, match="nope"):
            await talk.ask("q")
    assert len(model.requests) == 2


async def test_what_postgresql_cannot_plan_is_found_before_it_is_shown(
    logs: Database, model: FakeModel
) -> None:
    model.will(sql("SELECT sum(message) FROM logs"), sql(COUNT))
    async with conversation(logs, model) as talk:
        proposal = await talk.ask("q")
    assert isinstance(proposal, Proposal)
    assert proposal.sql == COUNT
    assert "sum(text)" in model.requests[1].turns[-1]


async def test_an_error_while_it_runs_is_mended_without_telling_a_value(
    logs: Database, model: FakeModel
) -> None:
    model.will(sql("SELECT sum(message::int) FROM logs"), sql(COUNT))
    async with conversation(logs, model) as talk:
        proposal = await talk.ask("q")
        assert isinstance(proposal, Proposal)
        with pytest.raises(MendableError, match=SECRET) as failed:
            await talk.run(proposal)
        assert last(logs) == ("failed",)
        mended = await talk.mend(proposal, failed.value)
    assert isinstance(mended, Proposal)
    assert (mended.sql, mended.repairs) == (COUNT, 1)
    told = model.requests[1].turns[-1]
    assert "22P02" in told
    assert SECRET not in str(model.requests[1].body)


async def test_a_follow_up_keeps_the_conversation_and_no_row_of_it(
    logs: Database, model: FakeModel
) -> None:
    model.will(sql(COUNT, "By service."), sql("SELECT count(*) FROM logs"))
    async with conversation(logs, model) as talk:
        proposal = await talk.ask("first?")
        assert isinstance(proposal, Proposal)
        await talk.run(proposal)
        await talk.ask("and in all?")
    turns = model.requests[1].turns
    assert "first?" in turns[0]
    assert COUNT in turns[1]
    assert "and in all?" in turns[2]
    assert turns[2].count("in_use") == 0
    assert SECRET not in str(model.requests[1].body)


async def test_a_question_that_failed_leaves_the_conversation_as_it_was(
    logs: Database, model: FakeModel
) -> None:
    model.will(sql(COUNT), fake_model.REFUSAL, sql(COUNT))
    async with conversation(logs, model) as talk:
        await talk.ask("one")
        with pytest.raises(ModelError):
            await talk.ask("two")
        await talk.ask("three")
    turns = model.requests[2].turns
    assert len(turns) == 3
    assert not any("two" in turn for turn in turns)


async def test_a_long_conversation_is_bounded_and_keeps_its_beginning(
    logs: Database, model: FakeModel
) -> None:
    model.will(*[sql(COUNT)] * 10)
    async with conversation(logs, model, ask_spend_per_day=0.0) as talk:
        for number in range(10):
            await talk.ask(f"question {number}")
    turns = model.requests[-1].turns
    assert len(turns) == 13
    assert "question 0" in turns[0]
    assert "question 1" not in "".join(turns[1:])
    assert "question 9" in turns[-1]
    roles = [turn["role"] for turn in model.requests[-1].body["messages"]]
    assert roles == ["user", "assistant"] * 6 + ["user"]


async def test_a_model_may_ask_back_or_say_that_logs_cannot_tell(
    logs: Database, model: FakeModel
) -> None:
    model.will(
        fake_model.form(kind="ask_back", reading="Which day?"),
        fake_model.form(kind="no_answer", reading="어제의 날씨는 로그에 없습니다."),
    )
    async with conversation(logs, model) as talk:
        assert await talk.ask("q") == AskBack("Which day?")
        assert last(logs, "outcome, reading") == ("asked_back", "Which day?")
        assert await talk.ask("날씨?") == NoAnswer("어제의 날씨는 로그에 없습니다.")
        assert last(logs) == ("no_answer",)


@pytest.mark.parametrize(
    ("replies", "error", "words"),
    [
        ([fake_model.WRONG_KEY], SettingsError, "does not know the key (401)"),
        ([fake_model.OVERLOADED] * 3, ModelUnavailableError, "overloaded (529)"),
        ([fake_model.TOO_MANY] * 3, ModelUnavailableError, "too many requests"),
        (
            [fake_model.error(500, "api_error")] * 3,
            ModelUnavailableError,
            "fails (500)",
        ),
        ([fake_model.error(403, "permission_error")], SettingsError, "(403)"),
        ([fake_model.error(404, "not_found_error")], SettingsError, "no model"),
        (
            [fake_model.error(400, "invalid_request_error", f"no, {KEY}!\nno")],
            ModelError,
            "(400)",
        ),
        ([fake_model.REFUSAL], UnusableAnswerError, "refuses to answer"),
        ([fake_model.CUT], UnusableAnswerError, "ask_max_tokens"),
        ([fake_model.Reply(text="{}")], UnusableAnswerError, "not in the form"),
        ([fake_model.Reply(text="Sure! SELECT 1")], UnusableAnswerError, "the form"),
        ([fake_model.Reply()], UnusableAnswerError, "answered nothing"),
        ([fake_model.form(kind="sql")], UnusableAnswerError, "without SQL"),
        (
            [fake_model.Reply(text="x", stop_reason="pause_turn")],
            UnusableAnswerError,
            "pause_turn",
        ),
        (
            [fake_model.Reply(raw=b"<html>", content_type="text/html")],
            ModelError,
            "not the model's API",
        ),
        ([fake_model.Reply(raw=b"{")], ModelError, "not the model's API"),
        ([fake_model.Reply(raw=b"[]")], ModelError, ""),
        ([fake_model.Reply(raw=b"{}")], ModelError, ""),
    ],
)
async def test_each_failure_of_the_api_is_one_clear_line_without_the_key(
    logs: Database,
    model: FakeModel,
    replies: list[fake_model.Reply],
    error: type[Exception],
    words: str,
) -> None:
    model.will(*replies)
    async with conversation(logs, model) as talk:
        with pytest.raises(error) as failed:
            await talk.ask("q")
    assert words in str(failed.value)
    assert "\n" not in str(failed.value)
    assert KEY not in str(failed.value)
    assert last(logs) == ("model_failed",)


async def test_a_slow_answer_is_given_up_after_the_time_that_is_set(
    logs: Database, model: FakeModel
) -> None:
    model.will(*[fake_model.Reply(hangs=True)] * 3)
    async with conversation(logs, model, ask_timeout_seconds=1.0) as talk:
        with pytest.raises(ModelUnavailableError, match="within 1 s"):
            await talk.ask("q")


async def test_no_network_is_one_line_with_the_address(
    logs: Database, model: FakeModel
) -> None:
    url = "http://name:secret@127.0.0.1:1"
    async with conversation(logs, model, ask_base_url=url) as talk:
        with pytest.raises(ModelUnavailableError) as failed:
            await talk.ask("q")
    assert "cannot reach the model's API at 127.0.0.1:1" in str(failed.value)
    assert "secret" not in str(failed.value)
    assert "\n" not in str(failed.value)


async def test_what_a_question_cost_is_counted_also_of_an_answer_of_no_use(
    logs: Database, model: FakeModel
) -> None:
    model.will(
        fake_model.Reply(text="garbage", input_tokens=1_000_000, output_tokens=0),
        fake_model.Reply(
            text=sql(COUNT).text,
            input_tokens=1_000_000,
            cache_write_tokens=1_000_000,
            cache_read_tokens=1_000_000,
            output_tokens=1_000_000,
        ),
    )
    before = logs.value("SELECT coalesce(sum(cost_usd), 0) FROM penstock_model_call")
    async with conversation(logs, model) as talk:
        with pytest.raises(UnusableAnswerError):
            await talk.ask("q")
        assert float(talk.spent.cost_usd or 0) == pytest.approx(0.1)
        await talk.ask("q")
        assert float(talk.spent.cost_usd or 0) == pytest.approx(
            0.1 + 0.125 + 0.01 + 0.5
        )
    after = logs.value("SELECT sum(cost_usd) FROM penstock_model_call")
    assert float(after - before) == pytest.approx(0.1 + 0.735)


async def test_when_the_days_limit_is_spent_the_model_is_not_asked(
    logs: Database, model: FakeModel
) -> None:
    model.will(sql(COUNT), sql(COUNT))
    async with conversation(logs, model, ask_spend_per_day=0.0001) as talk:
        with pytest.raises(SpendLimitError, match="ask_spend_per_day"):
            for _ in range(2):
                await talk.ask("q")
    assert len(model.requests) <= 1


async def test_a_saved_question_is_an_example_for_later_ones(
    logs: Database, model: FakeModel
) -> None:
    model.will(sql(COUNT), sql(COUNT))
    async with conversation(logs, model) as talk:
        proposal = await talk.ask("what is <dear> to us?")
        assert isinstance(proposal, Proposal)
        await talk.run(proposal)
        await talk.save(proposal)
    async with conversation(logs, model) as other:
        await other.ask("q")
    told = model.requests[1].turns[0].partition("</in_use>")[0]
    assert "what is \\u003cdear\\u003e to us?" in told
    logs.fetch("UPDATE penstock_question SET is_saved = false")


async def test_rows_are_put_into_words_only_where_they_may_be_shared(
    logs: Database, model: FakeModel
) -> None:
    model.will(
        sql("SELECT message FROM logs WHERE id = 1"),
        fake_model.Reply(text="One order."),
        sql(COUNT),
    )
    async with conversation(logs, model) as talk:
        proposal = await talk.ask("q")
        assert isinstance(proposal, Proposal)
        rows = await talk.run(proposal)
        with pytest.raises(PenstockError, match="--share-rows"):
            await talk.explain(proposal, rows)
    assert len(model.requests) == 1
    model.replies.insert(0, sql("SELECT message FROM logs WHERE id = 1"))
    async with conversation(logs, model, may_share_rows=True) as talk:
        proposal = await talk.ask("q")
        assert isinstance(proposal, Proposal)
        rows = await talk.run(proposal)
        assert await talk.explain(proposal, rows) == "One order."
        words = model.requests[-1]
        await talk.ask("go on")
    # Rows, and nothing that acts: no form for SQL, no tool, no conversation.
    assert SECRET in words.turns[0]
    assert not words.is_for_sql
    assert "tools" not in words.body
    assert len(words.turns) == 1
    # Nothing of them, nor of what was said about them, in what SQL comes of.
    assert SECRET not in str(model.requests[-1].body)
    assert "One order." not in str(model.requests[-1].body)


async def test_the_system_part_is_cached_and_alike_for_every_question(
    logs: Database, model: FakeModel
) -> None:
    model.will(sql(COUNT), sql(COUNT))
    async with conversation(logs, model) as talk:
        await talk.ask("one")
        await talk.ask("two")
    blocks = [request.body["system"] for request in model.requests]
    assert blocks[0] == blocks[1]
    assert blocks[0][-1]["cache_control"] == {"type": "ephemeral"}
    assert model.requests[0].body["output_config"]["effort"] == "low"
    assert "temperature" not in model.requests[0].body


async def test_the_key_is_in_no_row_that_is_written(
    logs: Database, model: FakeModel
) -> None:
    model.will(sql(COUNT))
    async with conversation(logs, model) as talk:
        await talk.ask("q")
    assert KEY in str(model.requests[0].headers)
    for table in ("penstock_question", "penstock_model_call"):
        assert not logs.value(
            f"SELECT count(*) FROM {table} AS t WHERE t::text LIKE '%{KEY}%'"
        )


async def test_a_question_that_is_a_pasted_log_is_not_sent(
    logs: Database, model: FakeModel
) -> None:
    async with conversation(logs, model) as talk:
        with pytest.raises(PenstockError, match="characters"):
            await talk.ask("x" * 4001)
        with pytest.raises(PenstockError, match="no question"):
            await talk.ask(" \n")
    assert not model.requests
