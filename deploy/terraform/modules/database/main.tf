# PostgreSQL on RDS: encrypted, private, TLS only, backed up for a fortnight, and a replica
# that readers use. Databases and roles in it are made by the stack's own setup.

# The password as it is in the secret, not as it was made: an RDS that is made later, or
# made again after a failure, has the password that the machines fetch.
ephemeral "aws_secretsmanager_secret_version" "this" {
  count = var.secret_is_read ? 1 : 0

  secret_id = var.secret_arn
}

# What stands for it where only a plan is made: a password that nobody has, so that an
# apply by mistake opens nothing.
ephemeral "aws_secretsmanager_random_password" "unread" {
  count = var.secret_is_read ? 0 : 1

  password_length     = 32
  exclude_punctuation = true
}

locals {
  password = (var.secret_is_read
    ? jsondecode(ephemeral.aws_secretsmanager_secret_version.this[0].secret_string)["postgres_password"]
    : ephemeral.aws_secretsmanager_random_password.unread[0].random_password
  )
}

resource "aws_db_subnet_group" "this" {
  name        = var.prefix
  description = "Penstock: two zones"
  subnet_ids  = var.subnet_ids
}

resource "aws_db_parameter_group" "this" {
  name        = "${var.prefix}-postgres${var.engine_version}"
  family      = "postgres${var.engine_version}"
  description = "Penstock"

  # Nobody connects without TLS.
  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  # Say what is slow and who waits for whom, and not each statement, which has rows in it;
  # nor what was searched for, which is in a slow one's parameters and in one that fails.
  parameter {
    name  = "log_min_duration_statement"
    value = "5000"
  }

  parameter {
    name  = "log_parameter_max_length"
    value = "0"
  }

  parameter {
    name  = "log_min_error_statement"
    value = "panic"
  }

  parameter {
    name  = "log_lock_waits"
    value = "1"
  }

  # A long search on the replica is not cancelled by a vacuum on the primary.
  parameter {
    name  = "hot_standby_feedback"
    value = "1"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_db_instance" "this" {
  identifier     = var.prefix
  engine         = "postgres"
  engine_version = var.engine_version
  instance_class = var.instance_class

  allocated_storage     = var.storage_gib
  max_allocated_storage = 2 * var.storage_gib
  storage_type          = "gp3"
  storage_encrypted     = true
  kms_key_id            = var.kms_key_arn == "" ? null : var.kms_key_arn

  username    = "postgres"
  password_wo = local.password
  # As the secret's: raising it sets the password again.
  password_wo_version = 1

  db_subnet_group_name   = aws_db_subnet_group.this.name
  vpc_security_group_ids = [var.security_group_id]
  parameter_group_name   = aws_db_parameter_group.this.name
  multi_az               = var.multi_az
  publicly_accessible    = false

  # In the hours in which nobody sends much, one after the other.
  backup_retention_period    = 14
  backup_window              = "01:30-02:00"
  maintenance_window         = "sun:03:00-sun:04:00"
  auto_minor_version_upgrade = true
  copy_tags_to_snapshot      = true
  delete_automated_backups   = !var.keep_data

  deletion_protection       = var.keep_data
  skip_final_snapshot       = !var.keep_data
  final_snapshot_identifier = "${var.prefix}-final"

  # A week of it is free.
  performance_insights_enabled    = true
  performance_insights_kms_key_id = var.kms_key_arn == "" ? null : var.kms_key_arn
  enabled_cloudwatch_logs_exports = ["postgresql", "upgrade"]

  tags = { Name = var.prefix }
}

resource "aws_db_instance" "replica" {
  count = var.replica ? 1 : 0

  identifier          = "${var.prefix}-replica"
  replicate_source_db = aws_db_instance.this.identifier
  instance_class      = var.instance_class
  # Storage grows with the primary's.
  max_allocated_storage = 2 * var.storage_gib
  storage_type          = "gp3"
  storage_encrypted     = true

  vpc_security_group_ids = [var.security_group_id]
  parameter_group_name   = aws_db_parameter_group.this.name
  publicly_accessible    = false

  maintenance_window         = "sun:04:30-sun:05:30"
  auto_minor_version_upgrade = true
  copy_tags_to_snapshot      = true

  # It has nothing that the primary has not.
  skip_final_snapshot = true

  performance_insights_enabled    = true
  performance_insights_kms_key_id = var.kms_key_arn == "" ? null : var.kms_key_arn
  enabled_cloudwatch_logs_exports = ["postgresql"]

  tags = { Name = "${var.prefix}-replica" }
}
