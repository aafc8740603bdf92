# Receivers: machines that hold nothing but what is on its way, in two zones, behind a load
# balancer that senders of this network reach.
#
# One is taken away in this order: the load balancer gives it no new connection, the group's
# hook waits while Penstock commits and acks what it has, and then it ends. A sender whose
# chunk was not acked sends it to another.

locals {
  group = "${var.prefix}-receivers"

  # What Penstock needs to end: 60 s of grace in the stack, and some for the machine. Spot
  # capacity is gone after 120 in any case.
  drain_seconds = 90

  # Spot capacity of many kinds is taken away less often. Where the size is not of the
  # large kind, every family's smallest with two cores stands in.
  size  = split(".", var.instance_type)[1]
  sizes = ["large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge"]
  kin   = local.arm64 ? ["c6g", "c7g", "m6g", "m7g"] : ["c6i", "c7i", "m6i", "m7i"]
  types = var.spot ? distinct(concat([var.instance_type], [
    for family in local.kin :
    "${family}.${contains(local.sizes, local.size) ? local.size : "large"}"
  ])) : [var.instance_type]
}

resource "aws_launch_template" "this" {
  count = local.receivers ? 1 : 0

  name                   = local.group
  image_id               = data.aws_ssm_parameter.ami.insecure_value
  instance_type          = var.instance_type
  ebs_optimized          = true
  update_default_version = true

  user_data = base64encode(templatefile("${path.module}/user_data.sh.tftpl", local.instance_environment))

  iam_instance_profile {
    name = var.instance_profile
  }

  network_interfaces {
    associate_public_ip_address = false
    delete_on_termination       = true
    security_groups             = [var.security_group_id]
  }

  metadata_options {
    http_tokens = "required"
    # Two hops, as on the single machine: containers use its role.
    http_put_response_hop_limit = 2
    http_endpoint               = "enabled"
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = local.root_gib
      encrypted             = true
      kms_key_id            = var.kms_key_arn == "" ? null : var.kms_key_arn
      delete_on_termination = true
    }
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume"])
    content {
      resource_type = tag_specifications.value
      tags          = merge(var.tags, { Name = local.group })
    }
  }

  lifecycle {
    ignore_changes = [image_id]
  }
}

resource "aws_autoscaling_group" "this" {
  count = local.receivers ? 1 : 0

  name                = local.group
  min_size            = var.receivers_min
  max_size            = var.receivers_max
  vpc_zone_identifier = var.subnet_ids
  target_group_arns   = [for each in aws_lb_target_group.this : each.arn]

  health_check_type = "ELB"
  # Packages, images and the first start.
  health_check_grace_period = 600
  default_instance_warmup   = 300
  # The images may be pushed after the first apply: it does not wait for health.
  wait_for_capacity_timeout = "0"
  # Start another before spot capacity is taken.
  capacity_rebalance = var.spot

  mixed_instances_policy {
    instances_distribution {
      # One always stays, so that senders always find somebody.
      on_demand_base_capacity                  = 1
      on_demand_percentage_above_base_capacity = var.spot ? 0 : 100
      spot_allocation_strategy                 = "price-capacity-optimized"
    }

    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.this[0].id
        # A number, not $Latest, so that a failed refresh can be rolled back.
        version = aws_launch_template.this[0].latest_version
      }

      dynamic "override" {
        for_each = local.types
        content {
          instance_type = override.value
        }
      }
    }
  }

  instance_refresh {
    strategy = "Rolling"

    preferences {
      auto_rollback          = true
      instance_warmup        = 300
      min_healthy_percentage = 100
      max_healthy_percentage = 200
      skip_matching          = true
    }
  }

  initial_lifecycle_hook {
    name                 = "drain"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_TERMINATING"
    heartbeat_timeout    = local.drain_seconds
    default_result       = "CONTINUE"
  }

  dynamic "tag" {
    for_each = merge(var.tags, { Name = local.group })
    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  lifecycle {
    # The scaling policy's.
    ignore_changes = [desired_capacity]
  }
}

resource "aws_autoscaling_policy" "cpu" {
  count = local.receivers ? 1 : 0

  name                   = "cpu"
  autoscaling_group_name = aws_autoscaling_group.this[0].name
  policy_type            = "TargetTrackingScaling"

  target_tracking_configuration {
    # Encoding rows is what a receiver's time goes into. The rest is for the minutes until
    # another is there.
    target_value = 60

    predefined_metric_specification {
      predefined_metric_type = "ASGAverageCPUUtilization"
    }
  }
}

# ---- the load balancer

locals {
  listeners = local.receivers ? merge({ forward = 24224 }, var.https ? { https = 443 } : {}) : {}
  # A target group's name has 32 characters, of which the prefix may take 29.
  short = { forward = "in", https = "ui" }
}

resource "aws_lb" "this" {
  count = local.receivers ? 1 : 0

  name               = var.prefix
  load_balancer_type = "network"
  internal           = true
  subnets            = var.balancer_subnet_ids
  security_groups    = [var.load_balancer_security_group_id]
  # A sender that knows one zone's address reaches the other's receivers too.
  enable_cross_zone_load_balancing = true
  # It has no data, and a destroy that keeps the data has to get past it.
  enable_deletion_protection = false
}

resource "aws_lb_target_group" "this" {
  for_each = local.listeners

  name     = "${var.prefix}-${local.short[each.key]}"
  vpc_id   = var.vpc_id
  port     = each.value
  protocol = "TCP"
  # Connections that Penstock has not closed by then have nothing more to be acked.
  deregistration_delay   = local.drain_seconds
  connection_termination = true

  # By way of nginx, so that a machine without it is not healthy either; its certificate
  # is not looked at.
  health_check {
    protocol            = "HTTPS"
    port                = "443"
    path                = "/health"
    interval            = 10
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }
}

resource "aws_lb_listener" "this" {
  for_each = local.listeners

  load_balancer_arn = aws_lb.this[0].arn
  port              = each.value
  protocol          = "TCP"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this[each.key].arn
  }
}
