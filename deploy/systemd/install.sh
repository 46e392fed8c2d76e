#!/bin/sh
# Installs treadle's services on this host, brings them up to date, goes back one version, or takes them away again.
#
#   deploy/systemd/install.sh install             programs, units, users; keeps your configuration; can be repeated
#   deploy/systemd/install.sh install --restart   and restarts what runs, agents first to be handed over one by one
#   deploy/systemd/install.sh rollback            to the version before, as often as you like: the two take turns
#   deploy/systemd/install.sh uninstall           services and programs; keeps configuration and state
#   deploy/systemd/install.sh uninstall --purge   these too, and the users
#
# DESTDIR=/some/root writes below that folder and leaves this host's systemd alone. PYTHON= names the interpreter.
set -eu
umask 022

DESTDIR=${DESTDIR:-}
PYTHON=${PYTHON:-python3}
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)
opt=$DESTDIR/opt/treadle
etc=$DESTDIR/etc
units="treadle-controller.service treadle-agent@.service"

say() { echo "install.sh: $*"; }
fail() { echo "install.sh: $*" >&2; exit 1; }
usage() { sed -n 's/^#   //p' "$0"; }

# Whether this is the running host, and not a folder that becomes one later.
live() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

need() {
  [ -n "$DESTDIR" ] || [ "$(id -u)" = 0 ] || fail "run it as root"
  for program in systemd-sysusers systemd-tmpfiles; do
    command -v "$program" >/dev/null || fail "$program is missing: these are services for systemd"
  done
}

interpreter() {
  python=$(command -v "$PYTHON") || fail "there is no $PYTHON; install Python 3.11 or newer, or set PYTHON="
  python=$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable) if sys.version_info >= (3, 11) else "")')
  case $python in
    '') fail "$PYTHON is older than 3.11; set PYTHON=" ;;
    /root/* | /home/*) fail "$python is out of the services' sight (ProtectHome=yes); set PYTHON=/usr/bin/python3" ;;
  esac
}

find_uv() {
  for uv in "${UV:-}" "$source/.venv/bin/uv" "$(command -v uv || true)"; do
    if [ -n "$uv" ] && [ -x "$uv" ]; then return; fi
  done
  uv=$opt/uv/bin/uv
  [ -x "$uv" ] || { "$python" -m venv "$opt/uv" && "$opt/uv/bin/python" -m pip install --quiet --disable-pip-version-check uv; }
}

# Versions are told apart by what they are made of, so that the same one is never installed twice.
release_name() {
  version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$source/pyproject.toml")
  digest=$(cd "$source" && find pyproject.toml uv.lock agent controller -type f ! -name '*.py[co]' -print0 |
    LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12)
  echo "$version-$digest"
}

# A version is a folder; the one in use is a link, changed in one step. What still runs keeps the folder that it began in.
install_programs() {
  release=$(release_name)
  folder=$opt/releases/$release
  if [ ! -e "$folder/.complete" ]; then
    interpreter
    mkdir -p "$opt/releases"
    rm -rf "$folder"
    find_uv
    "$uv" venv --quiet --relocatable --python "$python" "$folder"
    UV_PROJECT_ENVIRONMENT=$folder UV_LINK_MODE=${UV_LINK_MODE:-copy} UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never \
      "$uv" sync --quiet --frozen --inexact --no-default-groups --no-editable --python "$folder/bin/python" --project "$source"
    : >"$folder/.complete"
  fi
  now=$(readlink "$opt/current" || true)
  if [ "$now" = "releases/$release" ]; then
    say "$release is in use already"
    return
  fi
  if [ -n "$now" ]; then point previous "$now"; fi
  point current "releases/$release"
  say "$release is in use now"
  drop_old_releases
}

point() {
  ln -sfn "$2" "$opt/$1.new"
  mv -T "$opt/$1.new" "$opt/$1"
}

drop_old_releases() {
  for folder in "$opt"/releases/*; do
    release=releases/${folder##*/}
    if [ "$release" = "$(readlink "$opt/current")" ] || [ "$release" = "$(readlink "$opt/previous" || true)" ]; then
      continue
    fi
    is_running "$release" || rm -rf "$folder"
  done
}

# Whether a process still runs a version. The name comes by stdin: as an argument, grep would find itself.
is_running() { echo "/opt/treadle/$1/" | grep -qsF --file=- /proc/[0-9]*/cmdline; }

put() {
  cmp -s "$1" "$2" || install -D -m 644 "$1" "$2"
}

install_files() {
  for unit in $units; do put "$here/$unit" "$etc/systemd/system/$unit"; done
  put "$here/sysusers.conf" "$etc/sysusers.d/treadle.conf"
  put "$here/tmpfiles.conf" "$etc/tmpfiles.d/treadle.conf"
  systemd-sysusers ${DESTDIR:+--root="$DESTDIR"} treadle.conf
  systemd-tmpfiles ${DESTDIR:+--root="$DESTDIR"} --create treadle.conf
  for file in controller.toml agent.toml; do
    [ -e "$etc/treadle/$file" ] || install -m 600 "$here/$file" "$etc/treadle/$file"
  done
  mkdir -p "$DESTDIR/usr/local/bin"
  ln -sfn /opt/treadle/current/bin/wfctl "$DESTDIR/usr/local/bin/wfctl"
  if live; then systemctl daemon-reload; fi
}

# Each agent hands its loops over before it ends, and is back before the next one goes. Loops don't need the controller.
restart() {
  live || return 0
  systemctl list-units --plain --no-legend --state=active 'treadle-agent@*' | while read -r unit _; do
    say "restarting $unit"
    systemctl restart "$unit"
  done
  systemctl try-restart treadle-controller.service
}

hint() {
  live || return 0
  say "edit /etc/treadle/controller.toml and agent.toml, then:"
  say "  systemctl enable --now treadle-controller         on one host"
  say "  systemctl enable --now treadle-agent@$(uname -n)   on every host that runs loops"
}

go_back() {
  before=$(readlink "$opt/previous") || fail "there is no version to go back to"
  point previous "$(readlink "$opt/current")"
  point current "$before"
  say "${before##*/} is in use now"
  restart
}

uninstall() {
  if live; then
    systemctl list-units --all --plain --no-legend 'treadle-*' | while read -r unit _; do
      systemctl disable --now "$unit" || say "$unit could not be stopped"
    done
  fi
  for unit in $units; do rm -rf "$etc/systemd/system/$unit" "$etc/systemd/system/$unit.d"; done
  rm -rf "$opt"
  rm -f "$etc/sysusers.d/treadle.conf" "$etc/tmpfiles.d/treadle.conf"
  if [ -L "$DESTDIR/usr/local/bin/wfctl" ]; then rm -f "$DESTDIR/usr/local/bin/wfctl"; fi
  if live; then systemctl daemon-reload; fi
  if [ "${1:-}" = --purge ]; then purge; else say "kept: /etc/treadle, /var/lib/treadle, /var/lib/treadle-agent"; fi
}

purge() {
  rm -rf "$etc/treadle" "$DESTDIR/var/lib/treadle" "$DESTDIR/var/lib/treadle-agent"
  if [ -n "$DESTDIR" ]; then return; fi
  for user in treadle-controller treadle-agent; do
    if id "$user" >/dev/null 2>&1; then userdel "$user"; fi
  done
}

case "${1:-} ${2:-}" in
  'install ')
    need
    install_programs
    install_files
    hint
    ;;
  'install --restart')
    need
    install_programs
    install_files
    restart
    ;;
  'rollback ')
    need
    go_back
    ;;
  'uninstall ' | 'uninstall --purge')
    need
    uninstall "${2:-}"
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac
