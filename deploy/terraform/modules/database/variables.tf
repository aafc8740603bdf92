variable "prefix" {
  description = "Begins every name."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets in two zones."
  type        = list(string)
}

variable "security_group_id" {
  description = "Group of the database."
  type        = string
}

variable "secret_arn" {
  description = "The one secret, whose postgres_password is the master's."
  type        = string
}

variable "secret_is_read" {
  description = "Whether the secret may be opened: not where only a plan is made."
  type        = bool
}

variable "instance_class" {
  description = "RDS instance class."
  type        = string
}

variable "engine_version" {
  description = "PostgreSQL's major version."
  type        = string
}

variable "storage_gib" {
  description = "Storage; it grows by itself to twice as much."
  type        = number
}

variable "multi_az" {
  description = "A standby in the other zone."
  type        = bool
}

variable "replica" {
  description = "A read replica."
  type        = bool
}

variable "keep_data" {
  description = "Refuse to be deleted, and make a last snapshot."
  type        = bool
}

variable "kms_key_arn" {
  description = "KMS key; empty for AWS's own."
  type        = string
}
