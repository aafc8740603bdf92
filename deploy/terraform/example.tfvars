# The three that have no default. All others: variables.tf, or `penstock deploy size`.

region      = "eu-central-1"
environment = "production"
alert_email = "oncall@example.com"
