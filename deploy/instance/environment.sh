# shellcheck shell=bash
# Owns /run/penstock/stack.env, which compose gets by --env-file, and how memory is
# shared out. No secret is in it.

# Shares MIB out, in whole MiB: the shares of provision/sizing.py's memory_of, and a test
# holds the two equal. What is left is the system's, nginx's and the agent's.
memory() {
  local total=$1 postgres penstock ring
  if [[ $DATABASE == docker ]]; then
    postgres=$((total * 55 / 100))
    penstock=$((total * 20 / 100))
    echo "POSTGRES_MEMORY=$postgres"
    echo "POSTGRES_SHARED_BUFFERS=$((postgres * 40 / 100))"
    echo "POSTGRES_EFFECTIVE_CACHE_SIZE=$((postgres * 75 / 100))"
    echo "POSTGRES_SHM_SIZE=$(at_least 64 $((total * 5 / 100)))"
    penstock=$(at_least 320 "$penstock")
  else
    penstock=$((total * 60 / 100))
  fi
  penstock=$(at_most 4096 "$penstock")
  ring=$(at_most 1024 "$(at_least 64 $((penstock * 40 / 100)))")
  echo "PENSTOCK_MEMORY=$penstock"
  echo "PENSTOCK_RING_BYTES=$ring"
}

at_least() { echo $(($2 < $1 ? $1 : $2)); }
at_most() { echo $(($2 > $1 ? $1 : $2)); }

memory_total() {
  awk '$1 == "MemTotal:" { print int($2 / 1024) }' /proc/meminfo
}

# environment [IMAGE]: for that image, or for the one that runs or is to run here.
environment() {
  local image=${1:-}
  [[ -n $image ]] || image=$(image_here) || image=none
  # RDS asks for TLS; inside the machine nobody listens.
  local sslmode=require
  [[ $DATABASE != docker ]] || sslmode=disable
  install -d -m 0755 "$run"
  {
    cat <<ENV
PENSTOCK_IMAGE=$image
POSTGRES_IMAGE=$POSTGRES_IMAGE
COMPOSE_PROFILES=$PROFILES
DATA_DIR=$data
SECRETS_DIR=$run/secrets
DATABASE_HOST=$DATABASE_HOST
READER_HOST=$READER_HOST
DATABASE_SSLMODE=$sslmode
BACKUP_STORE=$BACKUP_STORE
AWS_REGION=$REGION
RETENTION_DAYS=$RETENTION_DAYS
PENSTOCK_CPUS=$(nproc)
FORWARD_BIND=0.0.0.0
HTTPS_BIND=0.0.0.0
ENV
    # What Penstock calls MiB is bytes to it without the unit.
    memory "$(memory_total)" | sed '/^PENSTOCK_RING_BYTES=/s/$/MiB/'
  } | write "$run/stack.env" 0644
}

# The image that this machine runs; before its first, the one that Terraform wrote down.
# So a reboot is no upgrade: that is checked, and goes back.
image_here() {
  if [[ -s $state/image ]]; then
    cat "$state/image"
  else
    image_wanted
  fi
}

image_wanted() {
  local found
  found=$(aws_cli ssm get-parameter --name "$IMAGE_PARAMETER" \
    --query Parameter.Value --output text 2>/dev/null) || return 1
  [[ $found =~ ^[a-zA-Z0-9][a-zA-Z0-9._/:@-]*$ && $found != None && $found != none ]] || return 1
  echo "$found"
}
