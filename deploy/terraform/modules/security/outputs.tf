output "application_security_group_id" {
  description = "Group for machines that send."
  value       = aws_security_group.application.id
}

output "server_security_group_id" {
  description = "Group of Penstock's machines."
  value       = aws_security_group.server.id
}

output "load_balancer_security_group_id" {
  description = "Group of the load balancer; empty where there is none."
  value       = var.load_balanced ? aws_security_group.load_balancer[0].id : ""
}

output "database_security_group_id" {
  description = "Group of RDS; empty where there is none."
  value       = var.rds ? aws_security_group.database[0].id : ""
}
