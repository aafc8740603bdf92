"""Variables that are not ours, and those that look as if they were."""

import pytest

from penstock import config

URL = "tcp://10.0.0.1:24224"


@pytest.mark.parametrize(
    "name", ["PENSTOCK_PROT", "PENSTOCK_HTPP_PORT", "PENSTOCK_", "PENSTOCK_USER"]
)
def test_a_variable_that_no_setting_has_is_warned_of(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    assert config.load({}).warnings == (f"{name} is set, and no setting is called so",)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PENSTOCK_PORT", URL),
        ("PENSTOCK_HTTP_PORT", URL),
        ("PENSTOCK_FORWARD_PORT", URL),
        ("PENSTOCK_SERVICE_HOST", "10.0.0.1"),
        ("PENSTOCK_SERVICE_PORT", "24224"),
        ("PENSTOCK_SERVICE_PORT_FORWARD", "24224"),
        ("PENSTOCK_HTTP_SERVICE_PORT", "8000"),
        ("PENSTOCK_PORT_24224_TCP", URL),
        ("PENSTOCK_PORT_24224_TCP_ADDR", "10.0.0.1"),
        ("PENSTOCK_PORT_24224_UDP_PROTO", "udp"),
        ("PENSTOCK_CONFIG", ""),
        ("PENSTOCK_DATABASE_URL", "postgresql://db/logs"),
    ],
)
def test_what_kubernetes_sets_and_what_is_ours_is_not(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)
    loaded = config.load({})
    assert loaded.warnings == ()
    assert loaded.settings.listen.port == 24224
    assert loaded.settings.http.http_port == 8000
