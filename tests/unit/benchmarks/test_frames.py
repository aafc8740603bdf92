"""What the benchmarks send is what the forward protocol says, and the same records."""

import gzip
import time

import msgpack
import pytest
import zstandard

from benchmarks import frames, records
from benchmarks.frames import Form, Frame
from benchmarks.records import Chunk, Mix

EVENTS, CHUNK_EVENTS = 50, 20
INFLATE = {
    "off": lambda data: data,
    "gzip": gzip.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompress(data),
}


@pytest.fixture(scope="module")
def chunks() -> list[Chunk]:
    return records.workload(Mix(EVENTS, CHUNK_EVENTS, 1, time.time_ns()))


def messages_of(made: list[Frame]) -> list[list]:
    unpacker = msgpack.Unpacker(raw=True)
    for frame in made:
        for part in frame.parts:
            unpacker.feed(part)
    return list(unpacker)


def options_of(messages: list[list]) -> list[dict]:
    return [one[-1] for one in messages if isinstance(one[-1], dict)]


def entries_of(chunks: list[Chunk]) -> list[list]:
    unpacker = msgpack.Unpacker(raw=True)
    for chunk in chunks:
        unpacker.feed(chunk.entries)
    return list(unpacker)


@pytest.mark.parametrize("compression", frames.COMPRESSIONS)
def test_packed_forward_holds_the_entries(
    chunks: list[Chunk], compression: str
) -> None:
    made = messages_of(frames.frames(chunks, "run", Form(compression=compression)))
    entries = [INFLATE[compression](entries) for _, entries, _ in made]
    assert entries == [chunk.entries for chunk in chunks]
    sizes = [option[b"size"] for option in options_of(made)]
    assert sizes == [chunk.events for chunk in chunks]


def test_forward_mode_holds_the_entries(chunks: list[Chunk]) -> None:
    made = messages_of(frames.frames(chunks, "run", Form("forward")))
    assert [entry for one in made for entry in one[1]] == entries_of(chunks)


@pytest.mark.parametrize("acks", [True, False])
def test_message_mode_holds_each_entry_in_a_message(
    chunks: list[Chunk], acks: bool
) -> None:
    form = Form("message", acks=acks)
    made = frames.frames(chunks, "run", form, connections=3)
    assert [one[1:3] for one in messages_of(made)] == entries_of(chunks)
    assert sum(frame.events for frame in made) == EVENTS


@pytest.mark.parametrize("mode", frames.MODES)
def test_every_frame_asks_for_an_ack_of_its_own(chunks: list[Chunk], mode: str) -> None:
    made = frames.frames(chunks, "run", Form(mode))
    asked = [option[b"chunk"] for option in options_of(messages_of(made))]
    assert len(set(asked)) == len(made)
    acks = [msgpack.unpackb(frame.ack, raw=True) for frame in made]
    assert acks == [{b"ack": chunk} for chunk in asked]


@pytest.mark.parametrize("mode", frames.MODES)
def test_without_acks_the_last_of_each_connection_asks_for_one(
    chunks: list[Chunk], mode: str
) -> None:
    made = frames.frames(chunks, "run", Form(mode, acks=False), connections=2)
    assert [bool(frame.ack) for frame in made] == [False] * (len(made) - 2) + [True] * 2


def test_another_run_has_other_chunk_ids(chunks: list[Chunk]) -> None:
    acks = {frame.ack for run in "ab" for frame in frames.frames(chunks, run)}
    assert len(acks) == 2 * len(chunks)


@pytest.mark.parametrize("name", records.NAMES)
def test_a_seed_gives_the_same_records(name: str) -> None:
    mix = Mix(EVENTS, CHUNK_EVENTS, 7, 1_800_000_000 * 10**9, kinds=name)
    assert records.workload(mix) == records.workload(mix)
    assert sum(chunk.events for chunk in records.workload(mix)) == EVENTS
