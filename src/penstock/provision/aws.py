"""AWS, as far as a deployment needs it beside Terraform: by boto3, loaded when asked.

It owns the calls and what they return; each failure is one line (aws_words).
Credentials are boto3's to find. It must not know what is deployed, and prints nothing.
"""

import base64
import contextlib
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import orjson

from penstock.errors import AwsError, UnavailableError
from penstock.provision.aws_words import code_of, from_boto

# Somebody waits at a terminal: a few tries, and a word when AWS is out of reach.
_CONNECT_SECONDS: Final = 5
_READ_SECONDS: Final = 30
_ATTEMPTS: Final = 4
# DeleteObjects takes no more (Amazon S3 API Reference).
_DELETED_AT_ONCE: Final = 1000
_ABSENT_OBJECT: Final = {"NoSuchKey", "NoSuchBucket"}
_ABSENT_INVOCATION: Final = "InvocationDoesNotExist"
# The process by which an auto scaling group ends what is unhealthy (Amazon EC2 Auto
# Scaling User Guide, "Suspend and resume processes").
_REPLACING: Final = "ReplaceUnhealthy"


class Invocation(NamedTuple):
    """How a command on a machine is doing: Systems Manager's word, and its output."""

    status: str
    output: str
    errors: str
    code: int = -1


class RegistryLogin(NamedTuple):
    """What `docker login` is told; the password is valid for twelve hours."""

    user: str
    password: str
    registry: str


class Aws:
    """One account's AWS in one region.

    Args:
        endpoint: another address of AWS's APIs, for tests; empty: AWS's own.

    Raises:
        UnavailableError: boto3 is not installed.
    """

    def __init__(self, region: str, endpoint: str = "") -> None:
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import ClientError
        except ImportError as error:
            raise UnavailableError(
                f"boto3 is missing ({error.name}): pip install 'penstock[deploy]'"
            ) from error
        self.region = region
        self._config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            # A server on loopback has no name for each bucket.
            s3={"addressing_style": "path"} if endpoint else {},
        )
        self._endpoint = endpoint or None
        self._refused: type[Exception] = ClientError
        with _saying("AWS cannot be used"):
            self._session = boto3.session.Session(region_name=region)
        self._clients: dict[str, Any] = {}

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._session.client(
                service, endpoint_url=self._endpoint, config=self._config
            )
        return self._clients[service]

    def account_id(self) -> str:
        """Return whose credentials these are: STS has nobody who may not ask.

        Raises:
            AwsError: there are none, or they are no longer valid.
        """
        with _saying("AWS does not let us in"):
            return str(self._client("sts").get_caller_identity()["Account"])

    # --- the bucket of Terraform's state

    def make_state_bucket(self, bucket: str, owner: str) -> bool:
        """Make a bucket fit for Terraform's state; return whether it is new.

        What it has to be is set each time, so that an interrupted one is mended.

        Args:
            owner: the account that it has to be of, if it is there.
        """
        s3 = self._client("s3")
        with _saying(f"the bucket {bucket} for Terraform's state cannot be made"):
            is_new = not self.has_bucket(bucket, owner)
            if is_new:
                where = {"LocationConstraint": self.region}
                # us-east-1 is the one that must not be named (S3 API, CreateBucket).
                named = {} if self.region == "us-east-1" else where
                s3.create_bucket(
                    Bucket=bucket,
                    **({"CreateBucketConfiguration": named} if named else {}),
                )
            s3.put_public_access_block(
                Bucket=bucket,
                PublicAccessBlockConfiguration={
                    "BlockPublicAcls": True,
                    "IgnorePublicAcls": True,
                    "BlockPublicPolicy": True,
                    "RestrictPublicBuckets": True,
                },
            )
            s3.put_bucket_versioning(
                Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
            )
            encrypted = {"SSEAlgorithm": "AES256"}
            s3.put_bucket_encryption(
                Bucket=bucket,
                ServerSideEncryptionConfiguration={
                    "Rules": [{"ApplyServerSideEncryptionByDefault": encrypted}]
                },
            )
            policy = orjson.dumps(_tls_only(bucket, self._partition())).decode()
            s3.put_bucket_policy(Bucket=bucket, Policy=policy)
        return is_new

    def has_bucket(self, bucket: str, owner: str) -> bool:
        """Return whether a bucket is there, and is an account's.

        Anybody can make one by the name that ours would have, let us in, and give us
        a state of Terraform's that says what he likes.

        Raises:
            AwsError: it is somebody else's, or nobody is let in.
        """
        with _saying(f"the bucket {bucket} cannot be looked for"):
            try:
                self._client("s3").head_bucket(Bucket=bucket, ExpectedBucketOwner=owner)
            except self._refused as error:
                code = code_of(error)
                if code == "404":
                    return False
                if code != "403":
                    raise
                raise AwsError(
                    f"the bucket {bucket} is not the account's ({owner}), or these"
                    " credentials may not list it (s3:ListBucket)"
                ) from error
        return True

    def count_in_state(self, bucket: str, key: str) -> int:
        """Return how many resources a state of Terraform's knows; 0 if there is none.

        Raises:
            AwsError: it cannot be read, so it may know of any.
        """
        url = f"s3://{bucket}/{key}"
        with _saying(f"the deployment's state {url} cannot be read"):
            try:
                answer = self._client("s3").get_object(Bucket=bucket, Key=key)
            except self._refused as error:
                if code_of(error) in _ABSENT_OBJECT:
                    return 0
                raise
            state = answer["Body"].read()
        try:
            return len(orjson.loads(state)["resources"])
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise AwsError(f"{url} is no state of Terraform's") from error

    def _partition(self) -> str:
        return str(self._session.get_partition_for_region(self.region))

    def empty_bucket(self, bucket: str) -> int:
        """Remove all objects of a bucket with all their versions; return how many."""
        s3 = self._client("s3")
        removed = 0
        with _saying(f"the bucket {bucket} cannot be emptied"):
            for page in s3.get_paginator("list_object_versions").paginate(
                Bucket=bucket, PaginationConfig={"PageSize": _DELETED_AT_ONCE}
            ):
                found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
                if not found:
                    continue
                keys = [
                    {"Key": each["Key"], "VersionId": each["VersionId"]}
                    for each in found
                ]
                answer = s3.delete_objects(
                    Bucket=bucket, Delete={"Objects": keys, "Quiet": True}
                )
                errors = answer.get("Errors", ())
                if errors:
                    raise AwsError(
                        f"the bucket {bucket} cannot be emptied: {len(errors)} objects"
                        f" stay, the first is {errors[0].get('Key')}:"
                        f" {errors[0].get('Code')}"
                    )
                removed += len(keys)
        return removed

    # --- machines

    def machines_of(self, group: str) -> list[str]:
        """Return the ids of an auto scaling group's machines that are in service."""
        with _saying(f"the machines of {group} cannot be listed"):
            found = self._client("autoscaling").describe_auto_scaling_groups(
                AutoScalingGroupNames=[group]
            )["AutoScalingGroups"]
        if not found:
            raise AwsError(f"there is no auto scaling group {group} in {self.region}")
        return sorted(
            each["InstanceId"]
            for each in found[0]["Instances"]
            if each["LifecycleState"] == "InService"
        )

    @contextlib.contextmanager
    def keeping_unhealthy(self, group: str) -> Iterator[None]:
        """Have an auto scaling group replace no machine for its health meanwhile."""
        named = {"AutoScalingGroupName": group, "ScalingProcesses": [_REPLACING]}
        client = self._client("autoscaling")
        with _saying(f"{group} cannot be told to wait with replacing machines"):
            client.suspend_processes(**named)
        try:
            yield
        finally:
            with _saying(
                f"{group} replaces no unhealthy machine until somebody resumes its"
                f" process {_REPLACING} (aws autoscaling resume-processes)"
            ):
                client.resume_processes(**named)

    def run_on(self, machine: str, command: str, seconds: int, comment: str) -> str:
        """Begin a shell command on a machine, by Systems Manager; return its id."""
        with _saying(f"{machine} cannot be told what to do"):
            try:
                answer = self._client("ssm").send_command(
                    InstanceIds=[machine],
                    DocumentName="AWS-RunShellScript",
                    Comment=comment,
                    Parameters={
                        "commands": [command],
                        "executionTimeout": [str(seconds)],
                    },
                )
            except self._refused as error:
                if code_of(error) != "InvalidInstanceId":
                    raise
                raise AwsError(
                    f"{machine} is not reached by Systems Manager: it is stopped, still"
                    " starts, or its agent does not run"
                ) from error
        return str(answer["Command"]["CommandId"])

    def invocation(self, machine: str, command_id: str) -> Invocation | None:
        """Return how that command is doing; None where nobody knows of it yet."""
        with _saying(f"{machine} cannot be asked how it is doing"):
            try:
                found = self._client("ssm").get_command_invocation(
                    CommandId=command_id, InstanceId=machine
                )
            except self._refused as error:
                if code_of(error) == _ABSENT_INVOCATION:
                    return None
                raise
        return Invocation(
            str(found["Status"]),
            str(found.get("StandardOutputContent", "")),
            str(found.get("StandardErrorContent", "")),
            int(found.get("ResponseCode", -1)),
        )

    def write_parameter(self, name: str, value: str) -> None:
        """Write a parameter of Systems Manager that is there or not."""
        with _saying(f"the parameter {name} cannot be written"):
            self._client("ssm").put_parameter(
                Name=name, Value=value, Type="String", Overwrite=True
            )

    # --- images

    def registry_login(self) -> RegistryLogin:
        """Return what lets `docker push` in."""
        with _saying("there is no login for the registry"):
            found = self._client("ecr").get_authorization_token()
            given = found["authorizationData"][0]
        user, _, password = (
            base64.b64decode(given["authorizationToken"]).decode().partition(":")
        )
        registry = str(given["proxyEndpoint"]).removeprefix("https://")
        return RegistryLogin(user, password, registry.removeprefix("http://"))

    def image_digest(self, repository: str, tag: str) -> str | None:
        """Return the digest of an image in ECR, None where there is none."""
        with _saying(f"the image {repository}:{tag} cannot be looked up"):
            try:
                found = self._client("ecr").describe_images(
                    repositoryName=repository, imageIds=[{"imageTag": tag}]
                )["imageDetails"]
            except self._refused as error:
                if code_of(error) == "ImageNotFoundException":
                    return None
                raise
        return str(found[0]["imageDigest"]) if found else None


@contextlib.contextmanager
def _saying(doing: str) -> Iterator[None]:
    """Make one line of what boto3 raises within."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise from_boto(error, doing) from error
    except ValueError as error:  # botocore: an endpoint or a region that is none
        raise AwsError(f"{doing}: {' '.join(str(error).split())}") from error


def _tls_only(bucket: str, partition: str) -> dict[str, Any]:
    arn = f"arn:{partition}:s3:::{bucket}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "OnlyByTls",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [arn, f"{arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }
