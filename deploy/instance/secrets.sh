# shellcheck shell=bash
# Owns the secret on this machine: fetched by the instance's role into a tmpfs, at each
# boot, and TLS's certificate and key. It must not write a secret anywhere else, print
# it or make it an argument.

# The role's credentials can take a while after the instance has been made.
secret_attempts=12
secret_pause_seconds=10
# As long as a machine may live: the certificate is only ever its own.
certificate_days=3650

secrets() {
  secret_directory
  retry "$secret_attempts" "$secret_pause_seconds" fetch_secret ||
    die "the secret could not be had, so nothing is started that needs it"
  agent_rights
  volume_is_there || return 0
  tls
}

# On tmpfs also where /run is not one, as in some containers.
secret_directory() {
  install -d -m 0755 "$run"
  (umask 077 && install -d -m 0750 "$run/secrets")
  give 0:10001 "$run/secrets"
  [[ $(stat -f -c %T "$run/secrets") == tmpfs ]] ||
    warn "$run is not in memory: the secrets lie on a disk"
}

fetch_secret() {
  local problem
  # The secret goes through the pipe; what is told of a failure is stderr's alone.
  problem=$({ aws_cli secretsmanager get-secret-value --secret-id "$SECRET_ID" \
    --query SecretString --output text |
    python3 "$here/secret_files.py" "$run/secrets"; } 2>&1 >/dev/null) && return 0
  problem=$(grep -v '^ *$' <<<"$problem" | head -n 1)
  warn "$SECRET_ID: ${problem:-unknown}"
  return 1
}

# /data/tls/server.crt and server.key: the secret's where it has them, else one that
# this machine made for itself, once.
tls() {
  local certificate=$run/secrets/tls_certificate key=$run/secrets/tls_private_key
  install -d -m 0750 "$data/tls"
  give 0:10001 "$data/tls"
  if [[ -s $certificate || -s $key ]]; then
    if [[ -s $certificate && -s $key ]] && is_pair "$certificate" "$key"; then
      write "$data/tls/server.crt" 0440 0:10001 <"$certificate"
      write "$data/tls/server.key" 0440 0:10001 <"$key"
      return
    fi
    [[ -s $data/tls/server.crt && -s $data/tls/server.key ]] ||
      die "the secret's tls_certificate and tls_private_key do not belong together: mend the secret, then run $program secrets"
    warn "the secret's tls_certificate and tls_private_key do not belong together: the certificate of before stays"
    return
  fi
  if [[ ! -s $data/tls/server.crt || ! -s $data/tls/server.key ]]; then self_signed; fi
}

is_pair() {
  local ours theirs
  ours=$(openssl x509 -in "$1" -noout -pubkey 2>/dev/null) || return 1
  theirs=$(openssl pkey -in "$2" -pubout 2>/dev/null) || return 1
  [[ $ours == "$theirs" ]]
}

self_signed() {
  local names=DNS:localhost,IP:127.0.0.1 made word
  names+=",DNS:$(hostname)"
  for word in $(hostname -I 2>/dev/null || true); do names+=",IP:$word"; done
  made=$(mktemp -d "$data/tls/.new.XXXXXX")
  # shellcheck disable=SC2153  # NAME is instance.env's
  (umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 \
    -nodes -days "$certificate_days" -subj "/CN=$NAME-$ENVIRONMENT" -addext "subjectAltName=$names" \
    -keyout "$made/server.key" -out "$made/server.crt" 2>/dev/null) ||
    { rm -rf -- "$made"; die "openssl could not make a certificate"; }
  chmod 0440 "$made/server.crt" "$made/server.key"
  give 0:10001 "$made/server.crt" "$made/server.key"
  # The key first: a certificate without its key would be kept as it is.
  mv -f -- "$made/server.key" "$made/server.crt" "$data/tls/"
  rmdir -- "$made"
  say "made a certificate for $names; for one of your own put tls_certificate and tls_private_key into the secret"
}
