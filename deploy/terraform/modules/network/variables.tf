variable "prefix" {
  description = "Begins every name."
  type        = string
}

variable "region" {
  description = "AWS region, for the endpoints' names."
  type        = string
}

variable "vpc_cidr" {
  description = "Addresses of the VPC."
  type        = string
}

variable "nat" {
  description = "Make a NAT gateway for the private subnets."
  type        = bool
}

variable "interface_endpoints" {
  description = "Make endpoints for the AWS services that the machines use."
  type        = bool
}

variable "flow_logs" {
  description = "Record refused connections."
  type        = bool
}

variable "kms_key_arn" {
  description = "KMS key for the flow logs; empty for CloudWatch's own encryption."
  type        = string
}
