"""What PostgreSQL is given of a password: a verifier of it, never the password."""

import base64
import hashlib
import hmac
import re

import pytest

from penstock.errors import SettingsError
from penstock.sink.setup import verifier


def test_a_verifier_is_that_of_rfc_5803() -> None:
    made = verifier("pencil")
    found = re.fullmatch(r"SCRAM-SHA-256\$4096:(\S+)\$(\S+):(\S+)", made)
    assert found is not None
    salt, stored, server = (base64.b64decode(each) for each in found.groups())
    assert len(salt) == 16
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", salt, 4096)
    client = hmac.digest(salted, b"Client Key", "sha256")
    assert stored == hashlib.sha256(client).digest()
    assert server == hmac.digest(salted, b"Server Key", "sha256")


def test_two_verifiers_of_a_password_differ() -> None:
    assert verifier("pencil") != verifier("pencil")


@pytest.mark.parametrize("password", ["päncil", "tab\t", "\udcff"])
def test_signs_that_would_have_to_be_prepared_are_refused(password: str) -> None:
    with pytest.raises(SettingsError, match="letters and digits") as caught:
        verifier(password)
    assert password not in str(caught.value)
