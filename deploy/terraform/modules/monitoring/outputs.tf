output "topic_arn" {
  description = "Where alarms are published; other alarms may use it."
  value       = aws_sns_topic.alerts.arn
}

output "log_group_name" {
  description = "LOG_GROUP of instance.env."
  value       = aws_cloudwatch_log_group.instance.name
}

output "log_group_arns" {
  description = "What the instance's role may write to: its logs, and the agent's metrics in the embedded format."
  value       = [aws_cloudwatch_log_group.instance.arn, aws_cloudwatch_log_group.metrics.arn]
}

output "dashboard_name" {
  description = "Of CloudWatch's dashboard."
  value       = aws_cloudwatch_dashboard.deployment.dashboard_name
}

output "alarm_names" {
  description = "Of each alarm that was made, the one of all included."
  value = sort(concat(
    [for alarm in aws_cloudwatch_metric_alarm.metric : alarm.alarm_name],
    [for alarm in aws_cloudwatch_metric_alarm.expression : alarm.alarm_name],
    [aws_cloudwatch_composite_alarm.down.alarm_name],
  ))
}
