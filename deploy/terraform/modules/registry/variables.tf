variable "name" {
  description = "Begins the repositories' names."
  type        = string
}

variable "keep_data" {
  description = "Refuse to delete a repository that has images."
  type        = bool
}

variable "kms_key_arn" {
  description = "KMS key; empty for ECR's own encryption."
  type        = string
}
