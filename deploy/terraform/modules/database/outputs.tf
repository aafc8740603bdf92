output "identifier" {
  description = "RDS's identifier."
  value       = aws_db_instance.this.identifier
}

output "replica_identifier" {
  description = "The replica's identifier; empty where there is none."
  value       = var.replica ? aws_db_instance.replica[0].identifier : ""
}

output "host" {
  description = "Where Penstock writes."
  value       = aws_db_instance.this.address
}

output "reader_host" {
  description = "Where readers read: the replica where there is one."
  value       = var.replica ? aws_db_instance.replica[0].address : aws_db_instance.this.address
}
