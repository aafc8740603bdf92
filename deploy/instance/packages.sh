# shellcheck shell=bash
# Owns what is installed on the machine, from where, and the stack's files. All that
# depends on the distribution is in install_packages.

# Amazon Linux 2023 has no package of Docker Compose, so it is a release of its own,
# checked. The sums are those that Docker's official image docker:29 checks its own copy
# by (docker-library/docker, docker-library/repo-info), per architecture.
compose_version=2.40.3
declare -A compose_sha256=(
  [x86_64]=dba9d98e1ba5bfe11d88c99b9bd32fc4a0624a30fafe68eea34d61a3e42fd372
  [aarch64]=d26373b19e89160546d15407516cc59f453030d9bc5b43ba7faf16f7b4980137
)
compose_plugin=/usr/local/lib/docker/cli-plugins/docker-compose

# Amazon Linux 2023. Its repositories are versioned: the AMI says which packages these
# are, and nothing is updated at boot. awscli, python3 and systemd are there.
install_packages() {
  local wanted=(docker amazon-cloudwatch-agent acl e2fsprogs openssl)
  rpm -q --quiet "${wanted[@]}" ||
    retry 5 15 dnf install -y -q "${wanted[@]}" ||
    die "dnf could not install ${wanted[*]}: is there a way to Amazon's repositories (NAT, or the S3 endpoint)?"
  install_compose
  systemctl enable --now docker.service
}

install_compose() {
  local machine sum
  machine=$(uname -m)
  sum=${compose_sha256[$machine]:-}
  [[ -n $sum ]] || die "no checksum of Docker Compose for $machine"
  ! has_sum "$sum" "$compose_plugin" || return 0
  install -d -m 0755 "${compose_plugin%/*}"
  retry 5 15 download_compose "docker-compose-linux-$machine" "$sum" ||
    die "Docker Compose $compose_version could not be had, or has another SHA-256 than $sum: upload it as s3://$STACK_BUCKET/stack/tools/docker-compose-linux-$machine, then run user data again"
}

# From the stack's files where somebody has put it there, for machines without a way out.
download_compose() {
  local name=$1 sum=$2 new=$compose_plugin.new
  local url=https://github.com/docker/compose/releases/download/v$compose_version/$name
  cp -- "$opt/tools/$name" "$new" 2>/dev/null ||
    curl -fsSL --proto '=https' --max-time 300 -o "$new" "$url" || return 1
  has_sum "$sum" "$new" || { rm -f -- "$new"; return 1; }
  chmod 0755 "$new"
  mv -f -- "$new" "$compose_plugin"
}

has_sum() {
  [[ -f $2 ]] && printf '%s  %s\n' "$1" "$2" | sha256sum --check --status
}

# Copies the stack's files and only then puts them in place; what was there stays beside
# it for a roll-back. Not done by a reboot: that runs what ran.
fetch() {
  local new=$opt.new problem
  rm -rf -- "$new"
  problem=$(aws_cli s3 sync --only-show-errors "s3://$STACK_BUCKET/stack/" "$new/" 2>&1) ||
    { warn "the stack's files could not be copied from s3://$STACK_BUCKET/stack/: ${problem##*$'\n'}"; return 1; }
  [[ -s $new/instance/penstock-instance && -s $new/compose/compose.yaml ]] ||
    { warn "s3://$STACK_BUCKET/stack/ holds no stack: apply Terraform again"; return 1; }
  chmod 0755 "$new/instance/penstock-instance"
  put_in_place "$new"
}

put_in_place() {
  rm -rf -- "$opt.previous" || return 1
  [[ ! -d $opt ]] || mv -T -- "$opt" "$opt.previous" || return 1
  mv -T -- "$1" "$opt"
}

# The agent comes with a user of its own, and its configuration says to run as that. A
# machine without it still stores logs, so it is a warning.
start_agent() {
  local control=/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl said
  if said=$(bash "$opt/cloudwatch/configure-agent" 2>&1); then
    said=$("$control" -a fetch-config -m ec2 -s -c "file:$said" 2>&1) && return 0
  fi
  warn "the CloudWatch agent does not start, so its metrics and logs are missing: ${said##*$'\n'}"
}

# What the agent may read has been made anew: the token, a container's log.
agent_rights() {
  [[ -r $opt/cloudwatch/configure-agent ]] && id -u cwagent >/dev/null 2>&1 || return 0
  local said
  said=$(bash "$opt/cloudwatch/configure-agent" rights 2>&1) ||
    warn "the CloudWatch agent may not read all that it should: ${said##*$'\n'}"
}

# What is enabled starts by itself from now on; the timers at once.
install_units() {
  local timers=(penstock-watchdog.timer) services=(penstock-volume.service penstock-secrets.service penstock-stack.service)
  timers+=(penstock-backup.timer penstock-backup-verify.timer)
  [[ $DATABASE != docker ]] || timers+=(penstock-backup-base.timer)
  [[ $VARIANT != receivers ]] || services+=(penstock-spot.service)
  install -m 0644 -t "$units" "$opt"/systemd/instance/*.service "$opt"/systemd/instance/*.timer
  systemctl daemon-reload
  systemctl enable -q "${services[@]}" "${timers[@]}"
  systemctl start "${timers[@]}"
  [[ $VARIANT != receivers ]] || systemctl restart --no-block penstock-spot.service
}
