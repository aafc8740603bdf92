variable "name" {
  description = "What the resources are named after, with the environment."
  type        = string
}

variable "environment" {
  description = "Such as production or staging; part of each name."
  type        = string
}

variable "region" {
  description = "Where all of this is."
  type        = string
}

variable "alert_email" {
  description = "Who is written to. AWS sends a letter first, whose link has to be followed."
  type        = string

  validation {
    condition     = can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", var.alert_email))
    error_message = "alert_email is no e-mail address."
  }
}

variable "slack_team_id" {
  description = "Slack's workspace, as T0123ABCD. Nothing is made for Slack unless the channel is given too."
  type        = string
  default     = ""
}

variable "slack_channel_id" {
  description = "Slack's channel, as C0123ABCD."
  type        = string
  default     = ""
}

variable "monthly_budget_usd" {
  description = "What the account may cost a month before somebody is written to; 0: no budget."
  type        = number
  default     = 0

  validation {
    condition     = var.monthly_budget_usd >= 0
    error_message = "monthly_budget_usd is less than nothing."
  }
}

variable "log_retention_days" {
  description = "For how long CloudWatch keeps the logs of boot and of the containers."
  type        = number
  default     = 30

  validation {
    # These and no others: PutRetentionPolicy.
    condition = contains(
      [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
      var.log_retention_days,
    )
    error_message = "log_retention_days is none that CloudWatch knows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731 ..."
  }
}

# What there is. An id says nothing in a plan, where it is not known yet, so that these
# two words decide which alarms are made.

variable "variant" {
  description = "single: one instance, instance_id. receivers: a group of them, autoscaling_group_name, behind a load balancer."
  type        = string
  default     = "single"

  validation {
    condition     = contains(["single", "receivers"], var.variant)
    error_message = "variant is single or receivers."
  }
}

variable "database" {
  description = "docker: PostgreSQL on the instance. rds: rds_identifier."
  type        = string
  default     = "docker"

  validation {
    condition     = contains(["docker", "rds"], var.database)
    error_message = "database is docker or rds."
  }
}

variable "instance_id" {
  description = "The instance, of the variant single."
  type        = string
  default     = ""
}

variable "instance_type" {
  description = "Whether there are CPU credits to watch: t3, t3a and t4g have them."
  type        = string
  default     = ""
}

variable "data_mount" {
  description = "Where the data volume is mounted, of the variant single."
  type        = string
  default     = "/data"
}

variable "autoscaling_group_name" {
  description = "The group, of the variant receivers."
  type        = string
  default     = ""
}

variable "load_balancer_arn_suffix" {
  description = "arn_suffix of the load balancer before the receivers."
  type        = string
  default     = ""
}

variable "target_group_arn_suffix" {
  description = "arn_suffix of its target group."
  type        = string
  default     = ""
}

variable "rds_identifier" {
  description = "The database, of database = rds."
  type        = string
  default     = ""
}

variable "rds_storage_gib" {
  description = "Of what a fifth has to be free."
  type        = number
  default     = 100
}

variable "rds_max_connections" {
  description = "Where connections are too many; the alarm's own default is far below what the smallest class allows."
  type        = number
  default     = 200
}

variable "rds_replica" {
  description = "Whether there is a replica: rds_replica_identifier."
  type        = bool
  default     = false
}

variable "rds_replica_identifier" {
  description = "The replica that searches read."
  type        = string
  default     = ""
}

variable "backups_expected" {
  description = "Whether a day without a new backup is an alarm."
  type        = bool
  default     = true
}
