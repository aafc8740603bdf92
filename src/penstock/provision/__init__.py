"""Machines to run Penstock on: their size and cost, Terraform runs, upgrades.

It must not know the server, the database or the backups: what it has of them are
figures and the files below deploy/. Each uses only those named before it:

- `measured`: what was measured of Penstock, each figure with its source
- `machines`: the machines there are to choose from
- `load`: what comes and how long it is kept; what of it is refused
- `stored`: what lies on the disk and in the backups' bucket
- `sizing`: the smallest machines that carry a load; the shares of memory
- `prices`: what AWS asks for, from one dated file
- `cost`: what a plan costs a month, line by line
- `tfvars`: the variables of deploy/terraform that a plan decides
- `reasons`: why a plan is what it is, in a few lines
- `deployment`: a deployment's directory, and what Terraform is told
- `state`: the bucket of Terraform's state, and the file that names it
- `terraform_events`: what Terraform says, line by line, as values
- `aws_words`: what each failure of AWS's means
- `terraform`: Terraform, run and stopped
- `aws`: AWS, as far as a deployment needs it beside Terraform
- `images`: docker: images into the deployment's registry
- `upgrade`: a new image on each machine, one after the other
"""
