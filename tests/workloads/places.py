# SPDX-License-Identifier: GPL-2.0-only
"""usage: places.py

A hog holds the GIL for 30 ms in code of all kinds, while a victim waits for it: 40 calls deep, in a generator, a coroutine, a
lambda, a method of a class in a zipped module and others. Each place calls the sleep that holds and the one that lets go in one
line. Truth of the hog: `places`, a list of {function, file, line, hold_low_ns}; functions are qualified where code objects know it
(3.11 and later).
"""
import asyncio
import os
import sys
import tempfile
import time
import zipfile

import workload
from workload import END, START, drop, keep

MS = 1000000
HOLD, GAP = 30 * MS, 1 * MS
places, done, out, tids = [], [], [], []


def await_blocked():
    while not out:
        drop.nap(1 * MS) # at the gate it is blocked, too
    while not keep.in_futex(tids[0]):
        keep.nap(50000)


def note():
    """Of the caller: the next line is its place."""
    await_blocked()
    frame = sys._getframe(1)
    code = frame.f_code
    places.append({"function": getattr(code, "co_qualname", code.co_name), "file": code.co_filename,
                   "line": frame.f_lineno + 1, "hold_low_ns": HOLD})


def forty(depth=40):
    if depth:
        return forty(depth - 1)
    note()
    keep.nap(HOLD), drop.nap(GAP)


def numbers():
    yield 1
    note()
    keep.nap(HOLD), drop.nap(GAP)
    yield 2


def in_generator():
    sum(numbers())


async def inner():
    await asyncio.sleep(0)
    note()
    keep.nap(HOLD), drop.nap(GAP)


async def outer():
    await inner()


def in_coroutine():
    asyncio.new_event_loop().run_until_complete(outer())


def in_lambda():
    (lambda: (
        note(),
        keep.nap(HOLD), drop.nap(GAP),
    ))()


class Service:
    def handle(self):
        sorted([1], key=self.key)

    def key(self, _):
        note()
        keep.nap(HOLD), drop.nap(GAP)

    class Nested:
        def __call__(self):
            note()
            keep.nap(HOLD), drop.nap(GAP)


def in_class_body():
    class Body:
        note()
        keep.nap(HOLD), drop.nap(GAP)


def zipped():
    directory = tempfile.mkdtemp()
    path = os.path.join(directory, "archive.zip")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("zipped_module.py", "class InZip:\n    def method(self, note, keep, drop, hold, gap):\n"
                                             "        note()\n        keep.nap(hold), drop.nap(gap)\n")
    sys.path.insert(0, path)
    import zipped_module
    os.unlink(path)
    os.rmdir(directory)
    return lambda: zipped_module.InZip().method(note, keep, drop, HOLD, GAP)


def made_of_text(name, filename):
    space = {}
    exec(compile("def %s(note, keep, drop, hold, gap):\n    note()\n    keep.nap(hold), drop.nap(gap)\n" % name, filename,
                 "exec"), space)
    return lambda: space[name](note, keep, drop, HOLD, GAP)


BODIES = [forty, in_generator, in_coroutine, in_lambda, Service().handle, Service.Nested(), in_class_body, zipped(),
          made_of_text("\u03b1\u03b2\u03b3", "\u03b4.py")]


def hog():
    drop.gate_wait(START)
    for body in BODIES:
        body()
    done.append(1)
    drop.gate_wait(END)


def victim():
    drop.gate_wait(START)
    out.append(1)
    while not done:
        drop.nap(GAP)
    drop.gate_wait(END)


workload.never_force()
time.sleep(0)
threads = [workload.start_thread("hog", hog), workload.start_thread("victim", victim)]
tids.append(threads[1].tid)
begin, end = workload.run_gated(2)
workload.report(begin, end, [{"tid": threads[0].tid, "name": "hog", "places": places},
                             {"tid": threads[1].tid, "name": "victim"}])
