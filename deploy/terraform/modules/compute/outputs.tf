output "instance_id" {
  description = "The single machine; empty for receivers."
  value       = local.single ? aws_instance.this[0].id : ""
}

output "autoscaling_group_name" {
  description = "The receivers' group; empty for a single machine."
  value       = local.receivers ? aws_autoscaling_group.this[0].name : ""
}

output "private_host" {
  description = "What senders connect to: the machine's address, or the load balancer's name."
  value       = local.single ? aws_instance.this[0].private_ip : aws_lb.this[0].dns_name
}

output "public_ip" {
  description = "The single machine's public address; empty where it has none."
  value       = local.single && var.public_address ? aws_instance.this[0].public_ip : ""
}

output "data_volume_id" {
  description = "The data volume; empty for receivers."
  value       = local.single ? aws_ebs_volume.data[0].id : ""
}

output "load_balancer_arn_suffix" {
  description = "The load balancer, as CloudWatch names it; empty for a single machine."
  value       = local.receivers ? aws_lb.this[0].arn_suffix : ""
}

output "target_group_arn_suffix" {
  description = "Its target group of port 24224, as CloudWatch names it; empty for a single machine."
  value       = local.receivers ? aws_lb_target_group.this["forward"].arn_suffix : ""
}
