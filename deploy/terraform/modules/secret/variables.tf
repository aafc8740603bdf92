variable "environment" {
  description = "Second half of the secret's name."
  type        = string
}

variable "name" {
  description = "First half of the secret's name."
  type        = string
}

variable "keep_data" {
  description = "Let a deleted secret be recovered for 30 days."
  type        = bool
}

variable "kms_key_arn" {
  description = "KMS key; empty for AWS's own."
  type        = string
}
