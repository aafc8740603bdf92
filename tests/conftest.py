"""What every test run says of itself."""

from penstock.rows import IS_BUILT


def pytest_report_header() -> str:
    """Say whether the compiled encoder is tested too."""
    if IS_BUILT:
        return "compiled encoder: built, and tested beside the plain one"
    return (
        "compiled encoder: MISSING, only the plain one is tested. Install a C compiler"
        " and Python's headers (apt-get install gcc python3-dev), then:"
        " rm .venv/.penstock-package && make setup"
    )
