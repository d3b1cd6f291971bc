# SPDX-License-Identifier: GPL-2.0-only
"""usage: service.py [SECONDS]

A pretend web service with a familiar disease, for `make demo`: four workers answer requests (parse JSON,
sort, compress, wait for a database), an I/O thread ships a journal to disk, and now and then a report
thread searches the day's log with a regular expression, which keeps the GIL to itself for about a tenth
of a second. The workers' latency suffers, and nothing in their code says why.

Needs no C library and no observer: says `ready PID` and runs until it is killed, or for SECONDS.
"""
import ctypes
import json
import os
import queue
import random
import re
import sys
import tempfile
import threading
import time
import zlib

PR_SET_NAME = 15
WORKERS = 4
REQUESTS_PER_S = 150
rng = random.Random(7)
requests, journal = queue.Queue(maxsize=200), queue.Queue(maxsize=1000)
today = []


def start(name, body):
    """A thread known by its name to threading and, before Python 3.14 too, to the kernel."""
    def run():
        try:
            ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0)
        except (AttributeError, OSError):
            pass
        body()

    threading.Thread(target=run, name=name, daemon=True).start()


def make_request(number):
    items = [{"id": rng.randrange(10**6), "price": rng.random(), "name": "article %d" % n}
             for n in range(200)]
    return json.dumps({"number": number, "user": "u%d" % (number % 50), "items": items})


def intake():
    """Requests arrive, a little unevenly."""
    samples = [make_request(n) for n in range(20)]
    number = 0
    while True:
        requests.put(samples[number % len(samples)])
        number += 1
        time.sleep(rng.expovariate(REQUESTS_PER_S))


def answer(text):
    request = json.loads(text)
    time.sleep(0.002)  # the database
    items = sorted(request["items"], key=lambda item: item["price"])
    total = sum(item["price"] for item in items)
    body = json.dumps({"total": total, "items": items}).encode()
    return len(zlib.compress(body, 1))


def worker():
    while True:
        size = answer(requests.get())
        journal.put("user=u%d status=200 bytes=%d path=/cart/%d\n"
                    % (size % 50, size, size % 7))


def ship_journal():
    """Writes what was done to a file, a batch at a time."""
    with tempfile.TemporaryFile() as f:
        while True:
            lines = [journal.get()]
            while not journal.empty() and len(lines) < 50:
                lines.append(journal.get())
            f.write("".join(lines).encode())
            f.flush()
            if f.tell() > 1 << 20:
                f.seek(0)
            today.extend(lines)
            del today[:-2000]
            time.sleep(0.01)


def report():
    """The culprit: one search over the log, in C, without ever letting go of the GIL."""
    slow = re.compile(r"(?:user=(\w+) )?(?:\w+=\d+ )*path=/cart/(\d)\s*$", re.M)
    log = "user=u1 status=200 bytes=1234 path=/cart/8x\n" * 9000
    while True:
        time.sleep(0.12)
        hits = {}
        for match in slow.finditer(log + "".join(today)):
            hits[match.group(2)] = hits.get(match.group(2), 0) + 1


start("intake", intake)
for i in range(WORKERS):
    start("worker-%d" % (i + 1), worker)
start("journal", ship_journal)
start("report", report)
sys.stdout.write("ready %d\n" % os.getpid())
sys.stdout.flush()
time.sleep(float(sys.argv[1]) if sys.argv[1:] else 10**8)
os._exit(0)
