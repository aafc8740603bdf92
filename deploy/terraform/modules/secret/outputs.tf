output "arn" {
  description = "The secret. Known only when it has its value."
  value       = aws_secretsmanager_secret_version.this.arn
}
