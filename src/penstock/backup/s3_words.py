"""What each failure of boto3's means, and how to mend it, in one line.

It owns the words. It must not ask S3 anything, and knows boto3 by the names of its
errors only, so that it can be read without it. The codes are those of Amazon's "S3 API
Reference", "Error responses", and of botocore.exceptions.
"""

import re
from typing import Any, Final, NamedTuple

from penstock.errors import AbsentError, StoreError, TakenError


class Place(NamedTuple):
    """What was asked for, and where."""

    doing: str  # s3://bucket/prefix/key cannot be written
    bucket: str
    endpoint: str
    kms_key_id: str = ""


# What an operation needs to be allowed to (Service Authorization Reference, Amazon S3).
_ACTIONS: Final = {
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "DeleteObjects": "s3:DeleteObject",
}
# A HEAD has no body, so that its code is the status.
_ABSENT: Final = {"NoSuchKey", "404", "NotFound", "NoSuchVersion"}
_TAKEN: Final = {"PreconditionFailed", "412", "ConditionalRequestConflict"}
_DENIED: Final = {
    "AccessDenied",
    "AccessDeniedException",
    "AllAccessDisabled",
    "403",
    "Forbidden",
}
_EXPIRED: Final = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
_UNKNOWN_KEYS: Final = {"InvalidAccessKeyId", "InvalidClientTokenId", "InvalidToken"}
_BUSY: Final = {
    "SlowDown",
    "503",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "TooManyRequests",
    "429",
}
_BROKEN: Final = {"InternalError", "500", "502", "504", "RequestTimeout", "BadGateway"}
_ELSEWHERE: Final = {
    "PermanentRedirect",
    "TemporaryRedirect",
    "Redirect",
    "301",
    "307",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
}
_FULL: Final = {"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"}
_BAD_BYTES: Final = {"BadDigest", "XAmzContentSHA256Mismatch", "InvalidDigest"}

_WHERE_CREDENTIALS: Final = (
    "boto3 looks in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in AWS_PROFILE and"
    " ~/.aws, and asks for the instance's role"
)


def from_client_error(
    response: dict[str, Any], operation: str, at: Place
) -> StoreError:
    """Return what S3's answer means."""
    error = response.get("Error", {})
    code, told = str(error.get("Code", "")), _one_line(error.get("Message", ""))
    if code in _ABSENT:
        return AbsentError(f"{at.doing}: it is not there")
    if code in _TAKEN:
        return TakenError(f"{at.doing}: something else is there")
    return StoreError(f"{at.doing}: {_meaning(code, told, error, operation, at)}")


def _meaning(
    code: str, told: str, error: dict[str, Any], operation: str, at: Place
) -> str:
    if code == "NoSuchBucket":
        return (
            f"there is no bucket {at.bucket} at {at.endpoint}; make it, or correct"
            " --store"
        )
    if code.startswith("KMS.") or (code == "InvalidArgument" and "KMS" in told.upper()):
        key = at.kms_key_id or "the bucket's own key"
        return (
            f"the KMS key ({key}) cannot be used: {told or code}; correct"
            " backup_sse_kms_key_id, or enable the key"
        )
    if code in _DENIED:
        return _denied(told, operation)
    if code in _EXPIRED:
        return "the credentials have expired; renew them and run the same command again"
    if code in _UNKNOWN_KEYS or code == "SignatureDoesNotMatch":
        is_known = code == "SignatureDoesNotMatch"
        part = "secret key is wrong" if is_known else "access key or token is unknown"
        return f"the {part} ({code}); {_WHERE_CREDENTIALS}"
    if code == "RequestTimeTooSkewed":
        return (
            "the clock of this machine is more than 15 minutes off"
            + (f" (S3 has {error['ServerTime']})" if error.get("ServerTime") else "")
            + "; set it, best by NTP"
        )
    if code in _ELSEWHERE:
        region = error.get("Region") or error.get("Endpoint")
        there = f"it is in {region}" if region else "it is in another region"
        return f"{there}; set AWS_REGION to the bucket's ({told or code})"
    return _state(code, told, at)


def _state(code: str, told: str, at: Place) -> str:
    """Return what is the matter with S3 itself, or with an object."""
    if code in _BUSY or code in _BROKEN:
        what = "too busy" if code in _BUSY else "not well"
        return (
            f"S3 at {at.endpoint} is {what} ({code}), for longer than was waited; try"
            " again later"
        )
    if code in _FULL:
        return f"there is no room left ({told or code}); remove backups or get more"
    if code in _BAD_BYTES:
        return (
            "other bytes arrived than were sent; try again, and look for a proxy that"
            f" changes them ({code})"
        )
    if code == "InvalidObjectState":
        return (
            "it is archived (Glacier); restore the object in S3 first, and keep"
            " lifecycle rules from archiving backups"
        )
    if code == "NoSuchUpload":
        return (
            "somebody ended the upload meanwhile: `penstock backup prune`, or a"
            " lifecycle rule for incomplete uploads"
        )
    if code in ("NotImplemented", "501"):
        return f"this S3 cannot do that ({told or code}); it needs conditional writes"
    if code == "InvalidBucketName":
        return f"{at.bucket} can be no bucket's name; correct --store"
    return f"S3 at {at.endpoint} answers {code or 'something unknown'}: {told}"


def _denied(told: str, operation: str) -> str:
    # AWS says itself who may not do what, but for some of its kin.
    action = re.search(r"to perform: (\S+?)[,.]?(?:\s|$)", told)
    needed = action[1] if action else _ACTIONS.get(operation, operation)
    who = re.search(r"User: (\S+)", told)
    whose = f" {who[1]}" if who else " these credentials"
    also = (
        " (S3 says this of an object that is not there, too, where s3:ListBucket is"
        " not allowed)"
        if needed == "s3:GetObject"
        else ""
    )
    return f"access is denied: allow{whose} {needed}{also}"


def from_botocore(error: Exception, at: Place) -> StoreError:
    """Return what an error of boto3's own means: S3 was not reached, or not asked."""
    names = {each.__name__ for each in type(error).__mro__}
    told = _one_line(str(error))
    for name, meaning in (
        ("NoCredentialsError", f"there are no credentials: {_WHERE_CREDENTIALS}"),
        ("PartialCredentialsError", f"half of the credentials is missing: {told}"),
        ("ProfileNotFound", f"{told}; correct AWS_PROFILE"),
        ("CredentialRetrievalError", f"the credentials cannot be had: {told}"),
        ("MetadataRetrievalError", f"the instance's role cannot be had: {told}"),
        ("SSOError", f"{told}; log in again: aws sso login"),
        ("TokenRetrievalError", f"{told}; log in again: aws sso login"),
        ("NoRegionError", "no region is set; set AWS_REGION"),
        ("InvalidRegionError", f"{told}; correct AWS_REGION"),
        ("ParamValidationError", f"boto3 does not take it: {told}"),
        ("SSLError", _untrusted(at, told)),
        ("ProxyConnectionError", f"the proxy is out of reach: {told}; see HTTPS_PROXY"),
        ("ReadTimeoutError", _unreached(at, "does not answer in time")),
        ("ConnectTimeoutError", _unreached(at, "does not answer")),
        ("EndpointConnectionError", _unreached(at, "is out of reach")),
        (
            "ConnectionClosedError",
            _unreached(at, "cut the connection, again and again"),
        ),
        ("HTTPClientError", _unreached(at, f"is out of reach ({told})")),
        ("ConnectionError", _unreached(at, f"is out of reach ({told})")),
    ):
        if name in names:
            return StoreError(f"{at.doing}: {meaning}")
    return StoreError(f"{at.doing}: {told}")


def _unreached(at: Place, what: str) -> str:
    return (
        f"S3 at {at.endpoint} {what}; look at the network, and at AWS_ENDPOINT_URL_S3"
        " and AWS_REGION"
    )


def _untrusted(at: Place, told: str) -> str:
    if "WRONG_VERSION_NUMBER" in told:
        return f"{at.endpoint} speaks no TLS; is it http:// in AWS_ENDPOINT_URL_S3?"
    return (
        f"S3 at {at.endpoint} has no certificate that is trusted here ({told}); name"
        " its authority in AWS_CA_BUNDLE"
    )


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
