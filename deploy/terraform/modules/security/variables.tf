variable "prefix" {
  description = "Begins every name."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "load_balanced" {
  description = "Senders reach the machines by way of a load balancer."
  type        = bool
}

variable "rds" {
  description = "The database is RDS."
  type        = bool
}

variable "application_security_group_ids" {
  description = "Groups that may send, besides the one that is made."
  type        = list(string)
}

variable "https_cidrs" {
  description = "Ranges that may reach port 443."
  type        = list(string)
}
