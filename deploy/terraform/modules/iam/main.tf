# What Penstock's machines may do, statement by statement, and who may remove backups.
#
# The machine's role writes backups and cannot delete one: whoever takes the machine over
# cannot take the backups along. A prune has a role of its own that no machine can assume.
# SSM's own managed policy would let it read every parameter of the account, so what it
# needs of it stands here by itself.

locals {
  arn = "arn:${var.partition}"
  # ARN's tail of this region and account.
  here = "${var.region}:${var.account_id}"
}

data "aws_iam_policy_document" "machine_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "machine" {
  name               = "${var.prefix}-machine"
  description        = "Penstock's machines"
  assume_role_policy = data.aws_iam_policy_document.machine_trust.json
}

resource "aws_iam_instance_profile" "machine" {
  name = "${var.prefix}-machine"
  role = aws_iam_role.machine.name
}

resource "aws_iam_role_policy" "machine" {
  for_each = {
    backups  = data.aws_iam_policy_document.backup_writer.json
    boot     = data.aws_iam_policy_document.boot.json
    managed  = data.aws_iam_policy_document.managed.json
    seen     = data.aws_iam_policy_document.seen.json
    draining = data.aws_iam_policy_document.draining.json
  }

  name   = each.key
  role   = aws_iam_role.machine.id
  policy = each.value
}

# ---- backups: docs/backups.md, "Who may"

data "aws_iam_policy_document" "backup_writer" {
  statement {
    sid = "WriteBackups"
    actions = [
      "s3:AbortMultipartUpload",
      "s3:GetObject",
      "s3:ListMultipartUploadParts",
      "s3:PutObject",
    ]
    resources = ["${var.backups_bucket_arn}/${var.backup_prefix}/*"]
  }

  statement {
    sid = "ListBackups"
    actions = [
      "s3:GetBucketLocation",
      "s3:ListBucket",
      "s3:ListBucketMultipartUploads",
    ]
    resources = [var.backups_bucket_arn]
  }

  dynamic "statement" {
    for_each = var.kms_key_arn == "" ? [] : [var.kms_key_arn]
    content {
      sid       = "EncryptBackups"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [statement.value]
    }
  }
}

data "aws_iam_policy_document" "backup_pruner" {
  source_policy_documents = [data.aws_iam_policy_document.backup_writer.json]

  statement {
    sid       = "RemoveBackups"
    actions   = ["s3:DeleteObject"]
    resources = ["${var.backups_bucket_arn}/${var.backup_prefix}/*"]
  }
}

# People and jobs of this account that are given sts:AssumeRole for it. It removes current
# objects only: a month of versions stays.
data "aws_iam_policy_document" "pruner_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "AWS"
      identifiers = ["${local.arn}:iam::${var.account_id}:root"]
    }

    # Never a machine, whatever its role is given some day.
    condition {
      test     = "StringNotLike"
      variable = "aws:PrincipalArn"
      values   = [aws_iam_role.machine.arn]
    }
  }
}

resource "aws_iam_role" "pruner" {
  name               = "${var.prefix}-backup-pruner"
  description        = "Removes old backups: penstock backup prune"
  assume_role_policy = data.aws_iam_policy_document.pruner_trust.json
}

resource "aws_iam_role_policy" "pruner" {
  name   = "backups"
  role   = aws_iam_role.pruner.id
  policy = data.aws_iam_policy_document.backup_pruner.json
}

# ---- what a machine fetches to start

data "aws_iam_policy_document" "boot" {
  statement {
    sid       = "ReadSecret"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [var.secret_arn]
  }

  statement {
    sid       = "ReadImageParameter"
    actions   = ["ssm:GetParameter"]
    resources = ["${local.arn}:ssm:${local.here}:parameter${var.image_parameter}"]
  }

  statement {
    sid       = "ReadStack"
    actions   = ["s3:GetObject"]
    resources = ["${var.stack_bucket_arn}/stack/*"]
  }

  statement {
    sid       = "ListStack"
    actions   = ["s3:ListBucket"]
    resources = [var.stack_bucket_arn]
  }

  # It has no resource: a token for all that the role may pull.
  statement {
    sid       = "LogInToRegistry"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }

  statement {
    sid = "PullImages"
    actions = [
      "ecr:BatchCheckLayerAvailability",
      "ecr:BatchGetImage",
      "ecr:GetDownloadUrlForLayer",
    ]
    resources = var.repository_arns
  }
}

# ---- Session Manager and Run Command, in place of SSH

data "aws_iam_policy_document" "managed" {
  # AmazonSSMManagedInstanceCore without ssm:GetParameter and ssm:GetParameters, which it
  # has for every parameter. None of these knows a resource of ours.
  statement {
    sid = "BeManagedBySsm"
    actions = [
      "ec2messages:AcknowledgeMessage",
      "ec2messages:DeleteMessage",
      "ec2messages:FailMessage",
      "ec2messages:GetEndpoint",
      "ec2messages:GetMessages",
      "ec2messages:SendReply",
      "ssm:DescribeAssociation",
      "ssm:DescribeDocument",
      "ssm:GetDeployablePatchSnapshotForInstance",
      "ssm:GetDocument",
      "ssm:GetManifest",
      "ssm:ListAssociations",
      "ssm:ListInstanceAssociations",
      "ssm:PutComplianceItems",
      "ssm:PutConfigurePackageResult",
      "ssm:PutInventory",
      "ssm:UpdateAssociationStatus",
      "ssm:UpdateInstanceAssociationStatus",
      "ssm:UpdateInstanceInformation",
      "ssmmessages:CreateControlChannel",
      "ssmmessages:CreateDataChannel",
      "ssmmessages:OpenControlChannel",
      "ssmmessages:OpenDataChannel",
    ]
    resources = ["*"]
  }
}

# ---- metrics and logs

data "aws_iam_policy_document" "seen" {
  # It has no resource; the namespace is the border.
  statement {
    sid       = "WriteMetrics"
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "cloudwatch:namespace"
      values   = [var.metric_namespace]
    }
  }

  statement {
    sid = "WriteLogs"
    actions = [
      "logs:CreateLogStream",
      "logs:DescribeLogStreams",
      "logs:PutLogEvents",
    ]
    # Its logs, and Penstock's metrics as lines of a log.
    resources = [
      "${local.arn}:logs:${local.here}:log-group:${var.log_group}:*",
      "${local.arn}:logs:${local.here}:log-group:${var.log_group}/metrics:*",
    ]
  }

  # The agent finds the log group by describing it, and its group by its own tags; neither
  # knows a resource.
  statement {
    sid       = "KnowItself"
    actions   = ["ec2:DescribeTags", "logs:DescribeLogGroups"]
    resources = ["*"]
  }
}

# ---- a receiver that is taken away says when it has drained

data "aws_iam_policy_document" "draining" {
  statement {
    sid = "AnswerLifecycleHook"
    actions = [
      "autoscaling:CompleteLifecycleAction",
      "autoscaling:RecordLifecycleActionHeartbeat",
    ]
    # Where there is no group it names none.
    resources = [
      "${local.arn}:autoscaling:${local.here}:autoScalingGroup:*:autoScalingGroupName/${coalesce(var.autoscaling_group_name, "none")}",
    ]
  }
}
