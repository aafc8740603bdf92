"""Which store a URL is: s3://bucket/prefix, or file:///directory.

It owns the forms of that URL. It must not ask whether anything is there; that shows
when the store is used. boto3 is imported only where a bucket is named.
"""

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from penstock.backup.files import FileStore
from penstock.backup.store import Store, check_key
from penstock.errors import PenstockError, SettingsError, StoreError

_FORMS: Final = "give s3://bucket/prefix or file:///directory"
# Amazon S3 User Guide, "General purpose bucket naming rules".
_BUCKET: Final = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def open_store(url: str, *, sse: str = "", kms_key_id: str = "") -> Store:
    """Return the store that a URL names.

    Args:
        sse: how S3 encrypts, AES256 or aws:kms; nothing: as the bucket is set.
        kms_key_id: the key of aws:kms; nothing: the account's own.

    Raises:
        SettingsError: the URL, or what boto3 is set to, is none that can be used.
        PenstockError: boto3 is not installed.
        StoreError: boto3 cannot be made ready.
    """
    check_url(url)
    if not is_s3(url):
        return FileStore(_directory(url))
    return _s3(*_bucket_and_prefix(url), sse, kms_key_id)


def check_url(url: str) -> None:
    """Raise SettingsError if a URL names no store; boto3 need not be there."""
    if is_s3(url):
        _bucket_and_prefix(url)
    elif url.startswith("file://"):
        _directory(url)
    elif url.startswith("/"):
        raise SettingsError(f"the store {url} is no URL; give file://{url}")
    else:
        raise SettingsError(f"the store {_without_login(url)} is none; {_FORMS}")


def is_s3(url: str) -> bool:
    """Whether a URL is one of S3's, which base backups and WAL need."""
    return url.startswith("s3://")


def _bucket_and_prefix(url: str) -> tuple[str, str]:
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    if "@" in bucket:
        raise SettingsError(
            f"the store {_without_login(url)} has a login in it; boto3 finds"
            " credentials by itself, in AWS_ACCESS_KEY_ID, AWS_PROFILE or a role"
        )
    if not _BUCKET.fullmatch(bucket):
        raise SettingsError(
            f"the store {url} names a bucket {bucket!r}, which none can have: 3 to 63"
            " small letters, digits, dots and hyphens"
        )
    prefix = prefix.removesuffix("/")
    if "?" in prefix or "#" in prefix or (prefix and not _is_key(prefix)):
        raise SettingsError(f"the store {url} has an odd prefix; {_FORMS}")
    return bucket, prefix


def _s3(bucket: str, prefix: str, sse: str, kms_key_id: str) -> Store:
    if kms_key_id and sse != "aws:kms":
        raise SettingsError(
            "backup_sse_kms_key_id is set, and backup_sse is not aws:kms; set both"
        )
    try:
        from penstock.backup.s3 import S3Store
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("boto3", "botocore", "urllib3"):
            raise
        raise PenstockError(
            "backups on S3 need boto3: pip install 'penstock[backup]'"
        ) from error
    return S3Store(bucket, prefix, sse=sse, kms_key_id=kms_key_id)


def _directory(url: str) -> Path:
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.netloc or not path.is_absolute() or ".." in path.parts:
        raise SettingsError(
            f"the store {_without_login(url)} is no absolute path of this machine; give"
            " file:///directory"
        )
    if parts.query or parts.fragment or not str(path).isprintable():
        raise SettingsError(f"the store {_without_login(url)} is odd; {_FORMS}")
    if path == Path("/"):
        raise SettingsError(f"the store {url} is all of the machine; {_FORMS}")
    return path


def _is_key(text: str) -> bool:
    try:
        check_key(text)
    except StoreError:
        return False
    return True


def _without_login(url: str) -> str:
    """Return a URL that can be shown: a password may be in it."""
    return re.sub(r"//[^/@]*@", "//...@", url)
