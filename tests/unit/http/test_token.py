"""The token: who bears it, and which settings are fit to be served with."""

import hmac
from typing import Any

import pytest

from penstock.errors import SettingsError
from penstock.http.token import Bearer, Right, check_token
from penstock.settings import HttpSettings

TOKEN = "c0rrect-horse.battery_staple"
ALL = HttpSettings(http_token=TOKEN)
NARROW = {right: f"only-for-{right.value}" for right in Right}


def narrow(*rights: Right, http_token: str = "") -> HttpSettings:
    tokens: dict[str, Any] = {f"{each.value}_token": NARROW[each] for each in rights}
    return HttpSettings(http_token=http_token, **tokens)


@pytest.mark.parametrize(
    "header",
    [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER   {TOKEN}", f"Bearer {TOKEN} "],
)
def test_whoever_bears_the_token_is_let_in(header: str) -> None:
    assert Bearer(ALL).why_not([header], Right.READ) is None


@pytest.mark.parametrize(
    "headers",
    [
        [""],
        ["Bearer"],
        ["Bearer "],
        [TOKEN],
        [f"Basic {TOKEN}"],
        [f"Bearer{TOKEN}"],
        [f"Bearer {TOKEN}x"],
        [f"Bearer {TOKEN[:-1]}"],
        [f"Bearer {TOKEN.upper()}"],
        [f"Bearer x {TOKEN}"],
        [f"Bearer {TOKEN}, Bearer {TOKEN}"],
        ["Bearer \udcff\udcfe"],
        # Of two it is not for us to choose.
        [f"Bearer {TOKEN}", "Bearer x"],
        ["Bearer x", f"Bearer {TOKEN}"],
    ],
)
def test_whoever_does_not_is_not(headers: list[str]) -> None:
    assert Bearer(ALL).why_not(headers, Right.READ) == "wrong_token"


def test_no_token_at_all_has_a_reason_of_its_own() -> None:
    assert Bearer(ALL).why_not([], Right.READ) == "no_token"


@pytest.mark.parametrize("headers", [[], ["Bearer x"], ["Basic x", ""]])
def test_without_a_token_everybody_is_let_in(headers: list[str]) -> None:
    for right in (*Right, None):
        assert Bearer(HttpSettings()).why_not(headers, right) is None


def test_the_common_token_opens_every_door_and_a_narrow_one_its_own() -> None:
    bearer = Bearer(narrow(*Right, http_token=TOKEN))
    for right in (*Right, None):
        assert bearer.why_not([f"Bearer {TOKEN}"], right) is None
        for its, token in NARROW.items():
            expected = None if right in (its, None) else "no_right"
            assert bearer.why_not([f"Bearer {token}"], right) == expected


@pytest.mark.parametrize("only", Right)
def test_a_door_that_no_token_opens_is_closed_where_there_is_another(
    only: Right,
) -> None:
    bearer = Bearer(narrow(only))
    assert bearer.is_asked_for
    for right in Right:
        assert bearer.why_not([], right) == "no_token"
        expected = None if right is only else "no_right"
        assert bearer.why_not([f"Bearer {NARROW[only]}"], right) == expected


def test_the_token_is_not_kept() -> None:
    assert TOKEN not in repr(vars(Bearer(ALL)))


def test_more_than_loopback_needs_a_token() -> None:
    settings = HttpSettings(http_host="192.0.2.1")
    check_token(settings, is_reachable=False)
    with pytest.raises(SettingsError, match=r"192\.0\.2\.1 can be reached") as caught:
        check_token(settings, is_reachable=True)
    assert "\n" not in str(caught.value)
    check_token(ALL, is_reachable=True)
    for right in Right:
        check_token(narrow(right), is_reachable=True)


@pytest.mark.parametrize("token", ["two words", "tab\t", "line\n", "zażółć", "nul\0"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_told(token: str) -> None:
    with pytest.raises(SettingsError, match="no HTTP header can carry") as caught:
        check_token(HttpSettings(http_token=token), is_reachable=False)
    assert token not in str(caught.value)
    with pytest.raises(SettingsError, match=r"^ingest_token has a character"):
        check_token(HttpSettings(ingest_token=token), is_reachable=False)


@pytest.mark.parametrize("one", ["http", "metrics", "read", "ingest"])
@pytest.mark.parametrize("other", ["http", "metrics", "read", "ingest"])
def test_two_tokens_that_are_one_are_refused_and_not_told(one: str, other: str) -> None:
    same: dict[str, Any] = {f"{one}_token": TOKEN, f"{other}_token": TOKEN}
    settings = HttpSettings(**same)
    if one == other:
        return check_token(settings, is_reachable=False)
    with pytest.raises(SettingsError, match="are the same") as caught:
        check_token(settings, is_reachable=False)
    assert f"{one}_token" in str(caught.value) and f"{other}_token" in str(caught.value)
    assert TOKEN not in str(caught.value)
    return None


def test_a_file_that_holds_no_token_does_not_open_all() -> None:
    settings = HttpSettings(http_token_file="/run/secrets/token")
    with pytest.raises(SettingsError, match="holds no token: /run/secrets/token"):
        check_token(settings, is_reachable=False)
    settings = HttpSettings(http_token=TOKEN, read_token_file="/run/secrets/read")
    with pytest.raises(SettingsError, match=r"^read_token_file holds no token: /run"):
        check_token(settings, is_reachable=False)


def test_every_token_is_compared_and_in_constant_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[bytes] = []

    def counting(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return False

    monkeypatch.setattr(hmac, "compare_digest", counting)
    bearer = Bearer(narrow(*Right, http_token=TOKEN))
    assert bearer.why_not([f"Bearer {TOKEN}"], Right.READ) is not None
    assert len(compared) == 4, "nor is it told how many there were before a right one"
