# The dashboard: what an alarm's reader looks at first. Only metrics that are sent anyway.

locals {
  # One graph: its title, its series as CloudWatch writes them.
  graphs = concat(
    [
      {
        title  = "Rows stored in a minute", stacked = false
        series = [[local.ours, "penstock_copy_rows_total", "Deployment", local.deployment, { stat = "Sum", label = "rows" }]]
      },
      {
        title = "Received and not yet stored", stacked = false
        series = [
          [local.ours, "penstock_ring_events", "Deployment", local.deployment, { stat = "Maximum", label = "in memory" }],
          [local.ours, "penstock_paused_connections", "Deployment", local.deployment, { stat = "Maximum", label = "connections that wait", yAxis = "right" }],
        ]
      },
      {
        title = "Spool, bytes", stacked = false
        series = [
          [local.ours, "penstock_spool_bytes", "Deployment", local.deployment, { stat = "Maximum", label = "used" }],
          [local.ours, "penstock_spool_capacity_bytes", "Deployment", local.deployment, { stat = "Minimum", label = "may be used" }],
        ]
      },
      {
        title = "Unaccounted events: always 0", stacked = false
        series = [
          [local.ours, "penstock_unaccounted_events", "Deployment", local.deployment, { stat = "Maximum", label = "most" }],
          [local.ours, "penstock_unaccounted_events", "Deployment", local.deployment, { stat = "Minimum", label = "least" }],
        ]
      },
      {
        title  = "CPU, %", stacked = false
        series = [concat(["AWS/EC2", "CPUUtilization"], flatten([for key, value in local.of_ec2 : [key, value]]), [{ stat = "Average" }])]
      },
      {
        title  = "Memory, %", stacked = false
        series = [concat([local.ours, "mem_used_percent"], flatten([for key, value in local.of_memory : [key, value]]), [{ stat = "Maximum" }])]
      },
      {
        title = "Disks, %", stacked = false
        series = [
          for path in local.is_single ? ["/", var.data_mount] : ["/"] :
          concat([local.ours, "disk_used_percent"], flatten([for key, value in local.of_path : [key, value]]), ["path", path, { stat = "Maximum", label = path }])
        ]
      },
    ],
    [
      for graph in [
        {
          title  = "WAL waits for the store, seconds", stacked = false
          series = [[local.ours, "penstock_backup_wal_lag_seconds", "Deployment", local.deployment, { stat = "Maximum" }]]
        },
      ] : graph if local.has_database
    ],
    [
      for graph in [
        {
          title  = "Receivers", stacked = true
          series = [for metric in ["HealthyHostCount", "UnHealthyHostCount"] : ["AWS/NetworkELB", metric, "LoadBalancer", var.load_balancer_arn_suffix, "TargetGroup", var.target_group_arn_suffix, { stat = "Maximum" }]]
        },
      ] : graph if !local.is_single
    ],
    [
      for graph in [
        {
          title  = "RDS: CPU, %", stacked = false
          series = [["AWS/RDS", "CPUUtilization", "DBInstanceIdentifier", var.rds_identifier, { stat = "Average" }]]
        },
        {
          title  = "RDS: free storage, bytes", stacked = false
          series = [["AWS/RDS", "FreeStorageSpace", "DBInstanceIdentifier", var.rds_identifier, { stat = "Minimum" }]]
        },
      ] : graph if !local.has_database
    ],
  )

  # Two graphs to a row of CloudWatch's 24 columns, below the row of alarms.
  columns      = 2
  width        = 24 / local.columns
  height       = 6
  alarm_height = 3

  widgets = concat(
    [{
      type = "alarm", x = 0, y = 0, width = 24, height = local.alarm_height
      properties = {
        title = "Alarms"
        alarms = concat(
          [aws_cloudwatch_composite_alarm.down.arn],
          [for alarm in aws_cloudwatch_metric_alarm.metric : alarm.arn],
          [for alarm in aws_cloudwatch_metric_alarm.expression : alarm.arn],
        )
      }
    }],
    [
      for index, graph in local.graphs : {
        type   = "metric"
        x      = (index % local.columns) * local.width
        y      = local.alarm_height + floor(index / local.columns) * local.height
        width  = local.width
        height = local.height
        properties = {
          title   = graph.title
          view    = "timeSeries"
          stacked = graph.stacked
          region  = var.region
          period  = 60
          metrics = graph.series
        }
      }
    ],
  )
}

resource "aws_cloudwatch_dashboard" "deployment" {
  dashboard_name = local.deployment
  dashboard_body = jsonencode({ widgets = local.widgets })
}
