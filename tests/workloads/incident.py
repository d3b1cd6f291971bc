# SPDX-License-Identifier: GPL-2.0-only
"""usage: incident.py KIND

A service with one known fault, or none; it goes on until it is killed. Written as applications are: no helper of the tests is called
where the time goes. Threads api-0..3 serve requests that need the GIL for moments, unless the kind says otherwise.

Truth: the comment over each kind's function, which names whether it is the GIL, whose code it is, and what the operation is.
"""
import asyncio
import copy
import ctypes
import gc
import json
import os
import pickle
import re
import sqlite3
import sys
import threading
import time
import zlib

import workload

KINDS = {}


def kind(function):
    KINDS[function.__name__] = function
    return function


def spawn(name, body, *args):
    workload.start_thread(name, body, *args)


def handle_request():
    time.sleep(0.004)


def serve():
    while True:
        handle_request()


def apis(n=4):
    for i in range(n):
        spawn("api-%d" % i, serve)


def forever(body, pause=0.02):
    while True:
        body()
        time.sleep(pause)


# The GIL. save_orders() dumps a large object as JSON: its encoder in C lets go at the end only.
@kind
def json_dump():
    orders = [{"id": i, "name": "order %d" % i, "lines": list(range(20))} for i in range(20000)]

    def save_orders():
        json.dumps(orders)
    apis()
    spawn("export", forever, save_orders)


# The GIL. keep_session() pickles a large object.
@kind
def pickle_dump():
    session = [{"id": i, "key": str(i), "seen": [i, i + 1]} for i in range(150000)]

    def keep_session():
        pickle.dumps(session)
    apis()
    spawn("sessions", forever, keep_session)


# The GIL. check_mail() runs a pattern that backtracks for 100 ms and more.
@kind
def regex():
    pattern, text = re.compile(r"^(a+)+$"), "a" * 22 + "!"

    def check_mail():
        pattern.match(text)
    apis()
    spawn("checker", forever, check_mail)


# The GIL. rank() sorts a large list of numbers, which no Python code takes part in.
@kind
def sort():
    scores = [(i * 7919) % 1000003 for i in range(400000)]

    def rank():
        sorted(scores)
    apis()
    spawn("ranking", forever, rank)


# The GIL, but Python code: the key function by_name() of a sort lets go when it is asked.
@kind
def sort_key():
    names = [str((i * 7919) % 1000003) for i in range(400000)]

    def by_name(name):
        total = 0
        for letter in name:
            total += ord(letter)
        return total

    def rank_names():
        names.sort(key=by_name)
    apis()
    spawn("ranking", forever, rank_names)


# The GIL. A large heap is collected again and again, while load_page() makes objects.
@kind
def heap():
    kept = [{"id": i, "link": [i]} for i in range(600000)]
    gc.set_threshold(700, 10, 2)

    def load_page():
        kept[:20000] = [{"id": i, "link": [i], "more": {}} for i in range(20000)]
        gc.collect()
    apis()
    spawn("pages", forever, load_page)


# The GIL. make_report() forks a process of 1.5 GB: page tables are copied with the GIL held.
@kind
def fork():
    ballast = b"x" * (1500 << 20)

    def make_report():
        child = os.fork()
        if not child:
            os._exit(len(ballast) & 1)
        os.waitpid(child, 0)
    apis()
    spawn("reports", forever, make_report)


# Not the GIL. render() computes in a callback of the event loop for 80 ms at a time, and keeps it from other tasks.
@kind
def loop_computes():
    def render():
        total = 0
        for i in range(1500000):
            total += i
        return total

    async def page():
        while True:
            render()
            await asyncio.sleep(0.01)

    async def ping():
        while True:
            await asyncio.sleep(0.005)

    async def run():
        await asyncio.gather(page(), ping(), ping())
    spawn("loop", lambda: asyncio.run(run()))


# Not the GIL. fetch_user() sleeps 100 ms in a coroutine, without the GIL: the loop stands still meanwhile.
@kind
def loop_sleeps():
    def fetch_user():
        time.sleep(0.1)

    async def user():
        while True:
            fetch_user()
            await asyncio.sleep(0.01)

    async def ping():
        while True:
            await asyncio.sleep(0.005)

    async def run():
        await asyncio.gather(user(), ping(), ping())
    spawn("loop", lambda: asyncio.run(run()))


# Not the GIL. One lock of the application, taken in reserve(), serialises eight threads.
@kind
def app_lock():
    stock = threading.Lock()

    def reserve():
        with stock:
            time.sleep(0.01)

    for i in range(8):
        spawn("web-%d" % i, forever, reserve, 0.001)


# The GIL, by its rate: poll() asks an empty queue as fast as it can, and lets go each time.
@kind
def poller():
    def poll():
        while True:
            time.sleep(0)
    apis()
    spawn("poller", poll)


# The GIL. locate() sleeps 60 ms in a C function that was called without letting go.
@kind
def ctypes_sleeps():
    usleep = ctypes.PyDLL(None).usleep

    def locate():
        usleep(60000)
    apis()
    spawn("geo", forever, locate)


# The GIL. search() has SQLite call distance(), Python code, for each row: the GIL is taken and let go for every one.
@kind
def sqlite_callback():
    def distance(a):
        total = 0
        for i in range(100):
            total += i * a
        return total

    def searches():
        db = sqlite3.connect(":memory:")
        db.create_function("distance", 1, distance)
        db.execute("create table places (x int)")
        db.executemany("insert into places values (?)", [(i,) for i in range(20000)])

        def search():
            db.execute("select max(distance(x)) from places").fetchall()
        forever(search, 0.001)
    apis()
    spawn("search", searches)


# The GIL. plugin() compiles and runs a large module at run time.
@kind
def run_time_import():
    source = "\n".join("def f%d(a, b=[1, 2, 3]):\n    return {a: b, 'x': [a + %d for a in b]}" % (i, i) for i in range(1500))

    def plugin():
        exec(compile(source, "plugin.py", "exec"), {})
    apis()
    spawn("plugins", forever, plugin)


# The GIL. deep_copy() copies a large structure with copy.deepcopy, Python code of the standard library.
@kind
def deep_copy():
    tree = [{"id": i, "tags": ["a", "b"]} for i in range(3000)]

    def snapshot():
        copy.deepcopy(tree)
    apis()
    spawn("snapshots", forever, snapshot)


# The GIL. sixteen io threads pay a switch interval for each take while crunch() computes.
@kind
def convoy():
    def crunch():
        total = 0
        while True:
            total += 1
    for i in range(16):
        spawn("io-%d" % i, serve)
    spawn("crunch", crunch)


# The GIL. big_number() writes a large integer in decimal.
@kind
def big_integer():
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    number = 3 ** 120000

    def big_number():
        str(number)
    apis()
    spawn("numbers", forever, big_number)


# Nothing is wrong: requests sleep.
@kind
def healthy_idle():
    apis()


# Nothing is wrong: one thread computes for half of the time in short pieces, nobody is late for it.
@kind
def healthy_busy():
    def crunch():
        total = 0
        for i in range(8000):
            total += i
    spawn("crunch", forever, crunch, 0.0005)


# Nothing is wrong: zlib compresses without the GIL.
@kind
def healthy_zlib():
    data = os.urandom(4 << 20)

    def pack():
        zlib.compress(data)
    apis()
    spawn("packer", forever, pack)


# Nothing is wrong: an event loop with short callbacks.
@kind
def healthy_loop():
    async def ping():
        while True:
            await asyncio.sleep(0.005)

    async def run():
        await asyncio.gather(*[ping() for _ in range(20)])
    spawn("loop", lambda: asyncio.run(run()))


workload.ready()
workload.expect("go")
KINDS[sys.argv[1]]()
workload.expect("quit")
