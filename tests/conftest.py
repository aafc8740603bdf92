"""What every test run says of itself, and how long it tries examples."""

from hypothesis import settings

from penstock.rows import IS_BUILT

# `--hypothesis-profile=long --timeout=0` tries more examples, where tests ask for it.
settings.register_profile("long")


def pytest_report_header() -> str:
    """Say whether the compiled encoder is tested too."""
    if IS_BUILT:
        return "compiled encoder: built, and tested beside the plain one"
    return (
        "compiled encoder: MISSING, only the plain one is tested. Install a C compiler"
        " and Python's headers (apt-get install gcc python3-dev), then:"
        " rm .venv/.penstock-package && make setup"
    )
