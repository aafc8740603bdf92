"""How many workers the servers of the tests have: the same promises with any number.

WORKERS_OF_TESTS=2 python -m pytest tests/acceptance tests/integration
"""

import os

WORKERS = int(os.environ.get("WORKERS_OF_TESTS", "1"))
# Said, or a machine with many cores would try something else than one with few.
AS_SETTING = {"PENSTOCK_WORKERS": str(WORKERS)}
