# What wakes somebody. Each alarm says when it begins and when it ends, and what no data
# means, which is chosen one by one:
#
#   breaching     no data is the trouble itself: who should send it is gone
#   notBreaching  no data is said by another alarm already (silent), or is no trouble
#   missing       nothing is known: the alarm stays as it was. For what AWS itself
#                 measures, where the alarm of the status check speaks for a gap
#
# An alarm matches a metric by its exact set of dimensions. Those of Penstock's namespace
# are what deploy/cloudwatch/amazon-cloudwatch-agent.json sends: a test holds the two
# together. What each alarm wants done: docs/alerts.md.

locals {
  is_single     = var.variant == "single"
  has_database  = var.database == "docker"
  is_burstable  = can(regex("^t[0-9]", var.instance_type))
  ours          = "Penstock"
  of_deployment = { Deployment = local.deployment }
  # What the agent measures: of the instance, or the highest of all receivers.
  of_path   = local.is_single ? tomap({ InstanceId = var.instance_id }) : tomap({ Deployment = local.deployment })
  of_memory = local.is_single ? tomap({ InstanceId = var.instance_id, Deployment = local.deployment }) : tomap({ Deployment = local.deployment })
  # What EC2 measures by itself.
  of_ec2     = local.is_single ? tomap({ InstanceId = var.instance_id }) : tomap({ AutoScalingGroupName = var.autoscaling_group_name })
  of_rds     = { DBInstanceIdentifier = var.rds_identifier }
  of_replica = { DBInstanceIdentifier = var.rds_replica_identifier }
  of_targets = {
    LoadBalancer = var.load_balancer_arn_suffix
    TargetGroup  = var.target_group_arn_suffix
  }
  gib_bytes = 1024 * 1024 * 1024

  metric_alarms = {
    for name, alarm in {
      # EC2 itself. A stopped instance sends nothing, and is as bad as a failed one.
      status-check = {
        wanted          = local.is_single
        about           = "The instance fails EC2's status checks, or is stopped. Senders keep their logs meanwhile."
        namespace       = "AWS/EC2", metric = "StatusCheckFailed", dimensions = local.of_ec2
        statistic       = "Maximum", period_seconds = 60, periods = 3
        comparison      = "GreaterThanOrEqualToThreshold", threshold = 1
        no_data         = "breaching"
        is_part_of_down = true
      }
      # A quarter of an hour at 85 % is more than a burst: EC2 measures every 5 minutes.
      cpu = {
        wanted          = true
        about           = "The CPU has been busy for a quarter of an hour. docs/sizing.md says what a core stores."
        namespace       = "AWS/EC2", metric = "CPUUtilization", dimensions = local.of_ec2
        statistic       = "Average", period_seconds = 300, periods = 3
        comparison      = "GreaterThanThreshold", threshold = 85
        no_data         = "missing"
        is_part_of_down = false
      }
      # 30 credits are half an hour of one core. At 0 a t3 or t4g goes on at full speed
      # and costs more by the hour, or is slow if it is set so.
      credits = {
        wanted          = local.is_burstable
        about           = "The CPU credits are nearly used up: this instance type is too small for what arrives."
        namespace       = "AWS/EC2", metric = "CPUCreditBalance", dimensions = local.of_ec2
        statistic       = "Minimum", period_seconds = 300, periods = 3
        comparison      = "LessThanThreshold", threshold = 30
        no_data         = "missing"
        is_part_of_down = false
      }
      # PostgreSQL stops when its disk is full: 80 % leaves time to enlarge it. Without
      # an agent nobody would see a disk fill, so its silence is told by these two.
      disk-root = {
        wanted          = true
        about           = "The root disk is four fifths full, or the CloudWatch agent says nothing."
        namespace       = local.ours, metric = "disk_used_percent", dimensions = merge(local.of_path, { path = "/" })
        statistic       = "Maximum", period_seconds = 60, periods = 10
        comparison      = "GreaterThanThreshold", threshold = 80
        no_data         = "breaching"
        is_part_of_down = false
      }
      disk-data = {
        wanted          = local.is_single
        about           = "The data volume is four fifths full, or the CloudWatch agent says nothing."
        namespace       = local.ours, metric = "disk_used_percent", dimensions = merge(local.of_path, { path = var.data_mount })
        statistic       = "Maximum", period_seconds = 60, periods = 10
        comparison      = "GreaterThanThreshold", threshold = 80
        no_data         = "breaching"
        is_part_of_down = false
      }
      # Without what the kernel uses as cache. PostgreSQL and Penstock have their limits,
      # so more than this is something else.
      memory = {
        wanted          = true
        about           = "Nine tenths of the memory are used; the kernel ends a process next."
        namespace       = local.ours, metric = "mem_used_percent", dimensions = local.of_memory
        statistic       = "Maximum", period_seconds = 60, periods = 10
        comparison      = "GreaterThanThreshold", threshold = 90
        no_data         = "missing"
        is_part_of_down = false
      }

      # Penstock. That it is gone shows in nothing but that its metrics are: the agent
      # does not pass `up` on.
      silent = {
        wanted          = true
        about           = "No Penstock has answered the CloudWatch agent for five minutes. Senders keep their logs meanwhile."
        namespace       = local.ours, metric = "penstock_ring_events", dimensions = local.of_deployment
        statistic       = "SampleCount", period_seconds = 60, periods = 5
        comparison      = "LessThanThreshold", threshold = 1
        no_data         = "breaching"
        is_part_of_down = true
      }
      senders-wait = {
        wanted          = true
        about           = "The ring has had no room for five minutes, senders wait: PostgreSQL is slower than what arrives."
        namespace       = local.ours, metric = "penstock_paused_connections", dimensions = local.of_deployment
        statistic       = "Maximum", period_seconds = 60, periods = 5
        comparison      = "GreaterThanThreshold", threshold = 0
        no_data         = "notBreaching"
        is_part_of_down = false
      }
      spool-failing = {
        wanted          = true
        about           = "The spool takes nothing: it or its disk is full, or fails. Penstock's log says why."
        namespace       = local.ours, metric = "penstock_spool_failing", dimensions = local.of_deployment
        statistic       = "Maximum", period_seconds = 60, periods = 2
        comparison      = "GreaterThanThreshold", threshold = 0
        no_data         = "notBreaching"
        is_part_of_down = false
      }
      # Ten minutes, as PenstockWalNotArchived has it. Where no WAL is archived there is
      # no such metric.
      wal-lag = {
        wanted          = local.has_database
        about           = "PostgreSQL's WAL has not reached the store for ten minutes: a restore goes no further, and its disk fills."
        namespace       = local.ours, metric = "penstock_backup_wal_lag_seconds", dimensions = local.of_deployment
        statistic       = "Maximum", period_seconds = 60, periods = 5
        comparison      = "GreaterThanThreshold", threshold = 600
        no_data         = "notBreaching"
        is_part_of_down = false
      }
      # Verified once a week; before the first time there is nothing.
      backup-differs = {
        wanted          = var.backups_expected
        about           = "A backup did not come back as it was: penstock backup verify --last names the part."
        namespace       = local.ours, metric = "penstock_backup_verify_success", dimensions = local.of_deployment
        statistic       = "Minimum", period_seconds = 300, periods = 1
        comparison      = "LessThanThreshold", threshold = 1
        no_data         = "notBreaching"
        is_part_of_down = false
      }

      # The receivers, as the load balancer sees them. With none left it sends no count.
      unhealthy-receiver = {
        wanted          = !local.is_single
        about           = "A receiver has not answered the load balancer for ten minutes; a new one takes less to start."
        namespace       = "AWS/NetworkELB", metric = "UnHealthyHostCount", dimensions = local.of_targets
        statistic       = "Maximum", period_seconds = 60, periods = 10
        comparison      = "GreaterThanThreshold", threshold = 0
        no_data         = "notBreaching"
        is_part_of_down = false
      }
      no-receiver = {
        wanted          = !local.is_single
        about           = "No receiver answers the load balancer. Senders keep their logs meanwhile."
        namespace       = "AWS/NetworkELB", metric = "HealthyHostCount", dimensions = local.of_targets
        statistic       = "Maximum", period_seconds = 60, periods = 3
        comparison      = "LessThanThreshold", threshold = 1
        no_data         = "breaching"
        is_part_of_down = true
      }

      # RDS. It sends its metrics every minute for as long as it runs.
      rds-storage = {
        wanted          = !local.has_database
        about           = "Less than a fifth of the database's storage is free. When it is full, it stops."
        namespace       = "AWS/RDS", metric = "FreeStorageSpace", dimensions = local.of_rds
        statistic       = "Minimum", period_seconds = 300, periods = 2
        comparison      = "LessThanThreshold", threshold = floor(var.rds_storage_gib * local.gib_bytes / 5)
        no_data         = "breaching"
        is_part_of_down = false
      }
      rds-cpu = {
        wanted          = !local.has_database
        about           = "The database's CPU has been busy for a quarter of an hour."
        namespace       = "AWS/RDS", metric = "CPUUtilization", dimensions = local.of_rds
        statistic       = "Average", period_seconds = 300, periods = 3
        comparison      = "GreaterThanThreshold", threshold = 85
        no_data         = "missing"
        is_part_of_down = false
      }
      # A receiver holds a handful: many more are somebody else's, or leak.
      rds-connections = {
        wanted          = !local.has_database
        about           = "The database has more connections than Penstock needs; somebody opens them and does not close them."
        namespace       = "AWS/RDS", metric = "DatabaseConnections", dimensions = local.of_rds
        statistic       = "Maximum", period_seconds = 60, periods = 10
        comparison      = "GreaterThanThreshold", threshold = var.rds_max_connections
        no_data         = "missing"
        is_part_of_down = false
      }
      # Searches read the replica: they would not find what is older than this. -1 is
      # what it says when it is not replicating, so no data and that are told alike by
      # the alarm rds-replica-broken.
      rds-replica-lag = {
        wanted          = !local.has_database && var.rds_replica
        about           = "The replica is five minutes behind: searches do not find what is newer."
        namespace       = "AWS/RDS", metric = "ReplicaLag", dimensions = local.of_replica
        statistic       = "Minimum", period_seconds = 60, periods = 10
        comparison      = "GreaterThanThreshold", threshold = 300
        no_data         = "notBreaching"
        is_part_of_down = false
      }
      rds-replica-broken = {
        wanted          = !local.has_database && var.rds_replica
        about           = "The replica does not replicate, or is gone."
        namespace       = "AWS/RDS", metric = "ReplicaLag", dimensions = local.of_replica
        statistic       = "Maximum", period_seconds = 60, periods = 10
        comparison      = "LessThanThreshold", threshold = 0
        no_data         = "breaching"
        is_part_of_down = false
      }
    } : name => alarm if alarm.wanted
  }

  # Those that are reckoned from more than one series. `queries` is what the expression
  # names: [metric, statistic], of the deployment.
  expression_alarms = {
    for name, alarm in {
      unaccounted = {
        wanted         = true
        about          = "Events are neither stored nor anywhere else. That is a bug of Penstock, please report it."
        expression     = "IF(most > 0 OR least < 0, 1, 0)"
        queries        = { most = ["penstock_unaccounted_events", "Maximum"], least = ["penstock_unaccounted_events", "Minimum"] }
        dimensions     = local.of_deployment
        period_seconds = 60, periods = 2
        comparison     = "GreaterThanThreshold", threshold = 0
        no_data        = "notBreaching"
      }
      # The agent sends a counter's growth since the last time.
      cannot-store = {
        wanted         = true
        about          = "Events wait, and no batch is stored. Is PostgreSQL up, is its disk full? Nothing is acked meanwhile."
        expression     = "IF(waiting > 0 AND FILL(batches, 0) == 0, 1, 0)"
        queries        = { waiting = ["penstock_ring_events", "Minimum"], batches = ["penstock_copy_batches_total", "Sum"] }
        dimensions     = local.of_deployment
        period_seconds = 60, periods = 3
        comparison     = "GreaterThanThreshold", threshold = 0
        no_data        = "notBreaching"
      }
      spool = {
        wanted         = true
        about          = "The spool is more than half full: PostgreSQL is away, or slower than what arrives."
        expression     = "100 * bytes / capacity"
        queries        = { bytes = ["penstock_spool_bytes", "Maximum"], capacity = ["penstock_spool_capacity_bytes", "Minimum"] }
        dimensions     = local.of_deployment
        period_seconds = 60, periods = 2
        comparison     = "GreaterThanThreshold", threshold = 50
        no_data        = "notBreaching"
      }
      # The metric is the newest backup's time, and an alarm cannot ask what time it is:
      # it asks whether that has moved in any of 30 hours, one night and six hours. Of a
      # base backup, which is made every week, it cannot: an alarm looks back 7 days.
      backup-age = {
        wanted         = var.backups_expected
        about          = "No backup has been made for 30 hours, and one is every night. Run penstock backup create by hand, it says what is wrong."
        expression     = "RATE(newest)"
        queries        = { newest = ["penstock_backup_last_success_timestamp_seconds", "Maximum"] }
        dimensions     = merge(local.of_deployment, { kind = "logical" })
        period_seconds = 3600, periods = 30
        comparison     = "LessThanOrEqualToThreshold", threshold = 0
        no_data        = "breaching"
      }
    } : name => alarm if alarm.wanted
  }
}

resource "aws_cloudwatch_metric_alarm" "metric" {
  for_each = local.metric_alarms

  alarm_name          = "${local.deployment}-${each.key}"
  alarm_description   = each.value.about
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = each.value.period_seconds
  evaluation_periods  = each.value.periods
  datapoints_to_alarm = each.value.periods
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  treat_missing_data  = each.value.no_data

  # Those that make up the alarm `down` are told by it, once.
  alarm_actions = each.value.is_part_of_down ? [] : [aws_sns_topic.alerts.arn]
  ok_actions    = each.value.is_part_of_down ? [] : [aws_sns_topic.alerts.arn]
}

resource "aws_cloudwatch_metric_alarm" "expression" {
  for_each = local.expression_alarms

  alarm_name          = "${local.deployment}-${each.key}"
  alarm_description   = each.value.about
  evaluation_periods  = each.value.periods
  datapoints_to_alarm = each.value.periods
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  treat_missing_data  = each.value.no_data
  alarm_actions       = [aws_sns_topic.alerts.arn]
  ok_actions          = [aws_sns_topic.alerts.arn]

  metric_query {
    id          = "result"
    label       = each.key
    expression  = each.value.expression
    return_data = true
  }

  dynamic "metric_query" {
    for_each = each.value.queries

    content {
      id = metric_query.key

      metric {
        namespace   = local.ours
        metric_name = metric_query.value[0]
        dimensions  = each.value.dimensions
        stat        = metric_query.value[1]
        period      = each.value.period_seconds
      }
    }
  }
}

# One letter for an outage, whichever of its signs is seen first.
resource "aws_cloudwatch_composite_alarm" "down" {
  alarm_name        = "${local.deployment}-down"
  alarm_description = "Nobody takes logs. Senders keep theirs meanwhile, up to what they are allowed."
  alarm_rule = join(" OR ", [
    for name, alarm in local.metric_alarms :
    "ALARM(\"${local.deployment}-${name}\")" if alarm.is_part_of_down
  ])
  alarm_actions = [aws_sns_topic.alerts.arn]
  ok_actions    = [aws_sns_topic.alerts.arn]

  # A rule names alarms, which have to be there.
  depends_on = [aws_cloudwatch_metric_alarm.metric]
}
