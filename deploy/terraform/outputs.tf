# What `penstock deploy` and people need of what was made. No secret is among it.

output "instance_ids" {
  description = "The single machine; receivers are found by their group."
  value       = compact([module.compute.instance_id])
}

output "autoscaling_group_name" {
  description = "The receivers' group; empty for a single machine."
  value       = module.compute.autoscaling_group_name
}

output "deployment" {
  description = "The tag Deployment of every machine."
  value       = local.prefix
}

output "forward_endpoint" {
  description = "Where senders send, in this network."
  value       = "${module.compute.private_host}:24224"
}

output "https_endpoint" {
  description = "The HTTP side, behind TLS; without https_cidrs it is reached by SSM's port forwarding only."
  value       = "https://${length(var.https_cidrs) > 0 && module.compute.public_ip != "" ? module.compute.public_ip : module.compute.private_host}"
}

output "backup_store" {
  description = "What --store of penstock backup takes."
  value       = "s3://${module.storage.backups_bucket}/${module.storage.backup_prefix}"
}

output "backup_pruner_role_arn" {
  description = "Role that may remove backups: assume it for penstock backup prune."
  value       = module.iam.pruner_role_arn
}

output "stack_bucket" {
  description = "Bucket of the files that the machines copy at boot."
  value       = module.storage.stack_bucket
}

output "secret_arn" {
  description = "The one secret."
  value       = module.secret.arn
}

output "image_repository" {
  description = "Where images of Penstock are pushed."
  value       = module.registry.repository_url
}

output "postgres_image_repository" {
  description = "Where images of PostgreSQL are pushed."
  value       = module.registry.postgres_repository_url
}

output "image_parameter" {
  description = "SSM parameter that says which image runs."
  value       = aws_ssm_parameter.image.name
}

output "application_security_group_id" {
  description = "Group to add to machines that send."
  value       = module.security.application_security_group_id
}

output "database_host" {
  description = "Where Penstock writes: a container's name, or RDS."
  value       = local.database_host
}

output "reader_host" {
  description = "Where readers read: the same, or the replica."
  value       = local.reader_host
}

output "data_volume_id" {
  description = "The data volume; empty for receivers."
  value       = module.compute.data_volume_id
}

output "log_group" {
  description = "CloudWatch log group of the machines."
  value       = module.monitoring.log_group_name
}

output "dashboard_url" {
  description = "CloudWatch dashboard."
  value       = "https://${var.region}.console.aws.amazon.com/cloudwatch/home?region=${var.region}#dashboards/dashboard/${module.monitoring.dashboard_name}"
}

output "pipeline_role_arns" {
  description = "Roles of GitHub's workflows, deploy and plan; empty without github_repository."
  value       = length(module.pipeline) == 0 ? {} : module.pipeline[0].role_arns
}

# `penstock deploy destroy` takes these out of the state first, so that they stay: the data,
# what guards it (a bucket without its public access block would be open to change), and what
# it cannot be without. The images too: data of this release cannot be read without one that
# knows it. Only addresses that are there, so that none is asked for in vain.
output "kept_on_destroy" {
  description = "Addresses that stay when the deployment is destroyed; none with keep_data_on_destroy = false."
  value = var.keep_data_on_destroy ? concat(
    [
      "module.storage.aws_s3_bucket.backups",
      "module.storage.aws_s3_bucket_lifecycle_configuration.backups",
      "module.storage.aws_s3_bucket_ownership_controls.backups",
      "module.storage.aws_s3_bucket_policy.backups",
      "module.storage.aws_s3_bucket_public_access_block.backups",
      "module.storage.aws_s3_bucket_server_side_encryption_configuration.backups",
      "module.storage.aws_s3_bucket_versioning.backups",
      "module.registry.aws_ecr_lifecycle_policy.this[\"penstock\"]",
      "module.registry.aws_ecr_lifecycle_policy.this[\"postgres\"]",
      "module.registry.aws_ecr_repository.this[\"penstock\"]",
      "module.registry.aws_ecr_repository.this[\"postgres\"]",
      "module.secret.aws_secretsmanager_secret.this",
      "module.secret.aws_secretsmanager_secret_version.this",
    ],
    local.receivers ? [] : ["module.compute.aws_ebs_volume.data[0]"],
    local.rds ? [
      "module.database[0].aws_db_instance.this",
      "module.database[0].aws_db_parameter_group.this",
      "module.database[0].aws_db_subnet_group.this",
      "module.security.aws_security_group.database[0]",
      "module.network.aws_subnet.private[0]",
      "module.network.aws_subnet.private[1]",
      "module.network.aws_vpc.this",
    ] : [],
  ) : []
}
