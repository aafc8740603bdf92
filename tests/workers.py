"""How many workers the servers of the tests have: the same promises with any number.

WORKERS_OF_TESTS=2 python -m pytest tests/acceptance tests/integration
"""

import os

import pytest

WORKERS = int(os.environ.get("WORKERS_OF_TESTS", "1"))
# Said, or a machine with many cores would try something else than one with few.
AS_SETTING = {"PENSTOCK_WORKERS": str(WORKERS)}
# Of tests that look into one process, or at its limits to the byte.
one_worker = pytest.mark.skipif(WORKERS > 1, reason="it looks into one process")
