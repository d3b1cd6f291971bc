# SPDX-License-Identifier: GPL-2.0-only
# needs: orjson
"""Serializes for 10 ms in C, then writes a byte: who writes lets go of the GIL, and is not to be blamed for what went before."""
import os

import orjson
from clocks import cause, keeps, pause, releases, run, size_for, thread

rows = [{"id": i, "name": "item %d" % i, "price": i * 1.25} for i in range(200000)]
rows = rows[:size_for(10, lambda n: orjson.dumps(rows[:n]))]
null = os.open(os.devnull, os.O_WRONLY)


def serialize():
    return orjson.dumps(rows)


def send(data):
    os.write(null, b"x")


serialize, send = keeps(serialize), releases(send)


def work():
    send(serialize())
    pause(0.005)


def beat():
    pause(0.002)


thread("work", work)
thread("beat", beat)
cause("long_hold", "serialize", "work")
run(6)
