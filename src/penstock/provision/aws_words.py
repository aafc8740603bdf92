"""What each failure of AWS's means, and how to mend it, in one line.

It owns the words. It asks AWS nothing, and knows boto3 by the names of its errors only,
so that it can be read without it.
"""

import re
from typing import Any, Final

from penstock.errors import AwsError

_EXPIRED: Final = {
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "TokenRefreshRequired",
}
_UNKNOWN: Final = {
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "UnrecognizedClientException",
    "SignatureDoesNotMatch",
    "AuthFailure",
}
_DENIED: Final = {
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "403",
    "Forbidden",
}
LOG_IN: Final = (
    "log in (aws sso login, aws configure), or set AWS_PROFILE, or AWS_ACCESS_KEY_ID"
    " and AWS_SECRET_ACCESS_KEY"
)


def code_of(error: Exception) -> str:
    """Return AWS's code, empty where AWS was not reached."""
    response: dict[str, Any] = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def from_boto(error: Exception, doing: str) -> AwsError:
    """Return what an error of boto3's means.

    Args:
        doing: what could not be done, such as "the image cannot be looked up".
    """
    code = code_of(error)
    meaning = _of_answer(error, code) if code else _of_us(error)
    return AwsError(f"{doing}: {meaning}")


def _of_answer(error: Exception, code: str) -> str:
    response: dict[str, Any] = getattr(error, "response", None) or {}
    told = _one_line(response.get("Error", {}).get("Message", ""))
    if code in _EXPIRED:
        return "the AWS credentials have expired: log in again (aws sso login)"
    if code in _UNKNOWN:
        return f"AWS does not know these credentials ({code}): {LOG_IN}"
    if code in _DENIED:
        action = re.search(r"to perform: (\S+?)[,.]?(?:\s|$)", told)
        operation = str(getattr(error, "operation_name", ""))
        return f"access is denied: allow {action[1] if action else operation}"
    return f"AWS answers {code}: {told}"


def _of_us(error: Exception) -> str:
    names = {each.__name__ for each in type(error).__mro__}
    told = _one_line(error)
    for name, meaning in (
        ("NoCredentialsError", f"there are no AWS credentials: {LOG_IN}"),
        ("PartialCredentialsError", f"half of the AWS credentials is missing: {told}"),
        ("ProfileNotFound", f"{told}; correct AWS_PROFILE"),
        ("SSOError", f"{told}; log in again: aws sso login"),
        ("TokenRetrievalError", f"{told}; log in again: aws sso login"),
        ("CredentialRetrievalError", f"the AWS credentials cannot be had: {told}"),
        ("InvalidRegionError", f"{told}; correct the region"),
        ("HTTPClientError", f"AWS is out of reach: {told}"),
        ("ConnectionError", f"AWS is out of reach: {told}"),
    ):
        if name in names:
            return meaning
    return told


def _one_line(text: object) -> str:
    return " ".join(str(text).split())
