output "role_arns" {
  description = "Roles of GitHub's workflows: deploy and plan."
  value       = { for key, role in aws_iam_role.this : key => role.arn }
}
