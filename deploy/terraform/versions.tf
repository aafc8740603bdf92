# Penstock on AWS: what it is made with, and where its state is.
#
# The state is in the bucket that bootstrap/ makes, locked by S3 itself: no DynamoDB. Where
# it is comes with init, from `penstock deploy init` or by hand:
#   terraform init -backend-config=bucket=... -backend-config=key=... -backend-config=region=...
# There is no committed lock file: it names a registry's host, and hashes for one system
# only. `terraform init` writes one; keep it beside your own settings.

terraform {
  # Arguments that are written and never kept (secret_string_wo) came with 1.11.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # 5.100 is the last of 5; nothing that 6 took away is used.
      version = ">= 5.100, < 7"
    }
  }

  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}
