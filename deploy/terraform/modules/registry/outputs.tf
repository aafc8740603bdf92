output "repository_url" {
  description = "Where images of Penstock are pushed."
  value       = aws_ecr_repository.this["penstock"].repository_url
}

output "postgres_repository_url" {
  description = "Where images of PostgreSQL are pushed."
  value       = aws_ecr_repository.this["postgres"].repository_url
}

output "repository_arns" {
  description = "Both repositories."
  value       = [for each in aws_ecr_repository.this : each.arn]
}
