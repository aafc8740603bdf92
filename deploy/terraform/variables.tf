# All that can be set. Three have no default: region, environment, alert_email.
# `penstock deploy size` writes the sizes among them, `penstock deploy init` the others.

# ---- what it is called and where it is

variable "region" {
  description = "AWS region, such as eu-central-1."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2,4}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region is the name of an AWS region, such as eu-central-1."
  }
}

variable "environment" {
  description = "Which of your deployments this is: production, staging. With `name` it is part of every name, so the two are unique in an account."
  type        = string

  validation {
    # The longest name made of it is a bucket's: name-environment-backups-account, 63.
    condition     = can(regex("^[a-z][a-z0-9-]{0,10}[a-z0-9]$", var.environment))
    error_message = "environment is 2 to 12 of a-z, 0-9 and -, beginning with a letter and not ending with -."
  }
  validation {
    # Whoever may plan "x" in GitHub might else deploy "x-plan".
    condition     = !endswith(var.environment, "-plan")
    error_message = "environment does not end with -plan: that is the GitHub environment in which changes of the one before it are planned."
  }
}

variable "alert_email" {
  description = "Who gets the alarms. AWS asks for a confirmation by mail."
  type        = string

  validation {
    condition     = can(regex("^[^@[:space:]]+@[^@[:space:]]+[.][^@[:space:]]+$", var.alert_email))
    error_message = "alert_email is an address, such as oncall@example.com."
  }
}

variable "name" {
  description = "Begins the name of everything."
  type        = string
  default     = "penstock"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,14}[a-z0-9]$", var.name))
    error_message = "name is 2 to 16 of a-z, 0-9 and -, beginning with a letter and not ending with -."
  }
}

variable "tags" {
  description = "Tags for everything, besides Project, Environment, Deployment and ManagedBy."
  type        = map(string)
  default     = {}
}

variable "endpoint" {
  description = "For tests: the address of a fake AWS, which is then all that is asked."
  type        = string
  default     = ""

  validation {
    condition     = var.endpoint == "" || can(regex("^http://(127[.]0[.]0[.]1|localhost):[0-9]+$", var.endpoint))
    error_message = "endpoint is for tests, a fake AWS on this machine: http://127.0.0.1:PORT. Leave it empty for AWS."
  }
}

# ---- its shape

variable "variant" {
  description = "single: one machine. receivers: an auto scaling group behind a load balancer, which needs database = \"rds\"."
  type        = string
  default     = "single"

  validation {
    condition     = contains(["single", "receivers"], var.variant)
    error_message = "variant is single or receivers."
  }
  validation {
    condition     = var.variant != "receivers" || var.database == "rds"
    error_message = "variant = \"receivers\" needs database = \"rds\": machines that come and go cannot hold the database."
  }
  validation {
    # Without rds there is a line of its own.
    condition     = var.variant != "receivers" || var.database != "rds" || var.nat || var.interface_endpoints
    error_message = "variant = \"receivers\" needs nat = true (or interface_endpoints = true, where every image comes from ECR): receivers have no public address, and would not reach AWS."
  }
}

variable "database" {
  description = "docker: PostgreSQL on the machine, on its data volume. rds: RDS, with a replica for readers."
  type        = string
  default     = "docker"

  validation {
    condition     = contains(["docker", "rds"], var.database)
    error_message = "database is docker or rds."
  }
}

variable "instance_type" {
  description = "Machine type; the architecture follows from it. Graviton (t4g, m7g, c7g, r7g) costs about a fifth less."
  type        = string
  default     = "t4g.medium"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*[.][a-z0-9-]+$", var.instance_type))
    error_message = "instance_type is FAMILY.SIZE, such as t4g.medium or m7g.large."
  }
}

variable "spot" {
  description = "Receivers beyond the first on spot capacity."
  type        = bool
  default     = false

  validation {
    condition     = !var.spot || var.variant == "receivers"
    error_message = "spot = true is for variant = \"receivers\" only: a single machine holds data, and spot capacity is taken away at two minutes' notice."
  }
}

variable "receivers_min" {
  description = "Receivers at least. Two, so that each availability zone has one."
  type        = number
  default     = 2

  validation {
    condition     = var.receivers_min >= 1 && floor(var.receivers_min) == var.receivers_min
    error_message = "receivers_min is a whole number, 1 or more."
  }
}

variable "receivers_max" {
  description = "Receivers at most."
  type        = number
  default     = 4

  validation {
    condition     = var.receivers_max >= var.receivers_min && floor(var.receivers_max) == var.receivers_max
    error_message = "receivers_max is a whole number, not less than receivers_min."
  }
}

variable "profiles" {
  description = "What runs besides: monitoring (Prometheus and Grafana on the machine), collector (Fluent Bit for the machine's own containers)."
  type        = list(string)
  default     = ["monitoring"]

  validation {
    condition     = length(setsubtract(var.profiles, ["monitoring", "collector"])) == 0
    error_message = "profiles are monitoring and collector; database comes by itself with database = \"docker\"."
  }
}

# ---- disks

variable "data_volume_gib" {
  description = "Size of the data volume. It can grow later, never shrink."
  type        = number
  default     = 50

  validation {
    condition     = var.data_volume_gib >= 10 && var.data_volume_gib <= 16384 && floor(var.data_volume_gib) == var.data_volume_gib
    error_message = "data_volume_gib is a whole number from 10 to 16384."
  }
}

variable "data_volume_iops" {
  description = "IOPS of the data volume; 3000 are in gp3's price."
  type        = number
  default     = 3000

  validation {
    # gp3: 3,000 to 16,000, at most 500 for each GiB, except that 3,000 are always there.
    condition     = var.data_volume_iops >= 3000 && var.data_volume_iops <= min(16000, max(3000, 500 * var.data_volume_gib))
    error_message = "data_volume_iops is 3000 to 16000, and at most 500 for each GiB of data_volume_gib."
  }
}

variable "data_volume_throughput_mibps" {
  description = "Throughput of the data volume in MiB/s; 125 are in gp3's price."
  type        = number
  default     = 125

  validation {
    # gp3: at most 0.25 MiB/s for each IOPS.
    condition     = var.data_volume_throughput_mibps >= 125 && var.data_volume_throughput_mibps <= min(1000, var.data_volume_iops / 4)
    error_message = "data_volume_throughput_mibps is 125 to 1000, and at most a quarter of data_volume_iops."
  }
}

variable "data_volume_snapshots" {
  description = "A snapshot of the data volume each night, seven kept. Besides the backups, not instead of them."
  type        = bool
  default     = true
}

variable "retention_days" {
  description = "How many days of logs the database keeps."
  type        = number
  default     = 30

  validation {
    condition     = var.retention_days >= 1 && floor(var.retention_days) == var.retention_days
    error_message = "retention_days is a whole number, 1 or more."
  }
}

variable "keep_data_on_destroy" {
  description = "Guards the data: RDS cannot be deleted, buckets with objects neither, and the data volume leaves a snapshot behind. Set it to false, and apply, before a destroy that is to take the data too."
  type        = bool
  default     = true
}

variable "kms_key_arn" {
  description = "A KMS key of your own for disks, backups, database and secret. Empty: AWS's own keys, which nobody can delete. Its policy has to let CloudWatch Logs use it and, for receivers, EC2 Auto Scaling."
  type        = string
  default     = ""

  validation {
    condition     = var.kms_key_arn == "" || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/", var.kms_key_arn))
    error_message = "kms_key_arn is the ARN of a key (arn:aws:kms:REGION:ACCOUNT:key/ID), not an alias. Leave it empty for AWS's own keys."
  }
}

# ---- RDS

variable "rds_instance_class" {
  description = "RDS instance class."
  type        = string
  default     = "db.t4g.medium"

  validation {
    condition     = can(regex("^db[.][a-z0-9-]+[.][a-z0-9-]+$", var.rds_instance_class))
    error_message = "rds_instance_class is db.FAMILY.SIZE, such as db.t4g.medium or db.m7g.large."
  }
}

variable "rds_storage_gib" {
  description = "Storage of RDS; it grows by itself to twice as much."
  type        = number
  default     = 100

  validation {
    condition     = var.rds_storage_gib >= 20 && var.rds_storage_gib <= 32768 && floor(var.rds_storage_gib) == var.rds_storage_gib
    error_message = "rds_storage_gib is a whole number from 20 to 32768: RDS for PostgreSQL has 20 to 65536, and it may double."
  }
}

variable "rds_multi_az" {
  description = "A standby in the other availability zone; doubles RDS's price."
  type        = bool
  default     = false
}

variable "rds_replica" {
  description = "A read replica for search, questions and dashboards, so that they cost ingest nothing."
  type        = bool
  default     = true
}

variable "rds_engine_version" {
  description = "PostgreSQL's major version on RDS; minor ones come in the maintenance window."
  type        = string
  default     = "18"

  validation {
    condition     = contains(["15", "16", "17", "18"], var.rds_engine_version)
    error_message = "rds_engine_version is a major version that Penstock is tested with: 15, 16, 17 or 18."
  }
}

# ---- network

variable "vpc_cidr" {
  description = "Addresses of the VPC."
  type        = string
  default     = "10.42.0.0/16"

  validation {
    # Sixteen subnets are cut from it, and AWS has none smaller than /28.
    condition     = can(cidrsubnet(var.vpc_cidr, 4, 0)) && can(regex("/(1[6-9]|2[0-4])$", var.vpc_cidr))
    error_message = "vpc_cidr is an IPv4 range of /16 to /24, such as 10.42.0.0/16."
  }
}

variable "nat" {
  description = "A NAT gateway, and the machines in private subnets: about $33 a month and $0.045 a GB. Without it a single machine has a public address that nobody can reach it at."
  type        = bool
  default     = false
}

variable "interface_endpoints" {
  description = "Endpoints in the VPC for ECR, SSM, Secrets Manager, CloudWatch: about $7 a month each and zone. The S3 endpoint is always there, and free."
  type        = bool
  default     = false
}

variable "flow_logs" {
  description = "Record refused connections of the VPC in CloudWatch."
  type        = bool
  default     = true
}

variable "https_cidrs" {
  description = "Who may reach port 443, the HTTP side behind TLS: your office or VPN. Nobody by default; SSM's port forwarding needs none."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for each in var.https_cidrs : can(cidrhost(each, 0))])
    error_message = "https_cidrs are IPv4 ranges, such as 203.0.113.0/24; one address is 203.0.113.7/32."
  }
  validation {
    condition     = alltrue([for each in var.https_cidrs : try(tonumber(split("/", each)[1]) >= 8, true)])
    error_message = "https_cidrs may not be open to the world: name your office's or VPN's range, /8 at the widest."
  }
}

variable "application_security_group_ids" {
  description = "Security groups whose machines may send to port 24224, besides the group that is made for it."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for each in var.application_security_group_ids : can(regex("^sg-[0-9a-f]+$", each))])
    error_message = "application_security_group_ids are ids of security groups, such as sg-0123456789abcdef0."
  }
}

# ---- what runs

variable "penstock_version" {
  description = "Tag of the images in the repositories that are made here."
  type        = string
  default     = "0.1.0"

  validation {
    condition     = can(regex("^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$", var.penstock_version)) && var.penstock_version != "latest"
    error_message = "penstock_version is an image's tag, such as 0.1.0; \"latest\" would be a different image each day."
  }
}

variable "penstock_image" {
  description = "Image of Penstock at the first apply; `penstock deploy upgrade` changes it from then on. Empty: penstock_version in the repository that is made here."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^[A-Za-z0-9._/:@-]*$", var.penstock_image))
    error_message = "penstock_image is REPOSITORY:TAG or REPOSITORY@sha256:DIGEST."
  }
}

variable "postgres_image" {
  description = "Image of PostgreSQL. Empty: penstock_version in the repository that is made here."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^[A-Za-z0-9._/:@-]*$", var.postgres_image))
    error_message = "postgres_image is REPOSITORY:TAG or REPOSITORY@sha256:DIGEST."
  }
}

# ---- being told

variable "slack_team_id" {
  description = "Slack workspace that gets the alarms too; authorize it once in AWS's console (Amazon Q Developer in chat applications)."
  type        = string
  default     = ""

  validation {
    condition     = (var.slack_team_id == "") == (var.slack_channel_id == "")
    error_message = "slack_team_id and slack_channel_id go together: give both or none."
  }
}

variable "slack_channel_id" {
  description = "Slack channel, by its id."
  type        = string
  default     = ""
}

variable "monthly_budget_usd" {
  description = "Warn at 80 % of it, and when the month's forecast is above. 0: no budget."
  type        = number
  default     = 0

  validation {
    condition     = var.monthly_budget_usd >= 0
    error_message = "monthly_budget_usd is 0 or more."
  }
}

# ---- the pipeline

variable "github_repository" {
  description = "OWNER/NAME of the GitHub repository whose workflows deploy, by OIDC and without keys. Empty: none."
  type        = string
  default     = ""

  validation {
    condition     = var.github_repository == "" || can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.github_repository))
    error_message = "github_repository is OWNER/NAME."
  }
}

variable "secret_is_read" {
  description = "Whether a run may open the secret, which has RDS's password. false: for a pipeline that plans what anybody proposes; never apply with it."
  type        = bool
  default     = true
}

variable "github_oidc_provider_arn" {
  description = "ARN of the account's OIDC provider for GitHub, of which there can be only one. Empty: it is made."
  type        = string
  default     = ""
}

variable "state_bucket" {
  description = "Bucket of the state, which the pipeline may read. Empty: the name that bootstrap/ gives it, NAME-tfstate-ACCOUNT-REGION."
  type        = string
  default     = ""
}
