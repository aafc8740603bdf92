variable "prefix" {
  description = "Begins every name."
  type        = string
}

variable "region" {
  description = "AWS region, for ARNs."
  type        = string
}

variable "account_id" {
  description = "AWS account, for ARNs."
  type        = string
}

variable "partition" {
  description = "AWS partition, for ARNs."
  type        = string
}

variable "backups_bucket_arn" {
  description = "Bucket of the backups."
  type        = string
}

variable "backup_prefix" {
  description = "Where in it the store is."
  type        = string
}

variable "stack_bucket_arn" {
  description = "Bucket of the stack."
  type        = string
}

variable "secret_arn" {
  description = "The one secret."
  type        = string
}

variable "image_parameter" {
  description = "Name of the SSM parameter that says which image runs."
  type        = string
}

variable "repository_arns" {
  description = "Repositories that images come from."
  type        = list(string)
}

variable "log_group" {
  description = "Log group that the machines write."
  type        = string
}

variable "metric_namespace" {
  description = "CloudWatch namespace that the machines write."
  type        = string
}

variable "autoscaling_group_name" {
  description = "Group whose lifecycle hook the machines answer; empty where there is none."
  type        = string
}

variable "kms_key_arn" {
  description = "KMS key of backups and secret; empty where AWS's own are used."
  type        = string
}
