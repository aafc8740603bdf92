"""The token: who bears it, and which settings are fit to be served with."""

import hmac

import pytest

from penstock.errors import SettingsError
from penstock.http.token import Bearer, check_token
from penstock.settings import HttpSettings

TOKEN = "c0rrect-horse.battery_staple"


@pytest.mark.parametrize(
    "header",
    [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER   {TOKEN}", f"Bearer {TOKEN} "],
)
def test_whoever_bears_the_token_is_let_in(header: str) -> None:
    assert Bearer(TOKEN).why_not([header]) is None


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
    assert Bearer(TOKEN).why_not(headers) == "wrong_token"


def test_no_token_at_all_has_a_reason_of_its_own() -> None:
    assert Bearer(TOKEN).why_not([]) == "no_token"


@pytest.mark.parametrize("headers", [[], ["Bearer x"], ["Basic x", ""]])
def test_without_a_token_everybody_is_let_in(headers: list[str]) -> None:
    assert Bearer("").why_not(headers) is None


def test_the_token_is_not_kept() -> None:
    assert TOKEN not in repr(vars(Bearer(TOKEN)))


def test_more_than_loopback_needs_a_token() -> None:
    settings = HttpSettings(http_host="192.0.2.1")
    check_token(settings, is_reachable=False)
    with pytest.raises(SettingsError, match=r"192\.0\.2\.1 can be reached") as caught:
        check_token(settings, is_reachable=True)
    assert "\n" not in str(caught.value)
    check_token(HttpSettings(http_token=TOKEN), is_reachable=True)


@pytest.mark.parametrize("token", ["two words", "tab\t", "line\n", "zażółć", "nul\0"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_told(token: str) -> None:
    with pytest.raises(SettingsError, match="no HTTP header can carry") as caught:
        check_token(HttpSettings(http_token=token), is_reachable=False)
    assert token not in str(caught.value)


def test_a_file_that_holds_no_token_does_not_open_all() -> None:
    settings = HttpSettings(http_token_file="/run/secrets/token")
    with pytest.raises(SettingsError, match="holds no token: /run/secrets/token"):
        check_token(settings, is_reachable=False)


def test_the_token_is_compared_in_constant_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[bytes] = []

    def counting(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return False

    monkeypatch.setattr(hmac, "compare_digest", counting)
    assert Bearer(TOKEN).why_not([f"Bearer {TOKEN}"]) is not None
    assert len(compared) == 1
