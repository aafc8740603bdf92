# The bucket of the stack: what the machines run besides the images (compose, nginx, units,
# scripts), one object for each file. They copy it at boot and before an upgrade, so that a
# changed file replaces no machine and user data stays small. Machines may only read it: who
# writes it runs what he likes on them, as root.

locals {
  folders = ["compose", "nginx", "instance", "systemd", "cloudwatch", "prometheus", "grafana"]

  # Not what lies about in a working copy: settings with passwords in them, keys, and what
  # editors and Python leave.
  left_out = "(^|/)(\\.env|\\.git.*|__pycache__/.*|.*\\.(pem|key|crt|pyc|swp|log|bak|orig)|.*~)$"

  files = toset([
    for file in flatten([
      for folder in local.folders : [
        for file in fileset("${var.stack_directory}/${folder}", "**") : "${folder}/${file}"
      ]
    ]) : file if !can(regex(local.left_out, file))
  ])
}

resource "aws_s3_bucket" "stack" {
  bucket = "${var.prefix}-stack-${var.account_id}"
  # All that is in it comes from the repository.
  force_destroy = true

  tags = { Name = "${var.prefix}-stack" }
}

resource "aws_s3_bucket_versioning" "stack" {
  bucket = aws_s3_bucket.stack.id

  versioning_configuration {
    status = "Enabled"
  }
}

# With S3's own key in any case: there is nothing secret in it.
resource "aws_s3_bucket_server_side_encryption_configuration" "stack" {
  bucket = aws_s3_bucket.stack.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_public_access_block" "stack" {
  bucket = aws_s3_bucket.stack.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "stack" {
  bucket = aws_s3_bucket.stack.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

data "aws_iam_policy_document" "stack_tls" {
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.stack.arn, "${aws_s3_bucket.stack.arn}/*"]

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

resource "aws_s3_bucket_policy" "stack" {
  bucket = aws_s3_bucket.stack.id
  policy = data.aws_iam_policy_document.stack_tls.json

  depends_on = [aws_s3_bucket_public_access_block.stack]
}

resource "aws_s3_bucket_lifecycle_configuration" "stack" {
  bucket = aws_s3_bucket.stack.id

  rule {
    id     = "old-versions"
    status = "Enabled"
    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }

    # What an older release had is in the repository.
    noncurrent_version_expiration {
      noncurrent_days = 30
    }
  }

  depends_on = [aws_s3_bucket_versioning.stack]
}

resource "aws_s3_object" "stack" {
  for_each = local.files

  bucket      = aws_s3_bucket.stack.id
  key         = "stack/${each.value}"
  source      = "${var.stack_directory}/${each.value}"
  source_hash = filemd5("${var.stack_directory}/${each.value}")

  depends_on = [
    aws_s3_bucket_server_side_encryption_configuration.stack,
    aws_s3_bucket_versioning.stack,
  ]
}
