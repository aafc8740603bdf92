# The machines: what one is (here), a single one with its data volume (./single.tf), or a
# group of receivers behind a load balancer (./receivers.tf).
#
# A machine is replaced only on purpose. A newer AMI or other user data is no reason: both
# are ignored once it is made. To move it to a new AMI:
#   terraform apply -replace='module.compute.aws_instance.this[0]'
# The data volume is a resource of its own and is attached again.

locals {
  single    = var.variant == "single"
  receivers = var.variant == "receivers"

  # Graviton's families have a g after the generation: t4g, m7g, c6gn, r8gd, x2gd.
  arm64        = can(regex("^([a-z]+[0-9]+g[a-z]*|a1)[.]", var.instance_type))
  architecture = local.arm64 ? "arm64" : "x86_64"

  # For the packages, and three versions of the images.
  root_gib = 30

  device = "/dev/sdf"

  instance_environment = merge(var.instance_environment, {
    data_volume_id = local.single ? aws_ebs_volume.data[0].id : ""
  })
}

# The same as in user data, which a machine runs once: among the stack's files it comes with
# the next `penstock deploy upgrade`, so that retention_days, profiles or another image of
# PostgreSQL need no new machine.
resource "aws_s3_object" "settings" {
  bucket  = var.instance_environment.stack_bucket
  key     = "stack/instance.env"
  content = join("", [for key, value in local.instance_environment : "${upper(key)}=${value}\n"])
}

data "aws_partition" "current" {}

data "aws_ssm_parameter" "ami" {
  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-${local.architecture}"
}
