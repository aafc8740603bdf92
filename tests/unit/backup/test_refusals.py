"""What PostgreSQL raises while something is restored, in one line of ours."""

import asyncpg
import pytest

from penstock.backup.target import refusals_in_words
from penstock.backup.verify import AGAIN
from penstock.errors import DatabaseUnavailableError


def test_a_verify_without_room_is_told_of_another_place_and_not_to_go_on() -> None:
    with (
        pytest.raises(DatabaseUnavailableError) as raised,
        refusals_in_words("the scratch PostgreSQL", AGAIN),
    ):
        raise asyncpg.DiskFullError("could not extend file")
    said = str(raised.value)
    assert said.startswith("the scratch PostgreSQL has no room left")
    assert "--scratch-dir" in said
    assert "goes on" not in said
