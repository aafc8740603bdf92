# The provider: AWS, or a fake one of the tests (`endpoint`). What is tested is what runs.

locals {
  fake = var.endpoint != ""
}

provider "aws" {
  region = var.region

  default_tags {
    tags = local.tags
  }

  # All below is for the fake: it takes any credentials, and answers at one address.
  access_key                  = local.fake ? "test" : null
  secret_key                  = local.fake ? "test" : null
  skip_credentials_validation = local.fake
  skip_metadata_api_check     = local.fake
  s3_use_path_style           = local.fake
  # What the fake cannot do it answers with 500, which is asked for 25 times by default.
  max_retries = local.fake ? 3 : null

  dynamic "endpoints" {
    for_each = local.fake ? [var.endpoint] : []
    content {
      autoscaling    = endpoints.value
      budgets        = endpoints.value
      cloudwatch     = endpoints.value
      dlm            = endpoints.value
      ec2            = endpoints.value
      ecr            = endpoints.value
      elbv2          = endpoints.value
      events         = endpoints.value
      iam            = endpoints.value
      kms            = endpoints.value
      logs           = endpoints.value
      rds            = endpoints.value
      s3             = endpoints.value
      secretsmanager = endpoints.value
      sns            = endpoints.value
      ssm            = endpoints.value
      sts            = endpoints.value
    }
  }
}
