#!/bin/sh
# Writes ./secrets: the configuration of Valkey, controller and agents, with one new password in all three. What is
# there already stays. The folder is closed to others; the files in it are not, because the users of the containers,
# who are not you, read them through the mounts. Keys and certificates are made where they are used, by the containers.
set -eu
cd "$(dirname "$0")"

mkdir -p secrets
chmod 700 secrets
if [ -e secrets/valkey.conf ]; then
  echo "make-secrets.sh: secrets/ is there already; remove it to get new ones" >&2
  exit 0
fi
password=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')

cat >secrets/controller.toml <<END
listen = "0.0.0.0:7420"
http_listen = "0.0.0.0:7421"
store = "sqlite:////var/lib/treadle/controller.db"
tls_cert = "/var/lib/treadle/tls/cert.pem"
tls_key = "/var/lib/treadle/tls/key.pem"
tls_client_ca = "/var/lib/treadle/tls/ca.pem"
tls_ca_key = "/var/lib/treadle/tls/ca-key.pem"
redis = "redis://:$password@valkey:6379/0"
END

cat >secrets/agent.toml <<END
controllers = ["controller:7420"]
redis = "redis://:$password@valkey:6379/0"
state_dir = "/var/lib/treadle-agent"
token_file = "/var/lib/treadle-agent/token"
log_format = "json"
END

# Queues are not a cache: nothing is ever evicted, and what was acknowledged a second ago survives a crash.
cat >secrets/valkey.conf <<END
requirepass $password
bind 0.0.0.0
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
END
chmod 644 secrets/*
