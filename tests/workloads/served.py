# SPDX-License-Identifier: GPL-2.0-only
"""What a server runs: a WSGI application, and a Celery task, on the server's own threads.

Each request takes its thread through the gates of gilwork.c with GILSCOPE_CALLS releases of the GIL between them, so
that thread acquires exactly GILSCOPE_CALLS + 1 times. When GILSCOPE_THREADS requests of this process stand at the start
gate, it connects to the unix socket GILSCOPE_TALK and talks there as workload.py says, one connection per process;
requests are answered after `quit`.

With GILSCOPE_HOLDS the first request of a process is a hog with so many holds, and the others are its victims (hog_victim.py).
"""
import itertools
import json
import os
import socket
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import workload  # noqa: E402 (found by way of the line above)
from workload import END, START, drop, keep  # noqa: E402

CALLS = int(os.environ["GILSCOPE_CALLS"])
THREADS = int(os.environ["GILSCOPE_THREADS"])
HOLDS = int(os.environ.get("GILSCOPE_HOLDS", "0"))

served = [None] * THREADS if HOLDS else []
parts = itertools.count()
talking = threading.Lock()
play = workload.HogPlay(THREADS - 1, HOLDS) if HOLDS else None


def conduct():
    """Between the gates. What the threads then say of themselves."""
    if play:
        return [dict(thread, **truth) for thread, truth in zip(served, play.direct())]
    keep.gate_open(START)
    drop.gate_watch(END, THREADS)
    return served


def talk():
    channel = socket.socket(socket.AF_UNIX)
    channel.connect(os.environ["GILSCOPE_TALK"])
    lines = channel.makefile("rw")
    lines.write("ready %d\n" % os.getpid())
    lines.flush()
    if lines.readline() == "go\n":
        begin = keep.now_ns()
        threads = conduct()
        lines.write(json.dumps({"pid": os.getpid(), "begin_ns": begin, "end_ns": keep.now_ns(), "threads": threads}) + "\n")
        lines.flush()
        lines.readline()
    keep.gate_open(START)
    keep.gate_open(END)


def watch():
    drop.gate_watch(START, THREADS)
    talk()


def request():
    """On the calling thread, whoever made it."""
    if talking.acquire(blocking=False):
        if not play:
            workload.never_force()
        threading.Thread(target=watch, name="talk", daemon=True).start()
    if play:
        part = next(parts)
        served[part] = {"tid": keep.thread_id(), "name": workload.part_name(part)}
        play.play(part)
        return
    known = threading._active.get(threading.get_ident())
    served.append({"tid": keep.thread_id(), "name": known.name if known else None, "acquires": CALLS + 1, "forced": 0})
    keep.cycle(START, END, CALLS)


def application(environ, start_response):
    request()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"done\n"]
