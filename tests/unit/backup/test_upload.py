"""How large the parts of an upload are."""

import pytest

from penstock.backup.s3_upload import EXPECTED_PARTS, LEAST_PART_BYTES, part_bytes

GIB = 1024**3


@pytest.mark.parametrize("expected_bytes", [0, 1, GIB, 1000 * GIB, 5000 * GIB])
def test_what_is_expected_fits_into_the_parts_there_may_be(expected_bytes: int):
    sizes = [part_bytes(number, expected_bytes) for number in range(1, 10_001)]
    assert min(sizes) >= LEAST_PART_BYTES
    assert sum(sizes[:EXPECTED_PARTS]) >= expected_bytes
    # Flat where it was expected, and more than twice as much fits in.
    assert len(set(sizes[:EXPECTED_PARTS])) == 1
    assert sum(sizes) > 2 * expected_bytes
    assert sizes == sorted(sizes)


def test_parts_are_small_where_little_is_expected():
    assert part_bytes(1, 60 * GIB) == LEAST_PART_BYTES
