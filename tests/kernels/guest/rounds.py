# SPDX-License-Identifier: GPL-2.0-only
"""usage: rounds.py

A service that does all that is hard on an observer, in rounds, one on each `go`: a pool of forked processes (pools.py); a child
whose threads come and go; one that executes the interpreter; one that is killed. Who belongs to a round has ended when it is told
of; the service itself stays, until `quit`.

Truth of a round: `processes`, the PIDs of those with one thread; `threads`, of the child with threads [pid, [tid, ...]]. What they
acquire is libsignalcount's to tell.
"""
import _thread
import ctypes
import json
import os
import signal
import subprocess
import sys

import workload
from pools import run_pool
from workload import drop, keep

WAVES, WAVE = 4, 6
EXECUTED = "import os; fd = os.open('/dev/zero', os.O_RDONLY); [os.read(fd, 1) for _ in range(%d)]"


def forked(body, *args):
    """A child that runs body and ends. Its PID, once it has ended."""
    pid = os.fork()
    if pid == 0:
        try:
            body(*args)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    return pid


def short_life(calls, lives):
    lives.append(keep.thread_id())
    for _ in range(calls):
        drop.noop()


def threads_come_and_go(out):
    lives = []
    for _ in range(WAVES):
        for _ in range(WAVE):
            _thread.start_new_thread(short_life, (20 + len(lives) % 7, lives))
        while len(os.listdir("/proc/self/task")) > 1:
            drop.nap(1000000)
    os.write(out, json.dumps(lives).encode())


def child_with_threads():
    reading, writing = os.pipe()
    pid = forked(threads_come_and_go, writing)
    os.close(writing)
    with os.fdopen(reading) as said:
        return [pid, json.load(said)]


def executed():
    child = subprocess.Popen([sys.executable, "-c", EXECUTED % 300])
    child.wait()
    return child.pid


def killed():
    """By itself, without the GIL: it has dropped it as often as it has had it."""
    for _ in range(300):
        drop.noop()
    raising = getattr(ctypes.CDLL(None), "raise")
    raising(signal.SIGKILL)


def play():
    threads = child_with_threads()
    pool = [pid for pid, _ in run_pool(100)]
    return {"processes": pool + [executed(), forked(killed)], "threads": threads}


def main():
    workload.ready()
    for line in sys.stdin:
        if line.strip() != "go":
            break
        workload.say(json.dumps(play()))
    workload.leave()


if __name__ == "__main__":
    main()
