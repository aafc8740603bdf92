"""The S3 that a page's commands use: moto's, with the buckets that the page names.

It owns the server and what S3 would do by itself there: a bucket NAME-replica holds
what NAME does, as a replication rule has it.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tests.docs.doc_blocks import DocBlock
from tests.s3_server import S3, S3Server, client_of, used_here

BUCKET = re.compile(r"s3://([a-z0-9.-]+)")
REPLICA = "-replica"
# What a page says is set, where it says so.
STORE = "s3://log-backups/penstock"


def buckets_named(blocks: Iterable[DocBlock]) -> set[str]:
    """Return the buckets that the blocks use; each needs the one it is a replica of."""
    text = "\n".join(block.text for block in blocks)
    named = set(BUCKET.findall(text))
    if "penstock backup" in text:
        named |= set(BUCKET.findall(STORE))
    return named | {each.removesuffix(REPLICA) for each in named}


class BackupPlace:
    """A server with buckets."""

    def __init__(self, server: S3Server, buckets: set[str]) -> None:
        self._client = client_of(server.address)
        self._buckets = buckets
        for each in buckets:
            self._client.create_bucket(Bucket=each)

    def replicate(self) -> None:
        """Copy what is in a bucket and not in its replica yet."""
        for replica in self._buckets:
            if replica.endswith(REPLICA):
                source = replica.removesuffix(REPLICA)
                for key in self._keys(source) - self._keys(replica):
                    self._client.copy_object(
                        Bucket=replica,
                        Key=key,
                        CopySource={"Bucket": source, "Key": key},
                    )

    def _keys(self, bucket: str) -> set[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {each["Key"] for page in pages for each in page.get("Contents", ())}


@contextmanager
def backup_place(blocks: Iterable[DocBlock]) -> Iterator[BackupPlace | None]:
    """Yield the S3 of a page, which boto3 finds by itself; None where none is named."""
    buckets = buckets_named(blocks)
    if not buckets:
        yield None
        return
    server = S3Server()
    try:
        with used_here(S3(server.address, "")):
            yield BackupPlace(server, buckets)
    finally:
        server.close()
