# Penstock on AWS: how the modules are put together. Each says at its head what it is for;
# what can be set is in variables.tf.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  prefix     = "${var.name}-${var.environment}"
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition

  receivers = var.variant == "receivers"
  rds       = var.database == "rds"
  # A single machine without NAT has its way out by a public address.
  public = !local.receivers && !var.nat

  tags = merge(var.tags, {
    Project     = var.name
    Environment = var.environment
    # Run Command and the pipeline find the machines by it.
    Deployment = local.prefix
    ManagedBy  = "terraform"
  })

  image_parameter = "/${var.name}/${var.environment}/image"
  penstock_image  = var.penstock_image != "" ? var.penstock_image : "${module.registry.repository_url}:${var.penstock_version}"
  postgres_image  = var.postgres_image != "" ? var.postgres_image : "${module.registry.postgres_repository_url}:${var.penstock_version}"

  database_host = local.rds ? module.database[0].host : "postgres"
  reader_host   = local.rds ? module.database[0].reader_host : "postgres"
}

module "network" {
  source = "./modules/network"

  prefix              = local.prefix
  region              = var.region
  vpc_cidr            = var.vpc_cidr
  nat                 = var.nat
  interface_endpoints = var.interface_endpoints
  flow_logs           = var.flow_logs
  kms_key_arn         = var.kms_key_arn
}

module "security" {
  source = "./modules/security"

  prefix                         = local.prefix
  vpc_id                         = module.network.vpc_id
  load_balanced                  = local.receivers
  rds                            = local.rds
  application_security_group_ids = var.application_security_group_ids
  https_cidrs                    = var.https_cidrs
}

module "registry" {
  source = "./modules/registry"

  name        = local.prefix
  keep_data   = var.keep_data_on_destroy
  kms_key_arn = var.kms_key_arn
}

module "storage" {
  source = "./modules/storage"

  prefix          = local.prefix
  account_id      = local.account_id
  keep_data       = var.keep_data_on_destroy
  kms_key_arn     = var.kms_key_arn
  stack_directory = abspath("${path.root}/..")
}

module "secret" {
  source = "./modules/secret"

  name        = var.name
  environment = var.environment
  keep_data   = var.keep_data_on_destroy
  kms_key_arn = var.kms_key_arn
}

module "iam" {
  source = "./modules/iam"

  prefix                 = local.prefix
  region                 = var.region
  account_id             = local.account_id
  partition              = local.partition
  backups_bucket_arn     = module.storage.backups_bucket_arn
  backup_prefix          = module.storage.backup_prefix
  stack_bucket_arn       = module.storage.stack_bucket_arn
  secret_arn             = module.secret.arn
  image_parameter        = local.image_parameter
  repository_arns        = module.registry.repository_arns
  log_group              = module.monitoring.log_group_name
  metric_namespace       = "Penstock"
  autoscaling_group_name = local.receivers ? "${local.prefix}-receivers" : ""
  kms_key_arn            = var.kms_key_arn
}

module "database" {
  source = "./modules/database"
  count  = local.rds ? 1 : 0

  prefix            = local.prefix
  subnet_ids        = module.network.private_subnet_ids
  security_group_id = module.security.database_security_group_id
  secret_arn        = module.secret.arn
  secret_is_read    = var.secret_is_read
  instance_class    = var.rds_instance_class
  engine_version    = var.rds_engine_version
  storage_gib       = var.rds_storage_gib
  multi_az          = var.rds_multi_az
  replica           = var.rds_replica
  keep_data         = var.keep_data_on_destroy
  kms_key_arn       = var.kms_key_arn
}

# Which image runs: no secret, so a plain parameter. `penstock deploy upgrade` writes it, and
# a machine that is made later starts with what the others run.
resource "aws_ssm_parameter" "image" {
  name        = local.image_parameter
  description = "Image of Penstock that runs"
  type        = "String"
  value       = local.penstock_image

  lifecycle {
    ignore_changes = [value]
  }
}

module "compute" {
  source = "./modules/compute"

  prefix                          = local.prefix
  variant                         = var.variant
  instance_type                   = var.instance_type
  instance_profile                = module.iam.instance_profile
  security_group_id               = module.security.server_security_group_id
  load_balancer_security_group_id = module.security.load_balancer_security_group_id
  vpc_id                          = module.network.vpc_id
  subnet_ids                      = local.public ? module.network.public_subnet_ids : module.network.private_subnet_ids
  first_subnet_cidr               = local.public ? module.network.public_subnet_cidrs[0] : module.network.private_subnet_cidrs[0]
  balancer_subnet_ids             = module.network.private_subnet_ids
  first_zone                      = module.network.zones[0]
  public_address                  = local.public
  https                           = length(var.https_cidrs) > 0
  data_volume_gib                 = var.data_volume_gib
  data_volume_iops                = var.data_volume_iops
  data_volume_throughput_mibps    = var.data_volume_throughput_mibps
  data_volume_snapshots           = var.data_volume_snapshots
  keep_data                       = var.keep_data_on_destroy
  kms_key_arn                     = var.kms_key_arn
  spot                            = var.spot
  receivers_min                   = var.receivers_min
  receivers_max                   = var.receivers_max
  tags                            = local.tags

  instance_environment = {
    region          = var.region
    name            = var.name
    environment     = var.environment
    variant         = var.variant
    database        = var.database
    database_host   = local.database_host
    reader_host     = local.reader_host
    secret_id       = module.secret.arn
    stack_bucket    = module.storage.stack_bucket
    backup_store    = "s3://${module.storage.backups_bucket}/${module.storage.backup_prefix}"
    image_parameter = aws_ssm_parameter.image.name
    postgres_image  = local.postgres_image
    log_group       = module.monitoring.log_group_name
    profiles        = join(",", concat(local.rds ? [] : ["database"], var.profiles))
    retention_days  = tostring(var.retention_days)
  }
}

module "monitoring" {
  source = "./modules/monitoring"

  name                     = var.name
  environment              = var.environment
  region                   = var.region
  alert_email              = var.alert_email
  slack_team_id            = var.slack_team_id
  slack_channel_id         = var.slack_channel_id
  monthly_budget_usd       = var.monthly_budget_usd
  log_retention_days       = 30
  variant                  = var.variant
  database                 = var.database
  instance_id              = module.compute.instance_id
  instance_type            = var.instance_type
  data_mount               = "/data"
  autoscaling_group_name   = module.compute.autoscaling_group_name
  load_balancer_arn_suffix = module.compute.load_balancer_arn_suffix
  target_group_arn_suffix  = module.compute.target_group_arn_suffix
  rds_identifier           = local.rds ? module.database[0].identifier : ""
  rds_storage_gib          = var.rds_storage_gib
  rds_replica              = local.rds && var.rds_replica
  rds_replica_identifier   = local.rds ? module.database[0].replica_identifier : ""
}

module "pipeline" {
  source = "./modules/pipeline"
  count  = var.github_repository == "" ? 0 : 1

  prefix            = local.prefix
  region            = var.region
  account_id        = local.account_id
  partition         = local.partition
  environment       = var.environment
  github_repository = var.github_repository
  oidc_provider_arn = var.github_oidc_provider_arn
  repository_arns   = module.registry.repository_arns
  image_parameter   = local.image_parameter
  state_bucket      = var.state_bucket != "" ? var.state_bucket : "${var.name}-tfstate-${local.account_id}-${var.region}"
  state_prefix      = "${var.name}/${var.environment}/"
}
