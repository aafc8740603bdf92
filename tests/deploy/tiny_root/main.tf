# A root as small as the commands of `penstock deploy` can be tried with: it takes the same
# variables and gives the same outputs as deploy/terraform, and is applied in seconds.

terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7"
    }
  }

  backend "s3" {}
}

variable "region" {
  type = string
}

variable "name" {
  type    = string
  default = "penstock"
}

variable "environment" {
  type = string
}

variable "alert_email" {
  type = string
}

variable "endpoint" {
  type    = string
  default = ""
}

variable "data_volume_gib" {
  type    = number
  default = 10
}

variable "zone" {
  type    = string
  default = "us-east-1a"
}

variable "keep_data_on_destroy" {
  type    = bool
  default = true
}

variable "machines" {
  type    = list(string)
  default = []
}

provider "aws" {
  region                      = var.region
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  s3_use_path_style           = true
  max_retries                 = 3

  endpoints {
    ec2 = var.endpoint
    ecr = var.endpoint
    s3  = var.endpoint
    ssm = var.endpoint
    sts = var.endpoint
  }
}

resource "aws_ebs_volume" "data" {
  availability_zone = var.zone
  size              = var.data_volume_gib
}

resource "aws_s3_bucket" "backups" {
  bucket        = "backups-${var.environment}"
  force_destroy = false
}

resource "aws_ecr_repository" "penstock" {
  name         = "${var.environment}/penstock"
  force_delete = true
}

resource "aws_ssm_parameter" "image" {
  name  = "/penstock/${var.environment}/image"
  type  = "String"
  value = "first"

  lifecycle {
    ignore_changes = [value]
  }
}

output "instance_ids" {
  value = var.machines
}

output "autoscaling_group_name" {
  value = ""
}

output "forward_endpoint" {
  value = "10.42.0.10:24224"
}

output "secret_arn" {
  value = "arn:aws:secretsmanager:us-east-1:123456789012:secret:penstock"
}

output "backup_store" {
  value = "s3://${aws_s3_bucket.backups.bucket}/penstock"
}

output "image_repository" {
  value = aws_ecr_repository.penstock.repository_url
}

# The test of push makes it.
output "postgres_image_repository" {
  value = replace(aws_ecr_repository.penstock.repository_url, "/penstock", "/postgres")
}

output "image_parameter" {
  value = aws_ssm_parameter.image.name
}

output "hidden" {
  value     = "hunter2"
  sensitive = true
}

output "kept_on_destroy" {
  value = var.keep_data_on_destroy ? [
    "aws_ebs_volume.data",
    "aws_s3_bucket.backups",
    "module.absent.aws_s3_bucket.of_another_variant",
  ] : []
}
