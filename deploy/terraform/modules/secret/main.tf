# The one secret: every password, made by Secrets Manager and written straight into it.
#
# No value passes through the state, a plan or a variable: an ephemeral resource is thrown
# away after the run, and secret_string_wo is written and not kept. Machines fetch it at
# boot, by their role. People add to it (anthropic_api_key, tls_certificate and
# tls_private_key): a later apply changes nothing of it.

ephemeral "aws_secretsmanager_random_password" "this" {
  for_each = toset(["postgres", "owner", "writer", "reader", "shared_key", "http_token", "grafana"])

  # 190 bits. Letters and digits only: none of them means anything in a URL, in YAML or to
  # a shell.
  password_length     = 32
  exclude_punctuation = true
}

resource "aws_secretsmanager_secret" "this" {
  name                    = "${var.name}/${var.environment}"
  description             = "Penstock's passwords, fetched by its machines at boot"
  kms_key_id              = var.kms_key_arn == "" ? null : var.kms_key_arn
  recovery_window_in_days = var.keep_data ? 30 : 0
}

locals {
  generated = ephemeral.aws_secretsmanager_random_password.this
}

resource "aws_secretsmanager_secret_version" "this" {
  secret_id = aws_secretsmanager_secret.this.id

  secret_string_wo = jsonencode({
    postgres_password = local.generated["postgres"].random_password
    owner_password    = local.generated["owner"].random_password
    writer_password   = local.generated["writer"].random_password
    reader_password   = local.generated["reader"].random_password
    shared_key        = local.generated["shared_key"].random_password
    http_token        = local.generated["http_token"].random_password
    grafana_password  = local.generated["grafana"].random_password
    anthropic_api_key = ""
  })
  # Raising it would make every password anew.
  secret_string_wo_version = 1

  # A version without a label is removed by AWS some day, and Terraform would then write a
  # new one over what people have added since: the second label keeps this one.
  version_stages = ["AWSCURRENT", "terraform"]

  lifecycle {
    ignore_changes = [version_stages]
  }
}
