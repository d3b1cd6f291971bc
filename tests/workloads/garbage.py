# SPDX-License-Identifier: GPL-2.0-only
"""usage: garbage.py ROUNDS [--objects N] [--new N] [--explicit] [--let-go-ms MS] [--rest-ms MS] [--go-on]

A worker collects garbage beside a heap of N objects, while a victim wants the GIL all the while: ROUNDS times it makes
some thousand objects, which sets off collections of all generations, or (--explicit) collects the whole heap by itself.
--let-go-ms: in each round a finalizer, run by the collection, lets the GIL go for so long.
--go-on: ROUNDS again and again, until killed; no truth.

Truth: what gc.callbacks clocked (gc_ns, without what the finalizers let go; longest_ns), and how many collections of each
generation there were.
"""
import argparse
import functools
import gc
import threading
import weakref

import workload
from workload import drop, keep

parser = argparse.ArgumentParser()
parser.add_argument("rounds", type=int)
parser.add_argument("--objects", type=int, default=300000)
parser.add_argument("--new", type=int, default=20000)
parser.add_argument("--explicit", action="store_true")
parser.add_argument("--let-go-ms", type=float, default=0)
parser.add_argument("--rest-ms", type=float, default=20)
parser.add_argument("--go-on", action="store_true")
args = parser.parse_args()

gc.disable()
heap = [[i] for i in range(args.objects)]
truth = workload.Garbage()
stop = threading.Event()
nap_ns = int(args.let_go_ms * 1e6)
watched = []


class Thing:
    pass


def leave_a_cycle():
    thing = Thing()
    thing.me = thing
    watched[:] = [weakref.ref(thing, functools.partial(keep.garbage_let_go, truth, nap_ns))]


def one_round(recent):
    if args.let_go_ms:
        leave_a_cycle()
    if args.explicit:
        gc.collect()
    else:
        recent.append([[i] for i in range(args.new)])
        del recent[:-8]
    drop.nap(int(args.rest_ms * 1e6))


def work():
    recent = []
    while True:
        for _ in range(args.rounds):
            one_round(recent)
        if not args.go_on:
            break
    stop.set()


def want():
    while not stop.is_set():
        drop.nap(1000000)


# C all the way: partial objects of C functions.
gc.callbacks.append(functools.partial(keep.garbage_clock, truth))
go, bodies = threading.Event(), {"worker": work, "victim": want}
threads = {name: workload.start_thread(name, lambda body=body: (go.wait(), body())) for name, body in bodies.items()}
workload.ready()
workload.expect("go")
before = [generation["collections"] for generation in gc.get_stats()]
begin = keep.now_ns()
if not args.explicit:
    gc.enable()
go.set()
if args.go_on:
    workload.expect("quit")
for thread in threads.values():
    thread.join()
gc.disable()
numbers = [generation["collections"] - was for generation, was in zip(gc.get_stats(), before)]
workload.report(begin, keep.now_ns(), [{"tid": t.tid, "name": n} for n, t in threads.items()], gc_ns=truth.total_ns,
                longest_ns=truth.longest_ns, pauses=truth.n, n0=numbers[0], n1=numbers[1], n2=numbers[2])
