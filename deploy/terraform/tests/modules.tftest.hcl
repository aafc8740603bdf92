# What a security engineer looks for, module by module, in a mock of AWS.
#
# Not here: what has a password (Terraform mocks no ephemeral resource), which
# tests/deploy/test_terraform_plans.py looks at in whole plans, and the variables' own
# checks, which test_terraform.py runs one by one.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  prefix = "penstock-test"
  vpc_id = "vpc-0123456789abcdef0"
}

run "who_may_connect_to_one_machine" {
  command = apply

  module {
    source = "./modules/security"
  }

  variables {
    load_balanced                  = false
    rds                            = false
    application_security_group_ids = ["sg-0123456789abcdef0"]
    https_cidrs                    = ["203.0.113.0/24"]
  }

  assert {
    condition     = alltrue([for each in aws_vpc_security_group_ingress_rule.forward : each.cidr_ipv4 == null && each.referenced_security_group_id != null])
    error_message = "24224 is for groups, not addresses"
  }
  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.forward) == 2
    error_message = "the given group may send besides the made one"
  }
  assert {
    condition     = [for each in aws_vpc_security_group_ingress_rule.https : each.cidr_ipv4] == ["203.0.113.0/24"]
    error_message = "443 is for whom https_cidrs names, and nobody else"
  }
  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.database) == 0 && length(aws_security_group.load_balancer) == 0
    error_message = "no rule for what is not there"
  }
}

run "who_may_connect_to_receivers_and_their_database" {
  command = apply

  module {
    source = "./modules/security"
  }

  variables {
    load_balanced                  = true
    rds                            = true
    application_security_group_ids = []
    https_cidrs                    = []
  }

  assert {
    condition     = aws_vpc_security_group_ingress_rule.forward["made"].security_group_id == aws_security_group.load_balancer[0].id
    error_message = "senders reach the load balancer"
  }
  assert {
    condition     = alltrue([for each in aws_vpc_security_group_ingress_rule.balanced : each.referenced_security_group_id == aws_security_group.load_balancer[0].id && each.security_group_id == aws_security_group.server.id])
    error_message = "only the load balancer reaches the machines"
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.database[0].referenced_security_group_id == aws_security_group.server.id && length(aws_vpc_security_group_ingress_rule.https) == 0
    error_message = "only the machines reach the database"
  }
}

run "one_machine_with_a_volume_that_outlives_it" {
  command = apply

  module {
    source = "./modules/compute"
  }

  variables {
    variant                         = "single"
    instance_type                   = "t4g.medium"
    instance_profile                = "penstock-test-machine"
    security_group_id               = "sg-0123456789abcdef0"
    load_balancer_security_group_id = ""
    subnet_ids                      = ["subnet-0a", "subnet-0b"]
    first_subnet_cidr               = "10.42.0.0/20"
    balancer_subnet_ids             = ["subnet-0a", "subnet-0b"]
    first_zone                      = "eu-central-1a"
    public_address                  = true
    https                           = false
    data_volume_gib                 = 50
    data_volume_iops                = 3000
    data_volume_throughput_mibps    = 125
    data_volume_snapshots           = true
    keep_data                       = true
    kms_key_arn                     = ""
    spot                            = false
    receivers_min                   = 2
    receivers_max                   = 4
    tags                            = { Deployment = "penstock-test" }
    instance_environment = {
      region          = "eu-central-1", name = "penstock", environment = "test", variant = "single"
      database        = "docker", database_host = "postgres", reader_host = "postgres"
      secret_id       = "arn:of:the:secret", stack_bucket = "stack", backup_store = "s3://backups/penstock"
      image_parameter = "/penstock/test/image", postgres_image = "postgres:18"
      log_group       = "/penstock/test", profiles = "database", retention_days = "30"
    }
  }

  assert {
    condition     = aws_instance.this[0].metadata_options[0].http_tokens == "required"
    error_message = "IMDSv2 only"
  }
  assert {
    condition     = aws_instance.this[0].iam_instance_profile == "penstock-test-machine"
    error_message = "the machine has its role"
  }
  assert {
    condition     = aws_instance.this[0].root_block_device[0].encrypted && aws_instance.this[0].root_block_device[0].delete_on_termination && aws_instance.this[0].root_block_device[0].volume_type == "gp3"
    error_message = "the root disk is encrypted gp3 and goes with the machine"
  }
  assert {
    condition     = length(aws_instance.this[0].ebs_block_device) == 0 || alltrue([for each in aws_instance.this[0].ebs_block_device : each.device_name != "/dev/sdf"])
    error_message = "the data volume is no part of the machine"
  }
  assert {
    condition     = aws_ebs_volume.data[0].encrypted && aws_ebs_volume.data[0].type == "gp3" && aws_ebs_volume.data[0].final_snapshot
    error_message = "the data volume is encrypted gp3 and leaves a snapshot behind"
  }
  assert {
    condition     = aws_volume_attachment.data[0].stop_instance_before_detaching
    error_message = "PostgreSQL stops before its volume goes"
  }
  assert {
    condition     = data.aws_ssm_parameter.ami.name == "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
    error_message = "Graviton has Amazon Linux 2023 for arm64"
  }
  assert {
    condition     = length(aws_dlm_lifecycle_policy.data) == 1 && length(aws_autoscaling_group.this) == 0
    error_message = "a snapshot each night, and no group"
  }
}

run "receivers_on_spot" {
  command = apply

  module {
    source = "./modules/compute"
  }

  variables {
    variant                         = "receivers"
    instance_type                   = "m7i.large"
    instance_profile                = "penstock-test-machine"
    security_group_id               = "sg-0123456789abcdef0"
    load_balancer_security_group_id = "sg-0123456789abcdef1"
    subnet_ids                      = ["subnet-0a", "subnet-0b"]
    first_subnet_cidr               = "10.42.0.0/20"
    balancer_subnet_ids             = ["subnet-0a", "subnet-0b"]
    first_zone                      = "eu-central-1a"
    public_address                  = false
    https                           = false
    data_volume_gib                 = 50
    data_volume_iops                = 3000
    data_volume_throughput_mibps    = 125
    data_volume_snapshots           = true
    keep_data                       = true
    kms_key_arn                     = ""
    spot                            = true
    receivers_min                   = 2
    receivers_max                   = 4
    tags                            = { Deployment = "penstock-test" }
    instance_environment = {
      region          = "eu-central-1", name = "penstock", environment = "test", variant = "receivers"
      database        = "rds", database_host = "primary", reader_host = "replica"
      secret_id       = "arn:of:the:secret", stack_bucket = "stack", backup_store = "s3://backups/penstock"
      image_parameter = "/penstock/test/image", postgres_image = "postgres:18"
      log_group       = "/penstock/test", profiles = "", retention_days = "30"
    }
  }

  assert {
    condition     = aws_launch_template.this[0].metadata_options[0].http_tokens == "required" && aws_launch_template.this[0].block_device_mappings[0].ebs[0].encrypted == "true"
    error_message = "IMDSv2 only, and an encrypted disk"
  }
  assert {
    condition     = aws_launch_template.this[0].network_interfaces[0].associate_public_ip_address == "false"
    error_message = "a receiver has no public address"
  }
  assert {
    condition = (
      aws_autoscaling_group.this[0].mixed_instances_policy[0].instances_distribution[0].spot_allocation_strategy == "price-capacity-optimized"
      && aws_autoscaling_group.this[0].mixed_instances_policy[0].instances_distribution[0].on_demand_base_capacity == 1
      && aws_autoscaling_group.this[0].mixed_instances_policy[0].instances_distribution[0].on_demand_percentage_above_base_capacity == 0
    )
    error_message = "one on demand, the others where spot capacity lasts"
  }
  assert {
    condition     = [for each in aws_autoscaling_group.this[0].mixed_instances_policy[0].launch_template[0].override : each.instance_type] == ["m7i.large", "c6i.large", "c7i.large", "m6i.large"]
    error_message = "several types of the machine's architecture"
  }
  assert {
    condition     = [for each in aws_autoscaling_group.this[0].initial_lifecycle_hook : each.lifecycle_transition] == ["autoscaling:EC2_INSTANCE_TERMINATING"]
    error_message = "a receiver drains before it ends"
  }
  assert {
    condition     = aws_lb.this[0].internal && aws_lb.this[0].load_balancer_type == "network"
    error_message = "the load balancer is inside"
  }
  assert {
    condition     = tonumber(aws_lb_target_group.this["forward"].deregistration_delay) >= 60 && aws_lb_target_group.this["forward"].health_check[0].path == "/health" && aws_lb_listener.this["forward"].port == 24224
    error_message = "long enough to drain, and healthy by the HTTP side"
  }
  assert {
    condition     = length(aws_ebs_volume.data) == 0 && length(aws_instance.this) == 0 && length(aws_dlm_lifecycle_policy.data) == 0
    error_message = "receivers hold nothing"
  }
}
