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
}

output "stack_bucket_arn" {
  description = "The stack's bucket."
  value       = aws_s3_bucket.stack.arn
}

output "stack_objects" {
  description = "All objects of the stack: a machine that depends on them finds them at boot."
  value       = [for each in aws_s3_object.stack : each.key]
}
