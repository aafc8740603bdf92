"""Machines to run Penstock on: their size and cost, Terraform runs, upgrades.

It must not know the server, the database or the backups: what it has of them are
figures and the files below deploy/. Each uses only those named before it:

    deployment        a deployment's directory, and what Terraform is told
    state             the bucket of Terraform's state, and the file that names it
    terraform_events  what Terraform says, line by line, as values
    terraform         Terraform, run and stopped
    aws_words         what each failure of AWS's means
    aws               AWS, as far as a deployment needs it beside Terraform
    images            docker: images into the deployment's registry
    upgrade           a new image on each machine, one after the other
"""
