variable "prefix" {
  description = "Begins every name, and is the tag Deployment of the machines."
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

variable "environment" {
  description = "GitHub environment that may deploy; the one that may plan is it with -plan."
  type        = string
}

variable "github_repository" {
  description = "OWNER/NAME."
  type        = string
}

variable "oidc_provider_arn" {
  description = "The account's OIDC provider for GitHub; empty: it is made."
  type        = string
}

variable "repository_arns" {
  description = "Repositories that images are pushed to."
  type        = list(string)
}

variable "image_parameter" {
  description = "Name of the SSM parameter that says which image runs."
  type        = string
}

variable "state_bucket" {
  description = "Bucket of Terraform's state."
  type        = string
}

variable "state_prefix" {
  description = "Begins the keys of this deployment's state."
  type        = string
}
