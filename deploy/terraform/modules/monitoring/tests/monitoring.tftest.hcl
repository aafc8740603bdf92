# Which alarms there are for what is deployed, and what each is told to. No AWS.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/0", key_id = "0" }
  }
  mock_resource "aws_sns_topic" {
    defaults = { arn = "arn:aws:sns:eu-central-1:123456789012:penstock-test-alerts" }
  }
  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:eu-central-1:123456789012:log-group:/penstock/test" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/penstock-test-slack" }
  }
  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/penstock-test-slack" }
  }
}

variables {
  name        = "penstock"
  environment = "test"
  region      = "eu-central-1"
  alert_email = "somebody@example.com"
}

run "single" {
  variables {
    instance_id   = "i-0123456789abcdef0"
    instance_type = "t4g.medium"
  }

  assert {
    condition = toset(output.alarm_names) == toset([for name in [
      "backup-age", "backup-differs", "cannot-store", "cpu", "credits", "disk-data",
      "disk-root", "down", "memory", "senders-wait", "silent", "spool",
      "spool-failing", "status-check", "unaccounted", "wal-lag",
    ] : "penstock-test-${name}"])
    error_message = "other alarms than a single instance wants: ${join(", ", output.alarm_names)}"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.metric["disk-data"].dimensions == tomap({ InstanceId = "i-0123456789abcdef0", path = "/data" })
    error_message = "the disk's alarm has not the exact dimensions that the agent aggregates by"
  }

  assert {
    condition = alltrue(concat(
      [for name, alarm in aws_cloudwatch_metric_alarm.metric :
      alarm.alarm_actions == alarm.ok_actions && (length(alarm.alarm_actions) == 1) != contains(["status-check", "silent"], name)],
      [for alarm in aws_cloudwatch_metric_alarm.expression :
      length(alarm.alarm_actions) == 1 && alarm.alarm_actions == alarm.ok_actions],
    ))
    error_message = "an alarm whose begin or end nobody hears of"
  }

  assert {
    condition     = aws_cloudwatch_composite_alarm.down.alarm_rule == "ALARM(\"penstock-test-silent\") OR ALARM(\"penstock-test-status-check\")"
    error_message = "down is ${aws_cloudwatch_composite_alarm.down.alarm_rule}"
  }

  assert {
    condition     = length(aws_chatbot_slack_channel_configuration.alerts) == 0 && length(aws_budgets_budget.month) == 0
    error_message = "nobody asked for Slack or a budget"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.expression["backup-age"].treat_missing_data == "breaching"
    error_message = "no backup at all has to be an alarm"
  }

  assert {
    condition     = alltrue([for widget in jsondecode(aws_cloudwatch_dashboard.deployment.dashboard_body).widgets : widget.x + widget.width <= 24])
    error_message = "a widget sticks out of the dashboard"
  }
}

run "receivers" {
  variables {
    variant                  = "receivers"
    database                 = "rds"
    autoscaling_group_name   = "penstock-test"
    instance_type            = "c7g.large"
    load_balancer_arn_suffix = "net/penstock-test/0"
    target_group_arn_suffix  = "targetgroup/penstock-test/0"
    rds_identifier           = "penstock-test"
    rds_replica              = true
    rds_replica_identifier   = "penstock-test-replica"
    slack_team_id            = "T0123ABCD"
    slack_channel_id         = "C0123ABCD"
    monthly_budget_usd       = 500
  }

  assert {
    condition = toset(output.alarm_names) == toset([for name in [
      "backup-age", "backup-differs", "cannot-store", "cpu", "disk-root", "down",
      "memory", "no-receiver", "rds-connections", "rds-cpu", "rds-replica-broken",
      "rds-replica-lag", "rds-storage", "senders-wait", "silent", "spool",
      "spool-failing", "unaccounted", "unhealthy-receiver",
    ] : "penstock-test-${name}"])
    error_message = "other alarms than receivers want: ${join(", ", output.alarm_names)}"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.metric["disk-root"].dimensions == tomap({ Deployment = "penstock-test", path = "/" })
    error_message = "the disk's alarm has not the exact dimensions that the agent aggregates by"
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.metric["rds-storage"].threshold == 21474836480
    error_message = "a fifth of 100 GiB is 20 GiB"
  }

  assert {
    condition     = aws_chatbot_slack_channel_configuration.alerts[0].guardrail_policy_arns == tolist([aws_iam_policy.slack[0].arn]) && aws_iam_role_policy_attachment.slack[0].policy_arn == aws_iam_policy.slack[0].arn
    error_message = "Slack may do more than look"
  }

  assert {
    condition     = aws_budgets_budget.month[0].limit_amount == "500.00"
    error_message = "the budget is another"
  }
}

run "half_of_slack" {
  command = plan

  variables {
    instance_id   = "i-0123456789abcdef0"
    slack_team_id = "T0123ABCD"
  }

  assert {
    condition     = length(aws_chatbot_slack_channel_configuration.alerts) == 0
    error_message = "Slack needs both ids"
  }
}

run "wrong_words" {
  command = plan

  variables {
    alert_email        = "nobody"
    variant            = "several"
    database           = "oracle"
    log_retention_days = 31
    monthly_budget_usd = -1
  }

  expect_failures = [
    var.alert_email,
    var.variant,
    var.database,
    var.log_retention_days,
    var.monthly_budget_usd,
  ]
}
