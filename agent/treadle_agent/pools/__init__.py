"""The only processes with user code: thread host, asyncio host, loop process, catalog child."""
