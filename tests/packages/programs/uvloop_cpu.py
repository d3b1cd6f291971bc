# SPDX-License-Identifier: GPL-2.0-only
# needs: uvloop
"""An event loop answers, and now and then renders an invoice in Python for 70 ms: all wait for the loop, nobody for the GIL."""
import asyncio

import uvloop
from clocks import Load, cause, computes, is_begun, is_over, run, size_for


def render_invoice(n):
    total = 0
    for i in range(n):
        total += i
    return total


turns = size_for(70, render_invoice)
render_invoice = computes(render_invoice)


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
            render_invoice(turns)


def main(): # uvloop.run() came with 0.18
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


clients = Load("echo")
cause("one_thread", "render_invoice", "MainThread")
run(6, main)
