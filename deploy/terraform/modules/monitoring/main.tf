# Who is told, by what; the groups of logs; the budget. What is an alarm stands in
# alarms.tf, what is looked at in dashboard.tf. Nothing here reaches into the instance:
# deploy/cloudwatch is what sends the metrics from there.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  deployment = "${var.name}-${var.environment}"
  account    = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  log_group  = "/${var.name}/${var.environment}"
  has_slack  = var.slack_team_id != "" && var.slack_channel_id != ""
}

# A key of our own: with SNS's own, alias/aws/sns, an alarm cannot publish, and nobody
# is told so.
data "aws_iam_policy_document" "key" {
  #checkov:skip=CKV_AWS_109:A key's policy has to let the account administer it, or nobody ever can.
  #checkov:skip=CKV_AWS_111:The same.
  #checkov:skip=CKV_AWS_356:In a key's policy "*" is that key.
  # The account's administrators, as in every key: without this nobody could ever
  # change its policy.
  statement {
    sid       = "Administer"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${local.partition}:iam::${local.account}:root"]
    }
  }

  # No condition on the account: where a service does not send it along, alarms would
  # be lost without a word. The topic's policy has that condition.
  statement {
    sid       = "AlarmsAndBudgetsPublish"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com", "budgets.amazonaws.com"]
    }
  }

  statement {
    sid = "LogsOfThisDeployment"
    actions = [
      "kms:Decrypt",
      "kms:DescribeKey",
      "kms:Encrypt",
      "kms:GenerateDataKey*",
      "kms:ReEncrypt*",
    ]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["logs.${var.region}.amazonaws.com"]
    }

    condition {
      test     = "ArnLike"
      variable = "kms:EncryptionContext:aws:logs:arn"
      values   = ["arn:${local.partition}:logs:${var.region}:${local.account}:log-group:${local.log_group}*"]
    }
  }
}

resource "aws_kms_key" "alerts" {
  description             = "${local.deployment}: alerts and logs"
  enable_key_rotation     = true
  deletion_window_in_days = 7
  policy                  = data.aws_iam_policy_document.key.json
}

resource "aws_kms_alias" "alerts" {
  name          = "alias/${local.deployment}-alerts"
  target_key_id = aws_kms_key.alerts.key_id
}

resource "aws_sns_topic" "alerts" {
  name              = "${local.deployment}-alerts"
  kms_master_key_id = aws_kms_key.alerts.arn
}

data "aws_iam_policy_document" "topic" {
  statement {
    sid       = "AlarmsPublish"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alerts.arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }

  statement {
    sid       = "BudgetsPublish"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alerts.arn]

    principals {
      type        = "Service"
      identifiers = ["budgets.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }

  statement {
    sid       = "OnlyByTls"
    effect    = "Deny"
    actions   = ["sns:Publish", "sns:Subscribe"]
    resources = [aws_sns_topic.alerts.arn]

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

resource "aws_sns_topic_policy" "alerts" {
  arn    = aws_sns_topic.alerts.arn
  policy = data.aws_iam_policy_document.topic.json
}

resource "aws_sns_topic_subscription" "email" {
  topic_arn = aws_sns_topic.alerts.arn
  protocol  = "email"
  endpoint  = var.alert_email
}

# Slack. Somebody has to have let AWS into the workspace once, in the console (Amazon Q
# Developer in chat applications, once AWS Chatbot): that cannot be done from here.
data "aws_iam_policy_document" "slack_trust" {
  count = local.has_slack ? 1 : 0

  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["chatbot.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

resource "aws_iam_role" "slack" {
  count = local.has_slack ? 1 : 0

  name               = "${local.deployment}-slack"
  assume_role_policy = data.aws_iam_policy_document.slack_trust[0].json
}

# For the chart that stands beside an alarm in the channel. Not AWS's own policy for
# reading CloudWatch: by it everybody in the channel could read all logs of the account.
data "aws_iam_policy_document" "slack" {
  count = local.has_slack ? 1 : 0

  statement {
    sid = "LookAtAlarmsAndCharts"
    actions = [
      "cloudwatch:DescribeAlarms",
      "cloudwatch:GetMetricData",
      "cloudwatch:GetMetricStatistics",
      "cloudwatch:GetMetricWidgetImage",
    ]
    # Metrics know no resource.
    resources = ["*"]
  }
}

resource "aws_iam_policy" "slack" {
  count = local.has_slack ? 1 : 0

  name        = "${local.deployment}-slack"
  description = "What a member of the Slack channel may look at"
  policy      = data.aws_iam_policy_document.slack[0].json
}

resource "aws_iam_role_policy_attachment" "slack" {
  count = local.has_slack ? 1 : 0

  role       = aws_iam_role.slack[0].name
  policy_arn = aws_iam_policy.slack[0].arn
}

resource "aws_chatbot_slack_channel_configuration" "alerts" {
  count = local.has_slack ? 1 : 0

  configuration_name = "${local.deployment}-alerts"
  iam_role_arn       = aws_iam_role.slack[0].arn
  slack_team_id      = var.slack_team_id
  slack_channel_id   = var.slack_channel_id
  sns_topic_arns     = [aws_sns_topic.alerts.arn]
  logging_level      = "ERROR"

  # Without this a channel's members may do what AdministratorAccess lets them, as far
  # as the role does.
  guardrail_policy_arns = [aws_iam_policy.slack[0].arn]
}

# Made here, so that they have a retention: the agent makes its own for ever.
resource "aws_cloudwatch_log_group" "instance" {
  #checkov:skip=CKV_AWS_338:The machine's logs are for finding faults; a year of them is nobody's.
  name              = local.log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = aws_kms_key.alerts.arn
}

# The agent sends Penstock's metrics as lines of a log (embedded metric format), from
# which CloudWatch makes the metrics. Nobody reads the lines after that.
resource "aws_cloudwatch_log_group" "metrics" {
  #checkov:skip=CKV_AWS_338:CloudWatch keeps the metrics for 15 months; these are what they were made of.
  name              = "${local.log_group}/metrics"
  retention_in_days = 1
  kms_key_id        = aws_kms_key.alerts.arn
}

# Of the whole account: a budget of one deployment needs its tags activated for cost
# allocation, by hand, and says 0 until then.
resource "aws_budgets_budget" "month" {
  count = var.monthly_budget_usd > 0 ? 1 : 0

  name         = "${local.deployment}-month"
  budget_type  = "COST"
  limit_amount = format("%.2f", var.monthly_budget_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  # What has been spent, early enough to do something.
  notification {
    comparison_operator       = "GREATER_THAN"
    threshold                 = 80
    threshold_type            = "PERCENTAGE"
    notification_type         = "ACTUAL"
    subscriber_sns_topic_arns = [aws_sns_topic.alerts.arn]
  }

  notification {
    comparison_operator       = "GREATER_THAN"
    threshold                 = 100
    threshold_type            = "PERCENTAGE"
    notification_type         = "FORECASTED"
    subscriber_sns_topic_arns = [aws_sns_topic.alerts.arn]
  }

  # It checks that it may publish when it is made.
  depends_on = [aws_sns_topic_policy.alerts]
}
