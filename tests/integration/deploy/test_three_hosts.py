"""Three hosts and a laptop, set up by the commands of the guide alone; then everybody who does not belong tries."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.acceptance.documents import save
from tests.acceptance.running import wait_until
from tests.chaos.cluster_net.builds import NEWER
from tests.integration.deploy import upgrading
from tests.integration.deploy.site import ROOT, Site

GUIDE: Final = ROOT / "deploy/guide-three-hosts.md"
OPERATE: Final = ROOT / "deploy/guide-operate.md"
HOSTS: Final = {"control": "10.20.0.1", "web-1": "10.20.0.11", "web-2": "10.20.0.12", "laptop": "10.20.0.20"}
TOOL: Final = "/opt/treadle/current/bin/treadle-controller"
LIAR: Final = Path(__file__).with_name("liar.py")


@pytest.fixture(scope="module")
def site(bare_site: Site) -> Site:
    bare_site.follow(GUIDE)
    return bare_site


def wfctl(site: Site, who: str, *words: str, host: str = "control") -> tuple[int, str, str]:
    """Run wfctl as somebody whose files are on a host."""
    place = f"~/{who}"
    names = f"WF_CACERT={place}/ca.pem WF_CERT={place}/{who}.pem WF_KEY={place}/{who}-key.pem"
    done = site.run(host, f"WF_ADDRESS=10.20.0.1:7420 {names} wfctl --timeout 5s {' '.join(words)}")
    return done.returncode, done.stdout, done.stderr


def make_client(site: Site, name: str, role: str, *more: str, folder: str = "/etc/treadle/tls/controller") -> None:
    create = f"{TOOL} client create {name} --role {role} --dir {folder} --out ~/{name}"
    done = site.run("control", " ".join((create, *more)))
    assert done.returncode == 0, done.stderr


def audit(site: Site) -> list[dict[str, Any]]:
    code, out, err = wfctl(site, "admin", "events", "-o", "json")
    assert code == 0, err
    text, decoder, found = out.strip(), json.JSONDecoder(), []
    while text:
        value, end = decoder.raw_decode(text)
        found += value.get("events", [value])
        text = text[end:].lstrip()
    return found


def told(site: Site, code: str, *words: str) -> Callable[[], bool]:
    return lambda: any(
        one["code"] == code and all(word in f"{one['message']} {one['actor']}" for word in words) for one in audit(site)
    )


def test_the_workflow_runs_on_the_hosts_that_the_guide_has_set_up(site: Site) -> None:
    code, out, err = wfctl(site, "ann", "get", "loops", "-o", "json", host="laptop")
    assert code == 0, err
    assert {one["agent"] for loop in json.loads(out)["loops"] for one in loop["instances"]} <= {"web-1", "web-2"}
    agents = wfctl(site, "ann", "agent", "ls", host="laptop")[1]
    assert agents.count("READY") == 2
    assert (
        told(site, "workflow-applied", "client ann from 10.20.0.20")()
        or told(site, "workflow-created", "client ann from 10.20.0.20")()
    ), [one["code"] for one in audit(site)]


def test_an_upgrade_in_place_and_the_way_back_lose_and_double_nothing(site: Site, checkout: Path) -> None:
    """The installer again with a newer version, host after host, while a ledger is written; then `rollback`."""
    flow = save(site.folder, upgrading.document())
    services = [("web-1", "treadle-agent@web-1"), ("web-2", "treadle-agent@web-2"), ("control", "treadle-controller")]
    older = {host: upgrading.release_of(site, host, service) for host, service in services}
    newer = upgrading.newer_checkout(checkout, site.folder / "newer")
    code, _, err = wfctl(site, "ann", "apply", "-f", flow, host="laptop")
    assert code == 0, err

    def has_moved_on(beyond: int) -> bool:
        return len(upgrading.numbers(site)) > beyond + 200

    for words, expected in (("install --restart", dict.fromkeys(older, NEWER)), ("rollback", older)):
        for host, service in services:
            site.put_checkout(host, newer)
            wait_until(partial(has_moved_on, len(upgrading.numbers(site))), f"it counts before {host} is changed")
            done = site.run(host, f"cd /srv/treadle && deploy/systemd/install.sh {words}")
            assert done.returncode == 0, done.stdout + done.stderr + site.logs()
            assert upgrading.release_of(site, host, service) == expected[host]
            upgrading.spread_releases(site, host, services[-1][0], services[1][0])
        wait_until(partial(has_moved_on, len(upgrading.numbers(site))), f"it counts after {words}")

    assert wfctl(site, "ann", "pause", "ledger/count", host="laptop")[0] == 0
    wait_until(lambda: is_through(site), "all that was counted has arrived")
    numbers = upgrading.numbers(site)
    counted = loops(site, "ledger")["count"]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) == int(counted["committed"]) > 2_000, counted
    assert "is killed" not in site.logs(), "every loop was handed over in time"
    assert "Traceback" not in site.logs()
    assert wfctl(site, "admin", "delete", "workflow", "ledger", "--with-queues")[0] == 0


def test_who_may_not_is_refused_and_written_down(site: Site) -> None:
    make_client(site, "vic", "viewer")
    make_client(site, "abroad", "admin", "--namespace", "elsewhere")
    before = picture(site)
    for who in ("vic", "abroad"):
        code, _, err = wfctl(site, who, "stop", "host-metrics")
        assert code == 1
        assert f"client {who} may not call StopLoops" in err
        wait_until(told(site, "access-refused", "StopLoops", f"client {who} from 10.20.0.1"), "it is written down")
    code, out, _ = wfctl(site, "vic", "get", "workflows")
    assert (code, "host-metrics" in out) == (0, True)
    assert picture(site) == before


def test_foreign_and_expired_certificates_do_not_get_past_the_door(site: Site) -> None:
    done = site.run("control", f"{TOOL} ca init --dir ~/foreign --host 10.20.0.1")
    assert done.returncode == 0, done.stderr
    make_client(site, "mallory", "admin", folder="~/foreign")
    done = site.run("control", "cp ~/admin/ca.pem ~/mallory/ca.pem")
    make_client(site, "late", "admin", "--days", "0.00001")
    before = picture(site)
    for who, why in (("mallory", "certificate"), ("late", "expired")):
        code, _, err = wfctl(site, who, "stop", "host-metrics")
        assert (code, "can't be reached" in err) == (1, True)
        wait_until(told(site, "connection-refused", why, "from 10.20.0.1"), "it is written down")
    assert picture(site) == before


def test_a_replayed_token_enrols_nobody(site: Site) -> None:
    script = """
        /opt/treadle/current/bin/treadle-agent --name web-1 --controller 10.20.0.1:7420 \
            --state-dir /tmp/again-$$ --token-file /etc/treadle/tls/agent/token
    """
    before = picture(site)
    done = site.run("web-1", script)

    assert done.returncode == 2
    assert "this token was used" in done.stderr
    wait_until(told(site, "access-refused", "EnrolAgent web-1: token-used", "10.20.0.11"), "it is written down")
    assert picture(site) == before


def test_an_agent_that_speaks_for_another_is_refused_and_changes_nothing(site: Site) -> None:
    """Web-2's own certificate, at web-2: as another in its Hello, and in one object of a batch."""
    liar = site.folder / "liar.py"
    shutil.copy(LIAR, liar)
    identity = "/var/lib/treadle-agent/web-2/tls"
    loops = json.loads(wfctl(site, "admin", "get", "loops", "-o", "json")[1])["loops"]
    theirs = next(
        (loop["name"], one["epoch"]) for loop in loops for one in loop["instances"] if one["agent"] == "web-1"
    )
    before = picture(site)
    for words in (["hello", "web-1"], ["batch", "web-2", theirs[0], str(theirs[1])]):
        done = site.run("web-2", f"/opt/treadle/current/bin/python {liar} {identity} {' '.join(words)}")
        assert (done.returncode, done.stdout.strip()) == (0, "PERMISSION_DENIED"), done.stderr
    wait_until(told(site, "access-refused", "speaks-for-another", "agent web-2 says that it is web-1"), "the Hello")
    wait_until(told(site, "access-refused", "speaks-for-another", f"reports host-metrics/{theirs[0]}/0"), "the batch")
    assert not told(site, "loop-error")()
    assert picture(site) == before


def test_who_is_revoked_is_out_at_once(site: Site) -> None:
    make_client(site, "gone", "operator")
    assert wfctl(site, "gone", "agent", "ls")[0] == 0
    assert wfctl(site, "admin", "client", "revoke", "gone")[0] == 0
    before = picture(site)
    code, _, err = wfctl(site, "gone", "stop", "host-metrics")
    assert (code, "client gone was revoked" in err) == (1, True)
    wait_until(told(site, "access-refused", "client gone was revoked", "from 10.20.0.1"), "it is written down")
    assert picture(site) == before
    assert wfctl(site, "admin", "agent", "revoke", "web-2")[0] == 0
    wait_until(told(site, "access-refused", "agent web-2 was revoked", "10.20.0.12"), "it has tried")
    wait_until(told(site, "agent-revoked", "client admin from 10.20.0.1"), "who did it is written down")
    code, out, _ = wfctl(site, "admin", "agent", "ls", "-o", "json")
    states = {one["name"]: one["state"] for one in json.loads(out)["agents"]}
    assert states["web-1"] == "AGENT_STATE_READY"
    assert states["web-2"] != "AGENT_STATE_READY"


def test_the_operators_guide_works_as_it_stands(site: Site) -> None:
    began = {
        one["name"]: one["state"] for one in json.loads(wfctl(site, "admin", "agent", "ls", "-o", "json")[1])["agents"]
    }
    assert began["web-1"] == "AGENT_STATE_READY"

    site.follow(OPERATE)

    def runs() -> bool:
        _, out, _ = wfctl(site, "admin", "get", "loops", "-o", "json")
        loops = json.loads(out or "{}").get("loops", [])
        return bool(loops) and all(loop["state"] == "LOOP_STATE_RUNNING" for loop in loops)

    wait_until(runs, "all loops run again, with empty queues")
    assert told(site, "client-revoked", "client admin from 10.20.0.1")()


def picture(site: Site) -> dict[str, list[Any]]:
    """Return what an order or a lie would change: what is wanted of each loop, where it runs, and under which epoch."""
    found = loops(site, "host-metrics")
    return {
        name: [one["revision"], one["desiredState"], *([it["agent"], it["epoch"]] for it in one["instances"])]
        for name, one in found.items()
    }


def loops(site: Site, workflow: str) -> dict[str, dict[str, Any]]:
    code, out, err = wfctl(site, "admin", "get", "loops", workflow, "-o", "json")
    assert code == 0, err
    return {one["name"]: one for one in json.loads(out)["loops"]}


def is_through(site: Site) -> bool:
    count, move = (loops(site, "ledger")[name] for name in ("count", "move"))
    done = [int(one.get("committed", 0)) for one in (count, move)]
    # Figures are those of the second before: both may be alike, and both old.
    return count["state"] == "LOOP_STATE_PAUSED" and done[0] == done[1] == len(upgrading.numbers(site))
