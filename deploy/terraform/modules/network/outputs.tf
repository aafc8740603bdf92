output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "public_subnet_ids" {
  description = "Subnets with a way out and, for who has a public address, in."
  value       = aws_subnet.public[*].id

  depends_on = [aws_ec2_subnet_cidr_reservation.machines]
}

output "private_subnet_ids" {
  description = "Subnets without a way in; out only by NAT and endpoints."
  value       = aws_subnet.private[*].id

  depends_on = [aws_ec2_subnet_cidr_reservation.machines]
}

output "public_subnet_cidrs" {
  description = "Addresses of the public subnets."
  value       = aws_subnet.public[*].cidr_block
}

output "private_subnet_cidrs" {
  description = "Addresses of the private subnets."
  value       = aws_subnet.private[*].cidr_block
}

output "zones" {
  description = "The two availability zones, as the subnets are in them."
  # Not read from the subnets: the data volume, which outlives them, needs the first.
  value = local.zones
}
