"""Who encodes next: one to its end, then the other, and the event loop in between."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from penstock.net.turns import ROUND_BYTES, TURN_BYTES, Turns

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
PART = ROUND_BYTES // 2


@pytest.fixture(params=list(LOOPS))
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    debug = request.param == "asyncio"
    with asyncio.Runner(debug=debug, loop_factory=LOOPS[request.param]) as runner:
        yield runner


class Diary:
    """What happened, in order: a worker's name for a part, `.` for the loop's turn."""

    def __init__(self) -> None:
        self.text = ""

    def tick(self, times: int) -> None:
        """Note the loop's turns, as somebody else who waits for one."""
        self.text += "."
        if times > 1:
            asyncio.get_running_loop().call_soon(self.tick, times - 1)


class Worker:
    """Has so many parts to do, of so many bytes each."""

    def __init__(
        self,
        name: str,
        diary: Diary,
        parts: int,
        part_bytes: int = PART,
        host: str = "192.0.2.7",
    ) -> None:
        self.name, self.diary, self.parts = name, diary, parts
        self.part_bytes = part_bytes
        self.host = host
        self.is_midway = False
        self.asked: list[int] = []
        self.then: Callable[[], None] = lambda: None

    @property
    def has_work(self) -> bool:
        return self.parts > 0

    def work(self, max_bytes: int) -> int:
        self.asked.append(max_bytes)
        done_bytes = 0
        while self.parts and done_bytes < max_bytes:
            self.diary.text += self.name
            self.parts -= 1
            done_bytes += self.part_bytes
            self.then()
        return done_bytes


async def until_idle(*workers: Worker) -> None:
    for _ in range(1000):
        if not any(worker.has_work for worker in workers):
            break
        await asyncio.sleep(0)
    await asyncio.sleep(0)


def run(runner: asyncio.Runner, *parts: int, part_bytes: int = PART) -> Diary:
    """Let workers a, b, c ... with so many parts ask at once; return what they did."""

    async def scenario() -> Diary:
        diary, turns = Diary(), Turns()
        workers = [
            Worker(name, diary, count, part_bytes)
            for name, count in zip("abcdef", parts, strict=False)
        ]
        for worker in workers:
            turns.ask(worker)
        await until_idle(*workers)
        return diary

    return runner.run(scenario())


def test_nothing_is_done_in_the_call_that_asks(runner: asyncio.Runner) -> None:
    async def scenario() -> None:
        diary, turns = Diary(), Turns()
        turns.ask(Worker("a", diary, 1))
        assert diary.text == ""
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert diary.text == "a"

    runner.run(scenario())


def test_who_asked_first_is_done_first_and_to_its_end(runner: asyncio.Runner) -> None:
    assert run(runner, 5, 1, 7).text == "aaaaabccccccc"


def test_the_loop_has_its_turn_after_each_round(runner: asyncio.Runner) -> None:
    async def scenario() -> str:
        diary, turns = Diary(), Turns()
        workers = Worker("a", diary, 5), Worker("b", diary, 3)
        for worker in workers:
            turns.ask(worker)
        diary.tick(10)
        await until_idle(*workers)
        return diary.text

    diary = runner.run(scenario())
    parts_between = [len(parts) for parts in diary.strip(".").split(".")]
    assert max(parts_between) * PART <= ROUND_BYTES
    assert parts_between == [2, 2, 2, 2]


def test_many_small_ones_share_a_round(runner: asyncio.Runner) -> None:
    async def scenario() -> str:
        diary, turns = Diary(), Turns()
        workers = [Worker("a", diary, 1, part_bytes=100) for _ in range(50)]
        for worker in workers:
            turns.ask(worker)
        diary.tick(3)
        await until_idle(*workers)
        return diary.text

    assert "a" * 50 in runner.run(scenario())


def test_one_is_asked_for_what_is_left_of_the_round(runner: asyncio.Runner) -> None:
    async def scenario() -> list[int]:
        diary, turns = Diary(), Turns()
        first = Worker("a", diary, 1, part_bytes=1000)
        second = Worker("b", diary, 1, part_bytes=1000)
        turns.ask(first)
        turns.ask(second)
        await until_idle(first, second)
        return first.asked + second.asked

    assert runner.run(scenario()) == [ROUND_BYTES, ROUND_BYTES - 1000]


def test_a_huge_message_does_not_keep_the_others_waiting(
    runner: asyncio.Runner,
) -> None:
    turn = TURN_BYTES // PART
    text = run(runner, 3 * turn, 1, 2).text
    assert text == "a" * turn + "b" + "cc" + "a" * 2 * turn


def test_two_huge_ones_take_turns(runner: asyncio.Runner) -> None:
    turn = TURN_BYTES // PART
    text = run(runner, 2 * turn, 2 * turn).text
    assert text == "a" * turn + "b" * turn + "a" * turn + "b" * turn


def test_each_ones_turn_is_counted_anew(runner: asyncio.Runner) -> None:
    turn = TURN_BYTES // PART
    text = run(runner, turn - 1, turn - 1, 1).text
    assert text == "a" * (turn - 1) + "b" * (turn - 1) + "c"


def test_one_that_asks_while_others_work_comes_behind_them(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> str:
        diary, turns = Diary(), Turns()
        late = Worker("x", diary, 2)
        first, second = Worker("a", diary, 2), Worker("b", diary, 2)
        for worker in (first, second):
            turns.ask(worker)

        def ask_once() -> None:
            first.then = lambda: None
            turns.ask(late)

        first.then = ask_once
        await until_idle(first, second, late)
        return diary.text

    assert runner.run(scenario()) == "aabbxx"


def test_after_all_is_done_the_next_one_gets_its_turn(runner: asyncio.Runner) -> None:
    async def scenario() -> str:
        diary, turns = Diary(), Turns()
        for name in "abc":
            worker = Worker(name, diary, 3)
            turns.ask(worker)
            await until_idle(worker)
        return diary.text

    assert runner.run(scenario()) == "aaabbbccc"


def test_one_that_has_nothing_to_do_takes_no_time(runner: asyncio.Runner) -> None:
    assert run(runner, 0, 0, 2, 0, 1).text == "cce"


def test_one_whose_work_fails_does_not_stop_the_others(runner: asyncio.Runner) -> None:
    """It would be the end of all encoding, in a process that seems to live."""

    async def scenario() -> tuple[str, list[BaseException]]:
        failures: list[BaseException] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: failures.append(context["exception"])
        )
        diary, turns = Diary(), Turns()
        broken, healthy = Worker("x", diary, 3), Worker("a", diary, 3)

        def fail() -> None:
            raise RuntimeError("a bug")

        broken.then = fail
        turns.ask(broken)
        turns.ask(healthy)
        await until_idle(healthy)
        another = Worker("b", diary, 1)
        turns.ask(another)
        await until_idle(another)
        return diary.text, failures

    text, failures = runner.run(scenario())
    assert text == "xaaab"
    assert [type(failure) for failure in failures] == [RuntimeError], "it is told"


# --- addresses


def worked(runner: asyncio.Runner, *workers: tuple[str, str, int, int]) -> str:
    """Let all ask at once: a name, a host, so many parts of so many bytes."""

    async def scenario() -> str:
        diary, turns = Diary(), Turns()
        made = [
            Worker(name, diary, parts, part_bytes, host)
            for name, host, parts, part_bytes in workers
        ]
        for worker in made:
            turns.ask(worker)
        await until_idle(*made)
        return diary.text

    return runner.run(scenario())


def test_an_address_has_no_more_of_it_for_having_more_connections(
    runner: asyncio.Runner,
) -> None:
    many = [(name, "many", 6, TURN_BYTES // 2) for name in "bcdefg"]
    text = worked(runner, *many, ("x", "one", 8, TURN_BYTES // 2))
    # In turn, whoever of the many it is, for as long as the one has something.
    assert "".join("m" if name != "x" else name for name in text[:16]) == "mmxx" * 4


def test_what_an_address_does_beyond_its_turn_is_taken_off_the_next_ones(
    runner: asyncio.Runner,
) -> None:
    text = worked(
        runner, ("L", "large", 2, 5 * TURN_BYTES), ("s", "small", 9, TURN_BYTES)
    )
    assert text == "L" + "s" * 5 + "L" + "s" * 4


def test_who_comes_again_has_not_been_forgiven(runner: asyncio.Runner) -> None:
    async def scenario() -> str:
        diary, turns = Diary(), Turns()
        first = Worker("L", diary, 1, 3 * TURN_BYTES, "large")
        again = Worker("M", diary, 1, 3 * TURN_BYTES, "large")
        small = Worker("s", diary, 9, TURN_BYTES, "small")
        turns.ask(first)
        turns.ask(small)

        def come_again() -> None:
            small.then = lambda: None
            turns.ask(again)

        small.then = come_again
        await until_idle(first, again, small)
        return diary.text

    # It has done two turns too much, and is passed over twice.
    assert runner.run(scenario()) == "L" + "sss" + "M" + "s" * 6


class Inflater(Worker):
    """Works only while nobody else is midway, and is midway until its last part."""

    def __init__(self, turns: Turns, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.turns = turns
        self.is_midway = True

    def work(self, max_bytes: int) -> int:
        if not self.turns.may_be_midway(self):
            return 1
        done_bytes = super().work(1)
        self.is_midway = self.parts > 0
        return done_bytes


def test_what_one_may_do_at_a_time_goes_on_to_its_end_and_others_work_meanwhile(
    runner: asyncio.Runner,
) -> None:
    async def scenario() -> str:
        diary, turns = Diary(), Turns()
        large = 2 * TURN_BYTES
        workers = [
            Inflater(turns, "i", diary, 4, large, "many"),
            Inflater(turns, "k", diary, 4, large, "many"),
            Worker("m", diary, 3, 1000, "many"),
            Inflater(turns, "l", diary, 2, large, "other"),
            Worker("o", diary, 9, TURN_BYTES, "third"),
        ]
        for worker in workers:
            turns.ask(worker)
        diary.tick(60)
        await until_idle(*workers)
        return diary.text

    text = runner.run(scenario())
    inflated = "".join(name for name in text if name in "ikl")
    assert inflated in ("iiiikkkkll", "iiiillkkkk")
    # Neither who waits to inflate nor who does keeps anybody from encoding.
    assert "mmm" in text[: text.index("k")]
    assert "o" in text[: text.rindex("i")]
    steps = [part for part in text.split(".") if part]
    assert max(len([name for name in part if name in "ikl"]) for part in steps) == 1


def test_who_breaks_off_midway_lets_the_next_begin(runner: asyncio.Runner) -> None:
    async def scenario() -> str:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: None)
        diary, turns = Diary(), Turns()
        first = Inflater(turns, "i", diary, 4, PART)
        second = Inflater(turns, "k", diary, 2, PART)

        def fail() -> None:
            raise RuntimeError("a bug")

        first.then = fail
        turns.ask(first)
        turns.ask(second)
        await until_idle(second)
        return diary.text

    assert runner.run(scenario()) == "ikk"
