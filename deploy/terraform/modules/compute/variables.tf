variable "prefix" {
  description = "Begins every name, and is the tag Deployment of the machines."
  type        = string
}

variable "variant" {
  description = "single or receivers."
  type        = string
}

variable "instance_type" {
  description = "Machine type."
  type        = string
}

variable "instance_profile" {
  description = "Name of the instance profile."
  type        = string
}

variable "security_group_id" {
  description = "Group of the machines."
  type        = string
}

variable "load_balancer_security_group_id" {
  description = "Group of the load balancer; empty where there is none."
  type        = string
}

variable "vpc_id" {
  description = "The VPC."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of the machines, one in each zone; the single machine is in the first."
  type        = list(string)
}

variable "first_subnet_cidr" {
  description = "Addresses of the first of them."
  type        = string
}

variable "balancer_subnet_ids" {
  description = "Subnets of the load balancer."
  type        = list(string)
}

variable "first_zone" {
  description = "Availability zone of the first subnet, where the data volume is."
  type        = string
}

variable "public_address" {
  description = "Give the single machine a public address, as its way out."
  type        = bool
}

variable "https" {
  description = "Somebody may reach port 443: the load balancer listens there too."
  type        = bool
}

variable "data_volume_gib" {
  description = "Size of the data volume."
  type        = number
}

variable "data_volume_iops" {
  description = "IOPS of the data volume."
  type        = number
}

variable "data_volume_throughput_mibps" {
  description = "Throughput of the data volume in MiB/s."
  type        = number
}

variable "data_volume_snapshots" {
  description = "Snapshots of it each night."
  type        = bool
}

variable "keep_data" {
  description = "Make a snapshot of the data volume before it is deleted."
  type        = bool
}

variable "kms_key_arn" {
  description = "KMS key of the disks; empty for AWS's own."
  type        = string
}

variable "spot" {
  description = "Receivers beyond the first on spot capacity."
  type        = bool
}

variable "receivers_min" {
  description = "Receivers at least."
  type        = number
}

variable "receivers_max" {
  description = "Receivers at most."
  type        = number
}

variable "tags" {
  description = "Tags for what the provider does not tag by itself: the receivers and their disks."
  type        = map(string)
}

variable "instance_environment" {
  description = "What user data writes to /etc/penstock/instance.env: its keys in lower case, all but data_volume_id. No secret."
  type        = map(string)
}
