"""Machines to run Penstock on: their size and cost, Terraform runs, upgrades.

It must not know the server, the database or the backups: what it has of them are
figures and the files below deploy/. Each uses only those named before it:
"""
