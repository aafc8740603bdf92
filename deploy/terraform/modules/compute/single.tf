# The single machine, and the data volume that outlives it.

locals {
  # The same address whenever the machine is made anew, so that senders need not be told.
  # One of those that ../network has reserved.
  private_ip = cidrhost(var.first_subnet_cidr, 10)
}

resource "aws_instance" "this" {
  count = local.single ? 1 : 0

  ami                         = data.aws_ssm_parameter.ami.insecure_value
  instance_type               = var.instance_type
  iam_instance_profile        = var.instance_profile
  subnet_id                   = var.subnet_ids[0]
  private_ip                  = local.private_ip
  associate_public_ip_address = var.public_address
  vpc_security_group_ids      = [var.security_group_id]
  ebs_optimized               = true

  user_data                   = templatefile("${path.module}/user_data.sh.tftpl", local.instance_environment)
  user_data_replace_on_change = false

  metadata_options {
    http_tokens = "required"
    # Two hops: backups run in a container, with the machine's role. To the other containers
    # it is closed on the machine (deploy/instance/stack.sh).
    http_put_response_hop_limit = 2
    http_endpoint               = "enabled"
  }

  root_block_device {
    volume_type           = "gp3"
    volume_size           = local.root_gib
    encrypted             = true
    kms_key_id            = var.kms_key_arn == "" ? null : var.kms_key_arn
    delete_on_termination = true

    tags = merge(var.tags, { Name = "${var.prefix}-root" })
  }

  tags = { Name = var.prefix }

  lifecycle {
    ignore_changes = [ami, user_data, user_data_base64]
  }
}

resource "aws_ebs_volume" "data" {
  count = local.single ? 1 : 0

  availability_zone = var.first_zone
  type              = "gp3"
  size              = var.data_volume_gib
  iops              = var.data_volume_iops
  throughput        = var.data_volume_throughput_mibps
  encrypted         = true
  kms_key_id        = var.kms_key_arn == "" ? null : var.kms_key_arn
  # prevent_destroy takes no variable; a snapshot before the end does.
  final_snapshot = var.keep_data

  tags = { Name = "${var.prefix}-data", Snapshots = var.prefix }

  lifecycle {
    # A zone or key that is read otherwise some day would make a new, empty volume.
    ignore_changes = [availability_zone, kms_key_id, snapshot_id]
  }
}

resource "aws_volume_attachment" "data" {
  count = local.single ? 1 : 0

  instance_id = aws_instance.this[0].id
  volume_id   = aws_ebs_volume.data[0].id
  # Nitro gives it another name; the machine finds it by its id.
  device_name = local.device
  # So that PostgreSQL has stopped, and the file system is clean.
  stop_instance_before_detaching = true
}
