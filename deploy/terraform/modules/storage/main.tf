# The bucket of backups, made so that nothing but a prune removes one, and so that even
# what was removed or overwritten is there for a month. Its rules are the same as the other
# bucket's (./stack.tf): encrypted, owned by the account, closed to the public, TLS only.
#
# S3 encrypts with keys of its own (SSE-S3) unless kms_key_arn is set: the bucket is guarded
# by policies either way, and a key of one's own is one more thing whose loss loses all.

resource "aws_s3_bucket" "backups" {
  bucket        = "${var.prefix}-backups-${var.account_id}"
  force_destroy = !var.keep_data

  tags = { Name = "${var.prefix}-backups" }
}

resource "aws_s3_bucket_versioning" "backups" {
  bucket = aws_s3_bucket.backups.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "backups" {
  bucket = aws_s3_bucket.backups.id

  rule {
    # One data key for many objects: KMS is asked, and paid, a hundredth as often.
    bucket_key_enabled = var.kms_key_arn != ""

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == "" ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn == "" ? null : var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "backups" {
  bucket = aws_s3_bucket.backups.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "backups" {
  bucket = aws_s3_bucket.backups.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

# Each bucket has its own: this one outlives the other, and must not depend on it.
data "aws_iam_policy_document" "backups_tls" {
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.backups.arn, "${aws_s3_bucket.backups.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "backups" {
  bucket = aws_s3_bucket.backups.id
  policy = data.aws_iam_policy_document.backups_tls.json

  # S3 refuses to change both at once.
  depends_on = [aws_s3_bucket_public_access_block.backups]
}

# No rule expires a current object: a part is needed for as long as any backup refers to
# it, and WAL for as long as a base backup begins before it. `penstock backup prune` knows
# which, and barman-cloud.
resource "aws_s3_bucket_lifecycle_configuration" "backups" {
  bucket = aws_s3_bucket.backups.id

  rule {
    id     = "unfinished-uploads"
    status = "Enabled"
    filter {}

    # A backup takes hours at most; `prune` takes back those older than a day itself.
    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }

  rule {
    id     = "removed-and-overwritten"
    status = "Enabled"
    filter {}

    # The time there is to notice that backups were removed by somebody or something.
    noncurrent_version_expiration {
      noncurrent_days = 30
    }

    expiration {
      expired_object_delete_marker = true
    }
  }

  rule {
    id     = "parts-to-intelligent-tiering"
    status = "Enabled"

    filter {
      prefix = "penstock/parts/"
    }

    # A day's part is written once and read by a restore. Not into the archive tiers, which
    # would make a restore wait for hours, and not WAL, which is gone before it would pay.
    transition {
      days          = 30
      storage_class = "INTELLIGENT_TIERING"
    }
  }

  # Rules about versions need versions.
  depends_on = [aws_s3_bucket_versioning.backups]
}
