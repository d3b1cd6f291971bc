# SPDX-License-Identifier: GPL-2.0-only
# needs: orjson
"""A C call of 6 ms, then a trivial function in Python, then it lets go: whose is the hold?"""
import orjson
from clocks import cause, keeps, pause, run, size_for, thread


def document(n):
    return [{"id": i, "name": "item %d" % i, "price": i * 1.25} for i in range(n)]


def serialize():
    return orjson.dumps(rows)


def note_done(data):
    return None


def work():
    data = serialize()
    note_done(data)
    del data
    pause(0.02)


def beat():
    pause(0.001)


most = document(200000)
rows = most[:size_for(6, lambda n: orjson.dumps(most[:n]))]
serialize = keeps(serialize)
thread("work", work)
thread("beat", beat)
cause("long_hold", "serialize", "work")
run(6)
