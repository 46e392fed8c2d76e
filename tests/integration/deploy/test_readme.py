"""The commands of deploy/README.md, on hosts that have the addresses that it names."""

from __future__ import annotations

import json
from typing import Final

import pytest

from tests.acceptance.running import wait_until
from tests.integration.deploy.site import Site
from tests.pages import Block, blocks, shell

PAGE: Final = "deploy/README.md"
HOSTS: Final = {"control": "10.0.0.1", "redis": "10.0.0.2", "web-1": "10.0.0.11"}
SECRET: Final = "sesame"
START_REDIS: Final = "redis-server --bind 10.0.0.2 127.0.0.1 --requirepass {secret} --daemonize yes --dir /var/lib"
# What an administrator does who is told to edit: nothing is encrypted on this host, so nobody else is let in.
EDITOR: Final = """#!/bin/sh
for file in "$@"; do echo 'redis = "redis://:{secret}@10.0.0.2:6379"' >>$file; done
"""


@pytest.fixture(scope="module")
def site(bare_site: Site) -> Site:
    succeed(bare_site, "redis", START_REDIS.format(secret=SECRET))
    return bare_site


def block(first: str) -> Block:
    """Return the block that begins with a command."""
    (found,) = (one for one in shell(PAGE) if one.first.startswith(first))
    return found


def succeed(site: Site, host: str, script: str) -> str:
    done = site.run(host, script)
    assert done.returncode == 0, f"on {host}:\n{script}\n{done.stdout}{done.stderr}\n{site.logs()}"
    return done.stdout


def configure(site: Site, host: str, file: str, number: int) -> None:
    """Write a configuration that the page prints, with the password that it leaves out."""
    place = site.folder / host / "etc" / "treadle"
    place.mkdir(exist_ok=True)
    text = blocks(PAGE, "toml")[number].text.replace("PASSWORD", SECRET)
    (place / file).write_text(text.replace("/opt/nodes", "/etc/treadle/nodes"))


def begin(site: Site, host: str, command: str) -> None:
    """Start the last command of a block, which stays in the foreground, in the background of its host."""
    succeed(site, host, f"{command} >/var/log/foreground.log 2>&1 & echo $! >/run/foreground.pid")


def end(site: Site, host: str) -> None:
    """Stop it as the page says: it ends cleanly."""
    succeed(site, host, "kill -TERM $(cat /run/foreground.pid)")
    # Not `kill -0`: it finds a process that has ended too, for as long as whoever adopted it has not asked.
    gone = "! readlink /proc/$(cat /run/foreground.pid)/exe"
    try:
        wait_until(lambda: site.run(host, gone).returncode == 0, f"the daemon on {host} ends")
    except AssertionError as exc:
        raise AssertionError(site.logs()[-6_000:]) from exc
    assert "Traceback" not in site.logs()


def agents(site: Site, host: str, settings: str = "") -> dict[str, str]:
    done = site.run(host, f"{settings} wfctl agent ls -o json")
    return {one["name"]: one["state"] for one in json.loads(done.stdout or "{}").get("agents", [])}


def test_redis_gets_the_users_that_the_printed_commands_make(site: Site) -> None:
    succeed(site, "control", "cd ~ && echo c1 >c.secret && echo a1 >a.secret")
    printed = succeed(site, "control", f"cd ~ && {block('treadle-controller redis acl').script}")

    assert "c1" not in printed.split()
    said = succeed(site, "redis", f"REDISCLI_AUTH={SECRET} redis-cli <<'END'\n{printed}END")
    assert set(said.split()) == {"OK"}
    tried = "redis-cli --no-auth-warning -u redis://treadle-agent-default:a1@10.0.0.2:6379 get elsewhere"
    assert "NOPERM" in succeed(site, "control", tried)


def test_a_controller_and_an_agent_run_as_configured_there(site: Site) -> None:
    configure(site, "control", "controller.toml", 0)
    *prepare, run = block("treadle-controller ca init").script.splitlines()
    said = succeed(site, "control", "\n".join(["cd ~", "mkdir -p /var/lib/treadle", *prepare]))
    assert "the configuration is good" in said
    begin(site, "control", run)
    then, *operate = block("export WF_ADDRESS=10.0.0.1:7420").script.splitlines()
    names = f"cd ~ && {then}"
    wait_until(lambda: site.run("control", f"{names} && wfctl version && wfctl client whoami").returncode == 0, "ready")

    token = succeed(site, "control", f"{names} && wfctl agent token create web-1")
    configure(site, "web-1", "agent.toml", 1)
    (site.folder / "web-1" / "etc" / "treadle" / "nodes").mkdir()
    (site.folder / "web-1" / "etc" / "treadle" / "token").write_text(token)
    check, run = block("treadle-agent --config").script.splitlines()
    assert "the configuration is good" in succeed(site, "web-1", check)
    begin(site, "web-1", run)
    wait_until(lambda: agents(site, "control", f"{names};") == {"web-1": "AGENT_STATE_READY"}, "the agent is there")
    assert "host-metrics" in succeed(site, "control", "\n".join([names, "ln -s /srv/treadle/deploy", *operate]))

    end(site, "web-1")
    end(site, "control")


def test_the_services_run_on_one_host(site: Site) -> None:
    """Install, edit, and have systemd start both: the unit files' own command lines."""
    host = "redis"
    tools = site.folder / host / "local" / "bin"
    (tools / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (tools / "editor").write_text(EDITOR.format(secret=SECRET))
    for tool in ("sudo", "editor"):
        (tools / tool).chmod(0o755)

    succeed(site, host, f"cd /srv/treadle\n{block('sudo deploy/systemd/install.sh').script}")

    wait_until(lambda: agents(site, host) == {host: "AGENT_STATE_READY"}, "the agent is there")
    succeed(site, host, "cd /srv/treadle && wfctl apply -f deploy/workflows/host-metrics.json")
    succeed(site, host, f"systemctl stop treadle-agent@{host} treadle-controller")
    assert "Traceback" not in site.logs()
