variable "prefix" {
  description = "Begins every name."
  type        = string
}

variable "account_id" {
  description = "Ends the buckets' names, which all of AWS shares."
  type        = string
}

variable "keep_data" {
  description = "Refuse to delete the backups' bucket while it has objects."
  type        = bool
}

variable "kms_key_arn" {
  description = "KMS key for backups; empty for S3's own encryption."
  type        = string
}

variable "stack_directory" {
  description = "Directory whose folders the machines copy at boot."
  type        = string
}
