# Who may connect to what: groups that name each other, not addresses.
#
# There is no SSH, for nobody: machines are reached by SSM's Session Manager. Nothing is
# open to 0.0.0.0/0 inwards. DNS, time and the metadata service are AWS's own on the link
# and are not held back by a group. UDP 24224 is only for old clients' heartbeat, so closed.

locals {
  # Who senders connect to: the load balancer where there is one, else the machine.
  front = var.load_balanced ? aws_security_group.load_balancer[0].id : aws_security_group.server.id

  # By a known key, so that a group's id may be one that is yet to be made.
  senders = merge(
    { made = aws_security_group.application.id },
    { for index, id in var.application_security_group_ids : "given-${index}" => id },
  )
}

resource "aws_security_group" "application" {
  name        = "${var.prefix}-application"
  description = "Applications that send logs to Penstock: add it to their machines"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.prefix}-application" }
}

resource "aws_vpc_security_group_egress_rule" "application_forward" {
  security_group_id            = aws_security_group.application.id
  description                  = "Forward protocol to Penstock"
  referenced_security_group_id = local.front
  ip_protocol                  = "tcp"
  from_port                    = 24224
  to_port                      = 24224
}

resource "aws_security_group" "server" {
  name        = "${var.prefix}-server"
  description = "Machines of Penstock"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.prefix}-server" }
}

# ---- inwards

resource "aws_vpc_security_group_ingress_rule" "forward" {
  for_each = local.senders

  security_group_id            = local.front
  description                  = "Forward protocol from applications"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = 24224
  to_port                      = 24224
}

resource "aws_vpc_security_group_ingress_rule" "https" {
  for_each = toset(var.https_cidrs)

  security_group_id = local.front
  description       = "HTTPS from people"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

# ---- outwards

resource "aws_vpc_security_group_egress_rule" "server_https" {
  security_group_id = aws_security_group.server.id
  description       = "HTTPS: AWS, packages, images"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

# ---- the load balancer, between senders and receivers

resource "aws_security_group" "load_balancer" {
  count = var.load_balanced ? 1 : 0

  name        = "${var.prefix}-load-balancer"
  description = "The load balancer of Penstock"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.prefix}-load-balancer" }
}

locals {
  # 443 is for people and for the health check.
  balanced_ports = var.load_balanced ? { forward = 24224, https = 443 } : {}
}

resource "aws_vpc_security_group_egress_rule" "load_balancer" {
  for_each = local.balanced_ports

  security_group_id            = aws_security_group.load_balancer[0].id
  description                  = "To the machines: ${each.key}"
  referenced_security_group_id = aws_security_group.server.id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

resource "aws_vpc_security_group_ingress_rule" "balanced" {
  for_each = local.balanced_ports

  security_group_id            = aws_security_group.server.id
  description                  = "From the load balancer: ${each.key}"
  referenced_security_group_id = aws_security_group.load_balancer[0].id
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
}

# ---- the database

resource "aws_security_group" "database" {
  count = var.rds ? 1 : 0

  name        = "${var.prefix}-database"
  description = "RDS, for the machines of Penstock only"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.prefix}-database" }
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  count = var.rds ? 1 : 0

  security_group_id            = aws_security_group.database[0].id
  description                  = "PostgreSQL from the machines"
  referenced_security_group_id = aws_security_group.server.id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}

resource "aws_vpc_security_group_egress_rule" "server_database" {
  count = var.rds ? 1 : 0

  security_group_id            = aws_security_group.server.id
  description                  = "PostgreSQL on RDS"
  referenced_security_group_id = aws_security_group.database[0].id
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
}
