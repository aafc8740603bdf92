output "instance_profile" {
  description = "Name of the machines' instance profile."
  value       = aws_iam_instance_profile.machine.name

  # A machine that starts before its role may do anything fails to boot.
  depends_on = [aws_iam_role_policy.machine]
}

output "machine_role" {
  description = "Name of the machines' role."
  value       = aws_iam_role.machine.name
}

output "machine_role_arn" {
  description = "The machines' role."
  value       = aws_iam_role.machine.arn
}

output "backup_writer_policy" {
  description = "What the machines may do with backups, as JSON."
  value       = data.aws_iam_policy_document.backup_writer.json
}

output "pruner_role_arn" {
  description = "Role that removes old backups."
  value       = aws_iam_role.pruner.arn
}
