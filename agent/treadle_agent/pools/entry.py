"""The first steps of every child after its fork, and the way to its role."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import sys
from pathlib import Path

from treadle_agent.page import Page
from treadle_agent.pools import asyncio_host, catalog_child, limits, loop_process, secrets, thread_host
from treadle_agent.pools.channel import Channel
from treadle_agent.setup import MARKER, SHOW_STACK, Setup


def run(setup: Setup, channel_fd: int, page_fd: int, faults_fd: int, output_fd: int) -> int:
    """Become the child that was asked for; return its exit code."""
    os.setsid()  # also a new process group: a signal to it reaches what user code starts
    os.environ[MARKER] = setup.marker
    Path("/proc/self/comm").write_text(f"treadle:{setup.role}")  # what `ps` and `top` show
    _redirect(output_fd)
    for fd in (channel_fd, page_fd, faults_fd):
        os.set_inheritable(fd, False)
    # What kills this process, or keeps Python from running in it, leaves the stack of the thread that did it.
    faulthandler.enable(faults_fd, all_threads=False)
    faulthandler.register(SHOW_STACK, faults_fd, all_threads=False)
    logging.getLogger().setLevel(setup.log_level.upper())
    limits.open_files(setup.open_files)
    secrets.install(setup)
    channel = Channel(channel_fd)
    page = Page(page_fd)
    try:
        match setup.role:
            case "catalog":
                return catalog_child.run(setup, channel, pid=os.getpid())
            case "thread":
                return thread_host.run(setup, channel, page)
            case "asyncio":
                return asyncio_host.run(setup, channel, page)
            case "process":
                return loop_process.run(setup, channel, page)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # user code may have closed it
                stream.flush()


def _redirect(output_fd: int) -> None:
    """Read nothing, and print, line by line, to the supervisor."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(output_fd, 1)
    os.dup2(output_fd, 2)
    for fd in {nothing, output_fd} - {0, 1, 2}:
        os.close(fd)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
