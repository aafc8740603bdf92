# The network: a VPC over two availability zones, a public and a private subnet in each.
#
# Nothing is reached from outside by what is here; who may connect to what is said in
# ../security. RDS's subnet group needs two zones, so does a load balancer that outlives one.

data "aws_availability_zones" "available" {
  state = "available"

  # Local zones have neither gp3 nor RDS.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

locals {
  zones = slice(sort(data.aws_availability_zones.available.names), 0, 2)
}

resource "aws_vpc" "this" {
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = { Name = var.prefix }
}

# Everything here names its group; what forgets to is let nowhere by this one.
resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.prefix}-unused" }
}

resource "aws_subnet" "public" {
  count = 2

  vpc_id            = aws_vpc.this.id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(var.vpc_cidr, 4, count.index)

  # What is to have a public address says so itself.
  map_public_ip_on_launch = false

  tags = { Name = "${var.prefix}-public-${count.index}" }

  lifecycle {
    # A zone that AWS adds some day would make new subnets, and with them new machines.
    ignore_changes = [availability_zone]
  }
}

resource "aws_subnet" "private" {
  count = 2

  vpc_id            = aws_vpc.this.id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(var.vpc_cidr, 4, 8 + count.index)

  tags = { Name = "${var.prefix}-private-${count.index}" }

  lifecycle {
    # A zone that AWS adds some day would make new subnets, and with them new machines.
    ignore_changes = [availability_zone]
  }
}

# A few addresses at the beginning of the first zone's subnets, .8 to .15, are given to nobody
# by AWS itself: the single machine has one of them whenever it is made anew.
resource "aws_ec2_subnet_cidr_reservation" "machines" {
  for_each = { public = aws_subnet.public[0], private = aws_subnet.private[0] }

  subnet_id        = each.value.id
  cidr_block       = cidrsubnet(each.value.cidr_block, 29 - tonumber(split("/", each.value.cidr_block)[1]), 1)
  reservation_type = "explicit"
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id

  tags = { Name = var.prefix }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.prefix}-public" }
}

resource "aws_route" "public" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  count = 2

  route_table_id = aws_route_table.public.id
  subnet_id      = aws_subnet.public[count.index].id
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.prefix}-private" }
}

resource "aws_route_table_association" "private" {
  count = 2

  route_table_id = aws_route_table.private.id
  subnet_id      = aws_subnet.private[count.index].id
}

# One gateway, not one for each zone: it carries what the machines fetch, never a log, so
# the second would cost more than an hour without updates.
resource "aws_eip" "nat" {
  count = var.nat ? 1 : 0

  domain = "vpc"

  tags = { Name = "${var.prefix}-nat" }
}

resource "aws_nat_gateway" "this" {
  count = var.nat ? 1 : 0

  allocation_id = aws_eip.nat[0].id
  subnet_id     = aws_subnet.public[0].id

  tags = { Name = var.prefix }

  depends_on = [aws_internet_gateway.this, aws_ec2_subnet_cidr_reservation.machines]
}

resource "aws_route" "private" {
  count = var.nat ? 1 : 0

  route_table_id         = aws_route_table.private.id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[0].id
}
