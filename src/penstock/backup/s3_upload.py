"""One object into S3, of any size: in parts, a few at a time, or nothing at all.

It owns the sizes of parts, and that an upload which does not end well leaves nothing
(Amazon S3 User Guide, "Uploading and copying objects using multipart upload"). boto3's
own `upload_fileobj` gives no SHA-256 of what it sent, and takes an end of the source
for its end. It must not know backups.
"""

import base64
import hashlib
import io
import logging
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from penstock.backup.s3_client import Clients
from penstock.backup.store import Source, Stored

_MIB: Final = 1024 * 1024
# S3 takes 5 MiB and more. Of 8 MiB a part's costs are small beside its bytes.
LEAST_PART_BYTES: Final = 8 * _MIB
MOST_PARTS: Final = 10_000
# What was expected fits into these; who expected too little has the others, of parts
# that double, so that 64 GiB may come to be 180.
EXPECTED_PARTS: Final = 8_000
_DOUBLED_AFTER_PARTS: Final = 500
# One connection takes some 50 MB/s, as much as pg_dump gives. With the one that is
# being read there are three parts in memory.
PARTS_AT_ONCE: Final = 2
_READ_BYTES: Final = _MIB

_log = logging.getLogger(__name__)


class Target(NamedTuple):
    """Which object, and how S3 is to encrypt it."""

    bucket: str
    key: str
    encryption: dict[str, str]

    @property
    def named(self) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.key}


class _Sent(NamedTuple):
    number: int
    etag: str
    sha256: str


class _StoppedError(Exception):
    """The upload has been given up; no more of it is to be sent."""


class _Part(io.BytesIO):
    """The bytes of a part, which nobody can read any more once all is given up.

    A file and no bytes: a whole part in one send would have to arrive within the
    timeout of connecting.
    """

    def __init__(self, stopped: threading.Event) -> None:
        super().__init__()
        self._stopped = stopped
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def fill(self, source: Source, size: int, whole: Any) -> bool:
        """Take so many bytes of the source; return whether it has come to its end."""
        while self.size_bytes < size:
            piece = source.read(min(_READ_BYTES, size - self.size_bytes))
            if not piece:
                break
            self._digest.update(piece)
            whole.update(piece)
            self.write(piece)
            self.size_bytes += len(piece)
        super().seek(0)
        return self.size_bytes < size

    @property
    def sha256(self) -> str:
        """Return it as S3 takes it."""
        return base64.b64encode(self._digest.digest()).decode()

    def read(self, size: int | None = -1, /) -> bytes:
        self._go_on()
        return super().read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        # To be sent again, after botocore has waited for a while.
        self._go_on()
        return super().seek(offset, whence)

    def _go_on(self) -> None:
        if self._stopped.is_set():
            raise _StoppedError


def part_bytes(number: int, expected_bytes: int) -> int:
    """Return the size of a part, from 1, of an object of about so many bytes."""
    least = -(-expected_bytes // EXPECTED_PARTS)
    size = max(LEAST_PART_BYTES, -(-least // _MIB) * _MIB)
    late = number - 1 - EXPECTED_PARTS
    return size if late < 0 else size << (1 + late // _DOUBLED_AFTER_PARTS)


def upload(
    clients: Clients,
    target: Target,
    source: Source,
    *,
    expected_bytes: int,
    on_bytes: Callable[[int], None],
) -> Stored:
    """Store all that the source gives, or nothing.

    Raises:
        ClientError, BotoCoreError: S3 does not take it.
        Whatever `source.read` raises.
    """
    stopped, whole = threading.Event(), hashlib.sha256()
    first = _Part(stopped)
    if first.fill(source, part_bytes(1, expected_bytes), whole):
        clients.usual.put_object(
            **target.named,
            **target.encryption,
            Body=first,
            ChecksumSHA256=first.sha256,
        )
        on_bytes(first.size_bytes)
        return Stored(first.size_bytes, whole.hexdigest())
    parts = _Parts(clients, target, stopped, on_bytes)
    try:
        parts.begin()
        part, is_last, number = first, False, 1
        while part.size_bytes:
            parts.send(number, part)
            if is_last:
                break
            number += 1
            part = _Part(stopped)
            is_last = part.fill(source, part_bytes(number, expected_bytes), whole)
        size = parts.complete()
    except BaseException:
        parts.give_up()
        raise
    return Stored(size, whole.hexdigest())


class _Parts:
    """The multipart upload of one object."""

    def __init__(
        self,
        clients: Clients,
        target: Target,
        stopped: threading.Event,
        on_bytes: Callable[[int], None],
    ) -> None:
        self._client = clients.usual
        self._brief_client = clients.brief
        self._target = target
        self._stopped = stopped
        self._on_bytes = on_bytes
        self._upload_id = ""
        # An answer that was lost may have begun an upload that we cannot name.
        self._may_have_others = True
        self._threads = ThreadPoolExecutor(PARTS_AT_ONCE, "penstock-s3")
        self._running: set[Future[_Sent]] = set()
        self._sent: list[_Sent] = []
        self._size_bytes = 0

    def begin(self) -> None:
        answer = self._client.create_multipart_upload(
            **self._target.named, **self._target.encryption, ChecksumAlgorithm="SHA256"
        )
        self._upload_id = answer["UploadId"]
        self._may_have_others = answer["ResponseMetadata"].get("RetryAttempts", 0) > 0

    def send(self, number: int, part: _Part) -> None:
        """Send a part, as soon as few enough are on their way."""
        self._collect(PARTS_AT_ONCE - 1)
        self._size_bytes += part.size_bytes
        self._running.add(self._threads.submit(self._send, number, part))

    def complete(self) -> int:
        """Make one object of the parts; return its size."""
        self._collect(0)
        self._threads.shutdown()
        parts = [
            {
                "PartNumber": each.number,
                "ETag": each.etag,
                "ChecksumSHA256": each.sha256,
            }
            for each in sorted(self._sent)
        ]
        try:
            self._client.complete_multipart_upload(
                **self._target.named,
                UploadId=self._upload_id,
                MultipartUpload={"Parts": parts},
            )
        except ClientError as error:
            # Of two answers to one request the first may have been lost.
            if _code(error) != "NoSuchUpload":
                raise
            if not self._is_there():
                raise
        if self._may_have_others:
            self._abort_others()
        return self._size_bytes

    def give_up(self) -> None:
        """Stop what is on its way and leave nothing; what cannot be is logged."""
        self._stopped.set()
        self._threads.shutdown(cancel_futures=True)
        try:
            if self._upload_id:
                self._abort(self._upload_id)
            if self._may_have_others:
                self._abort_others()
        except (ClientError, BotoCoreError) as error:
            _log.warning(
                "an upload of s3://%s/%s stays unfinished, which costs room until"
                " `penstock backup prune` removes it: %s",
                *self._target[:2],
                error,
            )

    def _collect(self, left: int) -> None:
        """Wait until no more than so many parts are on their way."""
        while len(self._running) > left:
            done, self._running = wait(self._running, return_when=FIRST_COMPLETED)
            self._sent += [each.result() for each in done]

    def _send(self, number: int, part: _Part) -> _Sent:
        answer = self._client.upload_part(
            **self._target.named,
            UploadId=self._upload_id,
            PartNumber=number,
            Body=part,
            ChecksumSHA256=part.sha256,
        )
        self._on_bytes(part.size_bytes)
        return _Sent(number, answer["ETag"], part.sha256)

    def _is_there(self) -> bool:
        try:
            found = self._client.head_object(**self._target.named)
        except ClientError as error:
            if _code(error) != "404":
                raise
            return False
        return bool(found["ContentLength"] == self._size_bytes)

    def _abort_others(self) -> None:
        pages = self._brief_client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._target.bucket, Prefix=self._target.key
        )
        for page in pages:
            for each in page.get("Uploads", ()):
                if each["Key"] == self._target.key:
                    self._abort(each["UploadId"])

    def _abort(self, upload_id: str) -> None:
        try:
            self._brief_client.abort_multipart_upload(
                **self._target.named, UploadId=upload_id
            )
        except ClientError as error:
            if _code(error) != "NoSuchUpload":
                raise


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
