"""What our own sender proves to a server: the key that both have, a password.

It owns from where they are taken. It must not put them into words.
"""

from collections.abc import Callable
from typing import Any

from penstock.config.concerns import flag_name
from penstock.config.loading import setting_value
from penstock.config.secret_files import fill_secrets
from penstock.errors import SettingsError
from penstock.settings import SecuritySettings, User


def shared_key(file: str | None, config_file: str | None) -> str:
    """Return the key that is shared with the server; "" if there is none.

    It is in `file`, the one of the flag, or else as a server's is given.

    Raises:
        SettingsError: the file does not hold a key.
    """
    if file is not None:
        values = {"shared_key_file": file}
        return _secret(SecuritySettings, "shared_key", values, flag_name)
    values = {
        name: setting_value(name, config_file=config_file)
        for name in ("shared_key", "shared_key_file")
    }
    return _secret(SecuritySettings, "shared_key", values, str)


def password_in(file: str) -> str:
    """Return the password in a file, the one of the flag. Raises as above."""
    return _secret(User, "password", {"password_file": file}, flag_name)


def _secret(
    kind: type, name: str, values: dict[str, Any], where: Callable[[str], str]
) -> str:
    problems: list[str] = []
    fill_secrets(kind, values, where, problems.append)
    if problems:
        raise SettingsError(problems[0])
    return str(values.get(name, ""))
