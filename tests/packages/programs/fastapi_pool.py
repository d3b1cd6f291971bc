# SPDX-License-Identifier: GPL-2.0-only
# needs: fastapi uvicorn
"""FastAPI under uvicorn: handlers that are no coroutines run in a pool of threads, and compute in Python there."""
import socket

import fastapi
import uvicorn
from clocks import Load, cause, computes, is_over, run, size_for


def summarize(n):
    total = 0
    for i in range(n):
        total += i % 3
    return total


turns = size_for(12, summarize)
summarize = computes(summarize)
app = fastapi.FastAPI()


@app.get("/")
def index():
    return {"total": summarize(turns)}


class Server(uvicorn.Server):
    async def on_tick(self, counter):
        return is_over() or await super().on_tick(counter)


def serve():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    clients.address = listener.getsockname()[1]
    Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])


clients = Load("http")
cause("cpu_sharing", "summarize", "AnyIO worker thread*")
run(6, serve)
