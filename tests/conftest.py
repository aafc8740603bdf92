"""What every test run says of itself, its loops, and how long it tries examples."""

import asyncio
import signal
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

from penstock.rows import IS_BUILT

# What a machine that is busy takes for an example is no failure.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("patient", PATIENT)
settings.load_profile("patient")
# `--hypothesis-profile=long --timeout=0` tries more examples, where tests ask for it.
settings.register_profile("long", PATIENT)

LoopFactory = Callable[[], asyncio.AbstractEventLoop]
LOOP: dict[str, LoopFactory] = {"asyncio": asyncio.new_event_loop}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, LoopFactory]:
    """Return the loops of a module's async tests: its `LOOPS`, if it says so."""
    module = item.getparent(pytest.Module)
    loops: dict[str, LoopFactory] = getattr(module and module.obj, "LOOPS", LOOP)
    return loops


def pytest_configure() -> None:
    """Hear Ctrl-C, as all that tests start and send it to.

    A shell has what it starts in the background ignore it, which is inherited.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """Say whether the compiled encoder is tested too."""
    if IS_BUILT:
        return "compiled encoder: built, and tested beside the plain one"
    return (
        "compiled encoder: MISSING, only the plain one is tested. Install a C compiler"
        " and Python's headers (apt-get install gcc python3-dev), then:"
        " rm .venv/.penstock-package && make setup"
    )
