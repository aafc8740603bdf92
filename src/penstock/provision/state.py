"""Where Terraform's state is: a bucket of the account, and the file that says so.

It owns the bucket's name and the backend's settings. It must not talk to AWS.
"""

import json
import re
from typing import Final, NamedTuple

KEY: Final = "{name}/{environment}/terraform.tfstate"


class StatePlace(NamedTuple):
    """An object that is a deployment's state."""

    bucket: str
    key: str
    region: str

    @property
    def url(self) -> str:
        """The place as a person gives it."""
        return f"s3://{self.bucket}/{self.key}"


def place_in(backend_settings: str) -> StatePlace | None:
    """Return where the state is by what `backend` has written; None: it has not."""
    found = dict(re.findall(r'^(\w+) = "([^"]*)"$', backend_settings, re.MULTILINE))
    try:
        return StatePlace(found["bucket"], found["key"], found["region"])
    except KeyError:
        return None


def bucket_name(name: str, account_id: str, region: str) -> str:
    """Return the bucket of all states of an account in a region.

    Names of buckets are everybody's: the account's number makes it ours.
    """
    return f"{name}-tfstate-{account_id}-{region}"


def backend(
    bucket: str, name: str, environment: str, region: str, endpoint: str
) -> str:
    """Return what `terraform init -backend-config` reads.

    use_lockfile locks by a conditional write to the bucket itself, so that no table of
    DynamoDB is needed (Terraform 1.10; the table is deprecated since 1.11).
    """
    lines = {
        "bucket": bucket,
        "key": KEY.format(name=name, environment=environment),
        "region": region,
        "encrypt": True,
        "use_lockfile": True,
    }
    if endpoint:
        lines |= {
            "endpoints": {"s3": endpoint, "sts": endpoint},
            "use_path_style": True,
            "skip_credentials_validation": True,
            "skip_metadata_api_check": True,
            "skip_requesting_account_id": True,
            "skip_region_validation": True,
        }
    # JSON's strings, booleans and objects of strings are HCL's too.
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
