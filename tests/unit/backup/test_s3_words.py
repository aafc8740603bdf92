"""Each failure of S3's and of boto3's is one line that says how to mend it."""

import pytest
from botocore import exceptions

from penstock.backup.s3_words import Place, from_botocore, from_client_error
from penstock.errors import AbsentError, StoreError, TakenError

DOING = "s3://logs/ours/a cannot be written"
AT = Place(DOING, "logs", "https://s3.example", "alias/k")


def of_code(code: str, message: str = "", operation: str = "PutObject", **more: str):
    error = {"Code": code, "Message": message, **more}
    return from_client_error({"Error": error}, operation, AT)


DENIED = (
    "User: arn:aws:sts::1:assumed-role/writer/i-1 is not authorized to perform:"
    ' kms:GenerateDataKey on resource: "arn:aws:kms:eu-west-1:1:key/2"\nbecause no'
)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("NoSuchBucket", "there is no bucket logs at https://s3.example; make it"),
        ("AccessDenied", "allow these credentials s3:PutObject"),
        ("403", "allow these credentials s3:PutObject"),
        ("ExpiredToken", "have expired; renew them and run the same command again"),
        ("RequestTimeTooSkewed", "the clock of this machine is more than 15 minutes"),
        ("PermanentRedirect", "it is in another region; set AWS_REGION"),
        ("SlowDown", "S3 at https://s3.example is too busy (SlowDown)"),
        ("InternalError", "S3 at https://s3.example is not well (InternalError)"),
        ("KMS.NotFoundException", "the KMS key (alias/k) cannot be used"),
        ("KMS.DisabledException", "correct backup_sse_kms_key_id, or enable the key"),
        ("InvalidAccessKeyId", "the access key or token is unknown"),
        ("SignatureDoesNotMatch", "the secret key is wrong"),
        ("InvalidObjectState", "it is archived (Glacier); restore the object"),
        ("NoSuchUpload", "somebody ended the upload meanwhile"),
        ("BadDigest", "other bytes arrived than were sent"),
        ("QuotaExceeded", "there is no room left"),
        ("NotImplemented", "it needs conditional writes"),
        ("InvalidBucketName", "logs can be no bucket's name; correct --store"),
        ("Whatever", "S3 at https://s3.example answers Whatever: "),
    ],
)
def test_what_s3_answers_is_one_line(code: str, told: str):
    error = of_code(code)
    assert type(error) is StoreError
    assert str(error).startswith(f"{DOING}: ")
    assert told in str(error)
    assert len(str(error).splitlines()) == 1


def test_who_may_not_do_what_is_as_aws_says_it():
    line = str(of_code("AccessDenied", DENIED))
    assert "allow arn:aws:sts::1:assumed-role/writer/i-1 kms:GenerateDataKey" in line


def test_a_denied_read_may_be_of_what_is_not_there():
    line = str(of_code("AccessDenied", operation="GetObject"))
    assert "s3:GetObject (S3 says this of an object that is not there, too" in line


def test_the_region_is_named_where_s3_names_it():
    line = str(of_code("AuthorizationHeaderMalformed", Region="eu-west-1"))
    assert "it is in eu-west-1; set AWS_REGION" in line


def test_what_is_absent_or_taken_is_told_apart():
    assert type(of_code("NoSuchKey")) is AbsentError
    assert type(of_code("404", operation="HeadObject")) is AbsentError
    assert type(of_code("PreconditionFailed")) is TakenError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (exceptions.NoCredentialsError(), "there are no credentials: boto3 looks in"),
        (
            exceptions.PartialCredentialsError(provider="env", cred_var="X"),
            "half of the credentials is missing",
        ),
        (exceptions.ProfileNotFound(profile="p"), "correct AWS_PROFILE"),
        (
            exceptions.CredentialRetrievalError(provider="p", error_msg="no\nrole"),
            "the credentials cannot be had",
        ),
        (
            exceptions.UnauthorizedSSOTokenError(),
            "log in again: aws sso login",
        ),
        (
            exceptions.EndpointConnectionError(endpoint_url="u"),
            "S3 at https://s3.example is out of reach; look at the network",
        ),
        (exceptions.ConnectTimeoutError(endpoint_url="u"), "does not answer;"),
        (exceptions.ReadTimeoutError(endpoint_url="u"), "does not answer in time"),
        (
            exceptions.ConnectionClosedError(endpoint_url="u"),
            "cut the connection, again and again",
        ),
        (
            exceptions.ProxyConnectionError(proxy_url="u", error="e"),
            "the proxy is out of reach",
        ),
        (
            exceptions.SSLError(endpoint_url="u", error="self-signed"),
            "has no certificate that is trusted here",
        ),
        (exceptions.HTTPClientError(error="odd"), "is out of reach (An HTTP"),
        (exceptions.BotoCoreError(), "An unspecified error"),
    ],
)
def test_what_boto3_raises_itself_is_one_line(error: Exception, told: str):
    line = str(from_botocore(error, AT))
    assert line.startswith(f"{DOING}: ")
    assert told in line
    assert len(line.splitlines()) == 1
