"""The description of the API is of the API there is."""

from contextlib import nullcontext
from typing import Any

from penstock.http.api import api_routes
from penstock.http.openapi import description, own_paths
from penstock.http.search import (
    FIELDS_PARAMETERS,
    HISTOGRAM_PARAMETERS,
    SEARCH_PARAMETERS,
)
from penstock.http.tail import TAIL_PARAMETERS
from penstock.http.token import OPENS
from penstock.model import Receipt, Submission
from penstock.search.cases import Cases
from penstock.search.filters import Filter
from penstock.settings import Settings


async def submit(submission: Submission) -> Receipt:
    raise AssertionError


def open_session() -> Any:
    return nullcontext()


def looking(filter: Filter, cases: Cases) -> Any:
    return nullcontext()


def converse(time_zone: str) -> Any:
    raise AssertionError


ROUTES = api_routes(
    Settings(database_url=""),
    submit=submit,
    open_session=open_session,
    looking=looking,
    converse=converse,
)
PATHS = description(own_paths())["paths"]


def test_each_route_is_in_it_with_its_methods_and_nothing_else_is() -> None:
    served = {route.path: {each.lower() for each in route.methods} for route in ROUTES}
    assert served == {path: set(methods) for path, methods in PATHS.items()}


def test_each_parameter_that_is_taken_is_in_it() -> None:
    for path, taken in {
        "/api/search": SEARCH_PARAMETERS,
        "/api/histogram": HISTOGRAM_PARAMETERS,
        "/api/fields": FIELDS_PARAMETERS,
        "/api/tail": TAIL_PARAMETERS | {"Last-Event-ID"},
    }.items():
        told = {each["name"] for each in PATHS[path]["get"]["parameters"]}
        assert told == taken


def test_each_operation_has_a_name_of_its_own_and_tells_its_errors() -> None:
    operations = [each for path in PATHS.values() for each in path.values()]
    names = [each["operationId"] for each in operations]
    assert len(set(names)) == len(names)
    for each in operations:
        assert {"200", "401", "403"} <= set(each["responses"])


def test_each_operation_tells_the_tokens_that_open_it() -> None:
    schemes = description(own_paths())["components"]["securitySchemes"]
    for route in ROUTES:
        for method in route.methods:
            *told, without = PATHS[route.path][method.lower()]["security"]
            assert without == {}, "where there is no token"
            names = {name for each in told for name in each}
            assert names <= set(schemes)
            opens = {name for name in OPENS if route.right in {None, *OPENS[name]}}
            assert names == opens
