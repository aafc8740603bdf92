"""Missed rows are told once a second at most, summed up, and all of them."""

from penstock.cli.tail_missed import Missed


def test_what_is_missed_is_told_once_a_second_and_none_is_lost() -> None:
    said: list[str] = []
    missed = Missed(said.append)
    missed.say_if_due(0.0)
    missed.add("busy", 1)
    missed.say_if_due(0.1)
    assert said == ["1 row was not looked at: more come than can be; some may be yours"]
    for tenth in range(2, 11):
        missed.add("busy", 1000)
        missed.say_if_due(tenth / 10)
    missed.add("slow_reader", 2)
    assert len(said) == 1
    missed.say_if_due(1.1)
    assert said[1] == (
        "9,000 rows were not looked at: more come than can be; some may be yours;"
        " 2 rows were not shown here: they were not read in time"
    )
    missed.say_if_due(9.0)
    assert len(said) == 2, "nothing is nothing to tell"
    missed.add("worker_ended", 0)
    missed.add("another", 5)
    missed.say_rest()
    missed.say_rest()
    assert len(said) == 3
    assert said[2] == (
        "a worker has ended: rows that it stored last may be missing here;"
        " 5 rows were missed here"
    )
