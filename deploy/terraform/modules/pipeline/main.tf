# What GitHub's workflows may do, without a stored key: they show a token of GitHub's, and
# AWS gives a role for an hour. Only a job of one environment of one repository gets it,
# and who may use an environment is set in GitHub (reviewers, branches).
#
# Two roles: `deploy` pushes images and has the machines upgrade; `plan` reads the state, for
# `terraform plan -refresh=false -lock=false -var=secret_is_read=false` on pull requests: what
# somebody proposes runs with it, and the state holds no secret. Neither applies Terraform:
# that needs all rights there are, and stays with people.

locals {
  issuer = "token.actions.githubusercontent.com"
  arn    = "arn:${var.partition}"
  here   = "${var.region}:${var.account_id}"

  provider_arn = var.oidc_provider_arn == "" ? aws_iam_openid_connect_provider.github[0].arn : var.oidc_provider_arn

  environments = {
    deploy = var.environment
    plan   = "${var.environment}-plan"
  }
  policies = {
    deploy = data.aws_iam_policy_document.deploy.json
    plan   = data.aws_iam_policy_document.plan.json
  }
}

# No thumbprint: AWS trusts GitHub's certificate by its own list.
resource "aws_iam_openid_connect_provider" "github" {
  count = var.oidc_provider_arn == "" ? 1 : 0

  url            = "https://${local.issuer}"
  client_id_list = ["sts.amazonaws.com"]
}

data "aws_iam_policy_document" "trust" {
  for_each = local.environments

  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [local.provider_arn]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:aud"
      values   = ["sts.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:sub"
      values   = ["repo:${var.github_repository}:environment:${each.value}"]
    }
  }
}

resource "aws_iam_role" "this" {
  for_each = local.environments

  name                 = "${var.prefix}-github-${each.key}"
  description          = "GitHub's workflows: ${each.key}"
  assume_role_policy   = data.aws_iam_policy_document.trust[each.key].json
  max_session_duration = 3600
}

resource "aws_iam_role_policy" "this" {
  for_each = local.environments

  name   = each.key
  role   = aws_iam_role.this[each.key].id
  policy = local.policies[each.key]
}

data "aws_iam_policy_document" "deploy" {
  statement {
    sid       = "LogInToRegistry"
    actions   = ["ecr:GetAuthorizationToken"]
    resources = ["*"]
  }

  statement {
    sid = "PushImages"
    actions = [
      "ecr:BatchCheckLayerAvailability",
      "ecr:BatchGetImage",
      "ecr:CompleteLayerUpload",
      "ecr:DescribeImageScanFindings",
      "ecr:DescribeImages",
      "ecr:GetDownloadUrlForLayer",
      "ecr:InitiateLayerUpload",
      "ecr:PutImage",
      "ecr:UploadLayerPart",
    ]
    resources = var.repository_arns
  }

  statement {
    sid       = "RunShell"
    actions   = ["ssm:SendCommand"]
    resources = ["${local.arn}:ssm:${var.region}::document/AWS-RunShellScript"]
  }

  statement {
    sid       = "OnPenstocksMachines"
    actions   = ["ssm:SendCommand"]
    resources = ["${local.arn}:ec2:${local.here}:instance/*"]

    condition {
      test     = "StringEquals"
      variable = "ssm:resourceTag/Deployment"
      values   = [var.prefix]
    }
  }

  # How a command went and which machines there are: neither knows a resource.
  statement {
    sid = "SeeHowItWent"
    actions = [
      "autoscaling:DescribeAutoScalingGroups",
      "ec2:DescribeInstances",
      "ssm:DescribeInstanceInformation",
      "ssm:GetCommandInvocation",
      "ssm:ListCommandInvocations",
      "ssm:ListCommands",
    ]
    resources = ["*"]
  }

  # While a receiver drains and starts, its group must not take it for lost.
  statement {
    sid       = "WaitWithReplacing"
    actions   = ["autoscaling:ResumeProcesses", "autoscaling:SuspendProcesses"]
    resources = ["${local.arn}:autoscaling:${local.here}:autoScalingGroup:*:autoScalingGroupName/${var.prefix}-receivers"]
  }

  statement {
    sid       = "SayWhichImage"
    actions   = ["ssm:GetParameter", "ssm:PutParameter"]
    resources = ["${local.arn}:ssm:${local.here}:parameter${var.image_parameter}"]
  }

  # `penstock deploy upgrade` takes the machines from Terraform's outputs.
  source_policy_documents = [data.aws_iam_policy_document.state.json]
}

data "aws_iam_policy_document" "state" {
  statement {
    sid       = "ReadState"
    actions   = ["s3:GetObject"]
    resources = ["${local.arn}:s3:::${var.state_bucket}/${var.state_prefix}*"]
  }

  statement {
    sid       = "FindState"
    actions   = ["s3:ListBucket"]
    resources = ["${local.arn}:s3:::${var.state_bucket}"]
  }
}

data "aws_iam_policy_document" "plan" {
  source_policy_documents = [data.aws_iam_policy_document.state.json]

  # The data sources and the ephemeral passwords of a plan.
  statement {
    sid = "ReadWhatAPlanAsks"
    actions = [
      "ec2:DescribeAvailabilityZones",
      "secretsmanager:GetRandomPassword",
    ]
    resources = ["*"]
  }

  statement {
    sid       = "ReadAmi"
    actions   = ["ssm:GetParameter"]
    resources = ["${local.arn}:ssm:${var.region}::parameter/aws/service/ami-amazon-linux-latest/*"]
  }
}
