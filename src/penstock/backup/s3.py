"""Backups in a bucket of S3, or of what speaks its protocol, by boto3.

It owns each request but those of an upload (s3_upload.py). It must not know what a
backup is, nor credentials, which boto3 finds by itself. What fails is said by
s3_words.py.
"""

import base64
import hashlib
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
)
from urllib3.exceptions import HTTPError

from penstock.backup.s3_client import open_clients
from penstock.backup.s3_upload import Target, upload
from penstock.backup.s3_words import Place, from_botocore, from_client_error
from penstock.backup.store import Entry, Source, Stored, check_key
from penstock.errors import AbsentError, CorruptError, StoreError, TakenError

# What a call to SHA-256 or to a socket is worth while.
PIECE_BYTES: Final = 1024 * 1024
# A request of DeleteObjects takes no more (S3 API Reference).
DELETED_AT_ONCE: Final = 1000
# Connections that break one after the other without a byte; each was tried as often as
# the client tries. One that goes on counts anew.
_CUTS_WITHOUT_A_BYTE: Final = 5
_AFTER_A_CUT_SECONDS: Final = 0.2
_CUT: Final = (HTTPClientError, IncompleteReadError, HTTPError)


class S3Store:
    """A prefix in a bucket."""

    def __init__(
        self, bucket: str, prefix: str, *, sse: str = "", kms_key_id: str = ""
    ) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._kms_key_id = kms_key_id
        self._encryption = {"ServerSideEncryption": sse} if sse else {}
        if kms_key_id:
            self._encryption["SSEKMSKeyId"] = kms_key_id
        self._clients = open_clients(bucket, self.url)
        self._client = self._clients.usual

    @property
    def url(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def put(
        self,
        key: str,
        source: Source,
        *,
        expected_bytes: int = 0,
        on_bytes: Callable[[int], None] = lambda size: None,
    ) -> Stored:
        target = Target(self._bucket, self._name(key), self._encryption)
        with self._explained(f"{self._told(key)} cannot be written"):
            return upload(
                self._clients,
                target,
                source,
                expected_bytes=expected_bytes,
                on_bytes=on_bytes,
            )

    def create(self, key: str, data: bytes) -> None:
        self._write(key, data, IfNoneMatch="*")

    def replace(self, key: str, data: bytes, *, expected: bytes) -> None:
        try:
            found, etag = self._read(key)
        except AbsentError as error:
            raise TakenError(f"{self._told(key)} is there no more") from error
        if found != expected:
            raise TakenError(f"{self._told(key)} has been written by somebody else")
        self._write(key, data, IfMatch=etag)

    def age_seconds(self, key: str) -> float:
        with self._explained(f"{self._told(key)} cannot be read"):
            found = self._client.head_object(Bucket=self._bucket, Key=self._name(key))
        date = found["ResponseMetadata"]["HTTPHeaders"].get("date")
        now = parsedate_to_datetime(date) if date else datetime.now(UTC)
        age: timedelta = now - found["LastModified"]
        return age.total_seconds()

    def read(self, key: str) -> bytes:
        return self._read(key)[0]

    def open(self, key: str, *, size_bytes: int, sha256: str) -> Generator[bytes]:
        told, digest, size = self._told(key), hashlib.sha256(), 0

        def check_size(found: int) -> None:
            if found != size_bytes:
                raise CorruptError(
                    f"{told} is corrupted: it has {found:,} bytes, and"
                    f" {size_bytes:,} were stored"
                )

        for piece in self._pieces(key, check_size):
            digest.update(piece)
            size += len(piece)
            yield piece
        check_size(size)
        if digest.hexdigest() != sha256:
            raise CorruptError(
                f"{told} is corrupted: its bytes are not those that were stored"
                f" (SHA-256 {digest.hexdigest()[:16]}..., not {sha256[:16]}...)"
            )

    def entries(self, prefix: str) -> Iterator[Entry]:
        for each in self._listed("list_objects_v2", "Contents", prefix):
            # A console makes "folders" of such objects.
            if not each["Key"].endswith("/"):
                key = each["Key"].removeprefix(self._prefix)
                modified_at = each["LastModified"].astimezone(UTC)
                yield Entry(key, each["Size"], modified_at)

    def delete(self, keys: Collection[str]) -> None:
        names = [self._name(key) for key in keys]
        for start in range(0, len(names), DELETED_AT_ONCE):
            some = names[start : start + DELETED_AT_ONCE]
            with self._explained(f"{self.url}: objects cannot be removed"):
                answer = self._client.delete_objects(
                    Bucket=self._bucket,
                    Delete={"Objects": [{"Key": name} for name in some], "Quiet": True},
                )
            if errors := answer.get("Errors"):
                raise self._not_deleted(errors)

    def unfinished(self, *, older_than_seconds: float) -> Iterator[str]:
        for each in self._unfinished(older_than_seconds):
            yield each["Key"].removeprefix(self._prefix)

    def abandon(self, *, older_than_seconds: float) -> int:
        found = list(self._unfinished(older_than_seconds))
        for each in found:
            named = {"Key": each["Key"], "UploadId": each["UploadId"]}
            told = f"s3://{self._bucket}/{each['Key']}"
            try:
                with self._explained(f"the upload of {told} cannot be ended"):
                    self._client.abort_multipart_upload(Bucket=self._bucket, **named)
            except StoreError as error:
                if _code(error.__cause__) != "NoSuchUpload":  # it has ended by itself
                    raise
        return len(found)

    def _name(self, key: str) -> str:
        check_key(key)
        return self._prefix + key

    def _told(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{key}"

    def _write(self, key: str, data: bytes, **condition: str) -> None:
        checksum = base64.b64encode(hashlib.sha256(data).digest()).decode()
        try:
            with self._explained(f"{self._told(key)} cannot be written"):
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=self._name(key),
                    Body=data,
                    ChecksumSHA256=checksum,
                    **self._encryption,
                    **condition,
                )
        except AbsentError as error:  # of If-Match: nothing is there
            raise TakenError(f"{self._told(key)} is there no more") from error
        except TakenError as error:
            # The answer may have been lost that it is ours, and the request repeated.
            if not _was_repeated(error.__cause__) or self._read(key)[0] != data:
                raise

    def _read(self, key: str) -> tuple[bytes, str]:
        """Return a small object, and what S3 calls this state of it."""
        etags: list[str] = []
        pieces = self._pieces(key, lambda size: None, etags.append)
        return b"".join(pieces), etags[0]

    def _pieces(
        self,
        key: str,
        on_size: Callable[[int], None],
        on_etag: Callable[[str], None] = lambda etag: None,
    ) -> Generator[bytes]:
        """Yield an object's bytes, of one state of it, however often it takes."""
        offset, size, etag, cuts = 0, 1, "", 0
        while offset < size:
            answer = self._get(key, offset, etag)
            body = answer["Body"]
            try:
                if not etag:
                    size, etag = answer["ContentLength"], answer["ETag"]
                    on_etag(etag)
                    on_size(size)
                while piece := body.read(PIECE_BYTES):
                    offset += len(piece)
                    cuts = 0
                    yield piece
            except _CUT as error:
                cuts += 1
                if cuts > _CUTS_WITHOUT_A_BYTE:
                    raise StoreError(
                        f"{self._told(key)} cannot be read: the connection to"
                        f" {self._endpoint} breaks again and again, after"
                        f" {offset:,} of {size:,} bytes; look at the network"
                    ) from error
                time.sleep(_AFTER_A_CUT_SECONDS * 2**cuts)
            finally:
                body.close()

    def _get(self, key: str, offset: int, etag: str) -> dict[str, Any]:
        of_rest = {"Range": f"bytes={offset}-", "IfMatch": etag} if etag else {}
        named = {"Bucket": self._bucket, "Key": self._name(key)}
        try:
            with self._explained(f"{self._told(key)} cannot be read"):
                answer: dict[str, Any] = self._client.get_object(**named, **of_rest)
                return answer
        except TakenError as error:  # of If-Match
            raise CorruptError(
                f"{self._told(key)} was replaced while it was read; try again"
            ) from error

    def _listed(self, operation: str, items: str, prefix: str) -> Iterator[Any]:
        pages = self._client.get_paginator(operation).paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        with self._explained(f"{self.url} cannot be listed"):
            for page in pages:
                yield from page.get(items, ())

    def _unfinished(self, older_than_seconds: float) -> Iterator[Any]:
        before = datetime.now(UTC) - timedelta(seconds=older_than_seconds)
        for each in self._listed("list_multipart_uploads", "Uploads", ""):
            if each["Initiated"] <= before:
                yield each

    def _not_deleted(self, errors: list[dict[str, Any]]) -> StoreError:
        told = f"s3://{self._bucket}/{errors[0]['Key']}"
        others = f" and {len(errors) - 1:,} more" if len(errors) > 1 else ""
        doing = f"{told}{others} cannot be removed"
        return from_client_error(
            {"Error": errors[0]}, "DeleteObjects", self._place(doing)
        )

    @property
    def _endpoint(self) -> str:
        endpoint: str = self._client.meta.endpoint_url
        return endpoint

    def _place(self, doing: str) -> Place:
        return Place(doing, self._bucket, self._endpoint, self._kms_key_id)

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        """Turn boto3's errors into ours, each one line that says how to mend it."""
        try:
            yield
        except ClientError as error:
            raise from_client_error(
                error.response, error.operation_name, self._place(doing)
            ) from error
        except BotoCoreError as error:
            raise from_botocore(error, self._place(doing)) from error


def _code(error: BaseException | None) -> str:
    if not isinstance(error, ClientError):
        return ""
    return str(error.response.get("Error", {}).get("Code", ""))


def _was_repeated(error: BaseException | None) -> bool:
    if not isinstance(error, ClientError):
        return False
    metadata = error.response.get("ResponseMetadata", {})
    return bool(metadata.get("RetryAttempts", 0))
