#!/bin/sh
# Writes ./secrets: the configuration of Valkey, controller and agents, with one new password in all three. What is
# there already stays. The folder is closed to others; the files in it are not, because the users of the containers,
# who are not you, read them through the mounts.
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
insecure = true
store = "sqlite:////var/lib/treadle/controller.db"
redis = "redis://:$password@valkey:6379/0"
END

cat >secrets/agent.toml <<END
controllers = ["controller:7420"]
insecure = true
redis = "redis://:$password@valkey:6379/0"
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
