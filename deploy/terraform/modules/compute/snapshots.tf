# A snapshot of the data volume each night, by AWS's own scheduler: consistent as after a
# power cut, which PostgreSQL and the spool are made for. A quick way back on the same day;
# the backups are what a database is restored from.

locals {
  snapshots = local.single && var.data_volume_snapshots
}

data "aws_iam_policy_document" "snapshots_trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["dlm.amazonaws.com"]
    }
  }
}

# What AWSDataLifecycleManagerServiceRole has for snapshots, but only for ours.
data "aws_iam_policy_document" "snapshots" {
  count = local.snapshots ? 1 : 0

  statement {
    sid       = "Describe"
    actions   = ["ec2:DescribeInstances", "ec2:DescribeSnapshots", "ec2:DescribeVolumes"]
    resources = ["*"]
  }

  statement {
    sid       = "OfTheDataVolume"
    actions   = ["ec2:CreateSnapshot"]
    resources = [aws_ebs_volume.data[0].arn]
  }

  statement {
    sid       = "MakeSnapshots"
    actions   = ["ec2:CreateSnapshot", "ec2:CreateTags"]
    resources = ["arn:${data.aws_partition.current.partition}:ec2:*::snapshot/*"]
  }

  statement {
    sid       = "RemoveSnapshots"
    actions   = ["ec2:DeleteSnapshot"]
    resources = ["arn:${data.aws_partition.current.partition}:ec2:*::snapshot/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Snapshots"
      values   = [var.prefix]
    }
  }
}

resource "aws_iam_role" "snapshots" {
  count = local.snapshots ? 1 : 0

  name               = "${var.prefix}-snapshots"
  assume_role_policy = data.aws_iam_policy_document.snapshots_trust.json
}

resource "aws_iam_role_policy" "snapshots" {
  count = local.snapshots ? 1 : 0

  name   = "snapshots"
  role   = aws_iam_role.snapshots[0].id
  policy = data.aws_iam_policy_document.snapshots[0].json
}

resource "aws_dlm_lifecycle_policy" "data" {
  count = local.snapshots ? 1 : 0

  description        = "Data volume of ${var.prefix} each night"
  execution_role_arn = aws_iam_role.snapshots[0].arn
  state              = "ENABLED"

  policy_details {
    resource_types = ["VOLUME"]
    target_tags    = { Snapshots = var.prefix }

    schedule {
      name      = "nightly"
      copy_tags = true

      create_rule {
        interval      = 24
        interval_unit = "HOURS"
        # Before the nightly backup, at 02:15.
        times = ["01:30"]
      }

      retain_rule {
        count = 7
      }
    }
  }
}
