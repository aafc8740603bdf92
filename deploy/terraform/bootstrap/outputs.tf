output "state_bucket" {
  description = "What -backend-config=bucket=... takes."
  value       = aws_s3_bucket.state.id
}
