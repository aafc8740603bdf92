# Ways to AWS that do not leave the VPC. S3's is free, and backups go through it: always.

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${var.region}.s3"
  route_table_ids   = [aws_route_table.public.id, aws_route_table.private.id]

  tags = { Name = "${var.prefix}-s3" }
}

locals {
  # What the machines ask: images, secrets, Run Command, metrics and logs.
  services = var.interface_endpoints ? toset([
    "autoscaling", "ec2messages", "ecr.api", "ecr.dkr", "logs", "monitoring",
    "secretsmanager", "ssm", "ssmmessages",
  ]) : toset([])
}

resource "aws_security_group" "endpoints" {
  count = var.interface_endpoints ? 1 : 0

  name        = "${var.prefix}-endpoints"
  description = "AWS services in the VPC, for its machines"
  vpc_id      = aws_vpc.this.id

  tags = { Name = "${var.prefix}-endpoints" }
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  count = var.interface_endpoints ? 1 : 0

  security_group_id = aws_security_group.endpoints[0].id
  description       = "HTTPS from this VPC"
  cidr_ipv4         = var.vpc_cidr
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_endpoint" "service" {
  for_each = local.services

  vpc_id              = aws_vpc.this.id
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${var.region}.${each.value}"
  subnet_ids          = aws_subnet.private[*].id
  security_group_ids  = aws_security_group.endpoints[*].id
  private_dns_enabled = true

  depends_on = [aws_ec2_subnet_cidr_reservation.machines]

  tags = { Name = "${var.prefix}-${each.value}" }
}
