"""The users of treadle in Redis can do what they must and nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from redis.exceptions import NoPermissionError

from tests.queue_world import World, item, loop, settle, spec, take
from treadle.errors import QueueError
from treadle.queues.acl import rules
from treadle.queues.admin import QueueAdmin

A, B = loop("a"), loop("b")


def url_of(world: World, user: str) -> str:
    """Return the server's address for a user."""
    return f"redis://{user}:secret@127.0.0.1:{urlsplit(world.url).port}"


def test_an_agents_user_runs_loops_and_can_load_no_code(world: World) -> None:
    world.command("ACL", "SETUSER", "agent", *rules("agent", world.namespace, "secret"))
    world.assign(A, B)
    host = world.host(url_of(world, "agent"))
    writer = host.open(spec(A, writes=["q"], stateful=["n"]))
    reader = host.open(spec(B, reads=["q"]))
    writer.append((), (("q", item(1)),), {("n", "x"): b"1"})
    writer.append((), (), completes=True)
    settle(writer)
    assert take(reader, "q", 1) == [1]

    client: Any = redis.Redis.from_url(url_of(world, "agent"))
    for refused in (
        *(
            ("EVAL", "return 1", 0),
            ("EVALSHA", "0", 0),
            ("SCRIPT", "FLUSH"),
            ("FUNCTION", "LIST"),
            ("FUNCTION", "FLUSH"),
        ),
        *(("CONFIG", "GET", "*"), ("ACL", "LIST"), ("KEYS", "*"), ("FLUSHALL",), ("MONITOR",), ("SAVE",)),
        *(("HGET", "{other}:meta", "id"), ("XRANGE", "{other}:q:q", "-", "+"), ("SET", world.key("x"), 1)),
        ("FCALL", "treadle_purge", 1, "{other}:meta", "{other}:", "q"),
    ):
        with pytest.raises(NoPermissionError):
            client.execute_command(*refused)
    client.close()


def test_the_controllers_user_administers_its_namespace(world: World) -> None:
    world.command("ACL", "SETUSER", "controller", *rules("controller", world.namespace, "secret"))

    async def run() -> None:
        async with QueueAdmin(url_of(world, "controller"), world.namespace) as admin:
            await admin.load_functions()
            await admin.renew_log(replace(await admin.check_server(), persistence="aof"))
            await admin.assign([(A, 1)], 1)
            await admin.enter_writers({"q": [A]}, {"q": [A]})
            await admin.scale([(A, 2)], {"q": [A]}, 1)
            await admin.slots(["q"])
            await admin.mirror({"q": b"{}"}, whole=True)
            await admin.push("q", [item(1)])
            await admin.replay("q")
            await admin.drop_dead("q")
            await admin.peek("q")
            await admin.depths(["q"])
            await admin.purge("q")
            await admin.forget(A)
            await admin.beat(1)
            await admin.delete("q")
            with pytest.raises(QueueError):
                await admin.command("FLUSHALL")
            with pytest.raises(QueueError):
                await admin.command("ACL", "SETUSER", "controller", "+@all")

    asyncio.run(run())
