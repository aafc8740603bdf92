"""Who may use a bucket, by which credentials, and how S3 is asked to keep things."""

import io
import json
import os
from collections.abc import Callable, Iterator

import pytest

from penstock.backup.lock import store_lock
from penstock.backup.stores import open_store
from penstock.errors import AbsentError, BackupError, PenstockError, StoreError
from tests.s3_faults import S3Faults
from tests.s3_server import NAMES_AT_ONCE, S3, S3Server, client_of, used_here

MIB = 1024 * 1024


# --- what a role may do

WRITER = {
    "bucket": ["s3:ListBucket", "s3:ListBucketMultipartUploads"],
    "objects": ["s3:PutObject", "s3:GetObject", "s3:AbortMultipartUpload"],
}


@pytest.fixture(scope="module")
def writer() -> Iterator[tuple[S3, dict[str, str]]]:
    """A bucket of an S3 that looks at policies, and one who may write and not delete.

    The switch is the whole server's: it is one of its own.
    """
    server = S3Server()
    bucket = server.new_bucket()
    statements = [
        {"Effect": "Allow", "Action": actions, "Resource": f"arn:aws:s3:::{resource}"}
        for resource, actions in (
            (bucket.bucket, WRITER["bucket"]),
            (f"{bucket.bucket}/*", WRITER["objects"]),
        )
    ]
    policy = {"Version": "2012-10-17", "Statement": statements}
    iam = client_of(server.address, "iam")
    iam.create_user(UserName="writer")
    iam.put_user_policy(
        UserName="writer", PolicyName="writes", PolicyDocument=json.dumps(policy)
    )
    key = iam.create_access_key(UserName="writer")["AccessKey"]
    server.post("/moto-api/reset-auth", b"0")
    yield (
        bucket,
        {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        },
    )
    server.close()


@pytest.fixture
def as_writer(
    writer: tuple[S3, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> Iterator[S3]:
    with used_here(writer[0]) as bucket:
        for name, value in writer[1].items():
            monkeypatch.setenv(name, value)
        yield bucket


def test_who_may_not_delete_can_do_all_that_a_backup_needs(as_writer: S3):
    store = open_store(as_writer.url("of/ours"))
    for command in ("create", "base"):
        with store_lock(store, command) as lock:
            store.put(f"parts/{command}.dump", io.BytesIO(bytes(9 * MIB)))
            lock.check()

    class Failing:
        pieces_left = 9

        def read(self, size: int = -1) -> bytes:
            self.pieces_left -= 1
            if self.pieces_left < 0:
                raise BackupError("pg_dump: no")
            return bytes(size)

    with pytest.raises(BackupError):
        store.put("parts/half.dump", Failing())
    assert list(store.unfinished(older_than_seconds=0)) == []
    found = [each.key for each in store.entries("parts/")]
    assert found == ["parts/base.dump", "parts/create.dump"]
    with pytest.raises(AbsentError):
        store.read("backups/x/manifest.json")


def test_what_a_role_may_not_is_one_line_that_names_the_action(as_writer: S3):
    store = open_store(as_writer.url("of/ours"))
    store.put("parts/kept.dump", io.BytesIO(b"x"))
    with pytest.raises(StoreError) as caught:
        store.delete(["parts/kept.dump", "parts/other.dump"])
    (line,) = str(caught.value).splitlines()
    assert "/parts/kept.dump and 1 more cannot be removed: access is denied" in line
    assert line.endswith("s3:DeleteObject")
    assert store.read("parts/kept.dump") == b"x"


def wrong_secret(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")


def unknown_key(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY")


def no_keys(patch: pytest.MonkeyPatch) -> None:
    patch.delenv("AWS_ACCESS_KEY_ID")
    patch.delenv("AWS_SECRET_ACCESS_KEY")


def half_of_the_keys(patch: pytest.MonkeyPatch) -> None:
    patch.delenv("AWS_SECRET_ACCESS_KEY")


def no_such_profile(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_PROFILE", "nobody")


def odd_endpoint(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_ENDPOINT_URL_S3", "minio:9000")


def odd_region(patch: pytest.MonkeyPatch) -> None:
    patch.setenv("AWS_DEFAULT_REGION", "the moon")


def no_tls(patch: pytest.MonkeyPatch) -> None:
    address = os.environ["AWS_ENDPOINT_URL_S3"]
    patch.setenv("AWS_ENDPOINT_URL_S3", address.replace("http:", "https:"))


@pytest.mark.parametrize(
    ("spoil", "told", "exit_code"),
    [
        (wrong_secret, "the secret key is wrong", 3),
        (unknown_key, "the access key or token is unknown", 3),
        (no_keys, "there are no credentials: boto3 looks in AWS_ACCESS_KEY_ID", 3),
        (half_of_the_keys, "missing: AWS_SECRET_ACCESS_KEY", 3),
        (no_such_profile, r"profile \(nobody\) could not be found", 3),
        (odd_endpoint, "Invalid endpoint: minio:9000; correct AWS_ENDPOINT_URL_S3", 2),
        (odd_region, "'the moon' doesn't match .*; correct .*AWS_REGION", 2),
        (no_tls, "speaks no TLS; is it http://", 3),
    ],
)
def test_what_is_wrong_with_the_access_is_one_line(
    as_writer: S3,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[pytest.MonkeyPatch], None],
    told: str,
    exit_code: int,
):
    spoil(monkeypatch)
    with pytest.raises(PenstockError, match=told) as caught:
        open_store(as_writer.url("of/ours")).read("lock.json")
    assert len(str(caught.value).splitlines()) == 1
    assert caught.value.exit_code == exit_code


def test_an_instances_role_is_found_by_boto3_itself(
    s3: S3, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
):
    no_keys(monkeypatch)
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    with S3Faults(s3_server.address, host="169.254.169.254") as instance:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", instance.address)
        with S3Faults(s3_server.address) as proxy:
            monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.address)
            open_store(s3.url()).put("parts/a.dump", io.BytesIO(b"x"))
        assert instance.asked("GET", "iam/security-credentials/default-role")
    assert s3.body("parts/a.dump") == b"x"
    (put,) = proxy.asked("PUT")
    assert "Credential=test-key/" in put.headers["Authorization"]


# --- how S3 is asked to keep things


def test_there_is_a_line_for_a_bucket_that_is_not_there(s3: S3):
    store = open_store("s3://nobody-has-this-bucket/ours")
    for use in (
        lambda: store.put("parts/a.dump", io.BytesIO(bytes(9 * MIB))),
        lambda: store.read("lock.json"),
        lambda: list(store.entries("")),
        lambda: store.create("lock.json", b"x"),
        lambda: store.delete(["lock.json"]),
        lambda: store.abandon(older_than_seconds=0),
    ):
        with pytest.raises(
            StoreError, match="there is no bucket nobody-has-this-bucket at http://"
        ) as caught:
            use()
        assert type(caught.value) is StoreError


@pytest.mark.parametrize(("sse", "kms_key_id"), [("AES256", ""), ("aws:kms", "alias")])
def test_encryption_and_sha256_go_with_all_that_is_stored(
    s3: S3, s3_server: S3Server, sse: str, kms_key_id: str
):
    with S3Faults(s3_server.address) as proxy, used_here(s3.at(proxy.address)):
        store = open_store(s3.url(), sse=sse, kms_key_id=kms_key_id)
        store.put("parts/large.dump", io.BytesIO(bytes(9 * MIB)))
        store.put("parts/small.dump", io.BytesIO(b"x"))
        store.create("lock.json", b"x")
    stored = proxy.asked("PUT")
    assert len(stored) == 4
    assert all(each.headers["x-amz-checksum-sha256"] for each in stored)
    whole = [each for each in stored if "partNumber" not in each.path]
    begun = [*proxy.asked("POST", "?uploads"), *whole]
    assert len(begun) == 3
    for each in begun:
        assert each.headers["x-amz-server-side-encryption"] == sse
        key = each.headers.get("x-amz-server-side-encryption-aws-kms-key-id", "")
        assert key == kms_key_id
    found = s3.client().head_object(Bucket=s3.bucket, Key="parts/large.dump")
    assert found["ServerSideEncryption"] == sse


def test_a_listing_and_a_removal_go_beyond_one_answer(
    s3: S3, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("penstock.backup.s3.DELETED_AT_ONCE", NAMES_AT_ONCE)
    client = s3.client()
    names = [f"parts/{number:04}.dump" for number in range(NAMES_AT_ONCE * 2 + 3)]
    for name in (*names, "parts/"):  # the last is a "folder" of a console's
        client.put_object(Bucket=s3.bucket, Key=f"of/{name}", Body=b"")
    client.put_object(Bucket=s3.bucket, Key="other/a", Body=b"")
    with S3Faults(s3_server.address) as proxy, used_here(s3.at(proxy.address)):
        store = open_store(s3.url("of"))
        assert [each.key for each in store.entries("parts/")] == names
        store.delete(names)
    assert len(proxy.asked("GET", "list-type=2")) == 3
    assert len(proxy.asked("POST", "?delete")) == 3
    assert s3.keys() == ["of/parts/", "other/a"]
