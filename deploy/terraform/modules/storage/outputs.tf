output "backups_bucket" {
  description = "Name of the backups' bucket."
  value       = aws_s3_bucket.backups.id
}

output "backups_bucket_arn" {
  description = "The backups' bucket."
  value       = aws_s3_bucket.backups.arn
}

output "backup_prefix" {
  description = "Where in it the store is."
  value       = "penstock"
}

output "stack_bucket" {
  description = "Name of the stack's bucket."
  value       = aws_s3_bucket.stack.id

  # A machine that starts finds the files there.
  depends_on = [aws_s3_object.stack]
}

output "stack_bucket_arn" {
  description = "The stack's bucket."
  value       = aws_s3_bucket.stack.arn
}
