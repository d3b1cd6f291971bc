# SPDX-License-Identifier: GPL-2.0-only
# needs: uvloop
"""An event loop that answers, and calls a library that sleeps for 120 ms with the GIL."""
import asyncio

import uvloop
from clocks import Load, cause, is_begun, is_over, keep, run, sleeps


@sleeps(0.12)
def legacy_lookup():
    keep.nap(120000000)


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def serve():
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    clients.address = server.sockets[0].getsockname()[1]
    while not is_over():
        await asyncio.sleep(0.2)
        if is_begun() and not is_over():
            legacy_lookup()


def main(): # uvloop.run() came with 0.18
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


clients = Load("echo")
cause("blocked_hold", "legacy_lookup", "MainThread")
run(6, main)
