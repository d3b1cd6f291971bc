# SPDX-License-Identifier: GPL-2.0-only
"""usage: incident_second.py KIND

A second program for kinds of incident.py: the same fault, in other code. Threads worker_0..2 serve meanwhile.

Truth: the comment over each kind's function.
"""
import ctypes
import itertools
import os
import re
import subprocess
import sys
import time

import workload

KINDS = {}


def kind(function):
    KINDS[function.__name__] = function
    return function


def answer():
    while True:
        time.sleep(0.003)


def workers():
    for i in range(3):
        workload.start_thread("worker_%d" % i, answer)


# The GIL. render_pdf() starts a program from a process with a large cache; for its preexec_fn that is done by fork(), not vfork().
@kind
def fork_worker():
    cache = [b"x" * 4000 for _ in range(300000)]

    def be_nice():
        os.nice(1)

    def render_pdf():
        subprocess.run(["/bin/true"], preexec_fn=be_nice, check=bool(cache))

    def documents():
        while True:
            render_pdf()
            time.sleep(0.03)
    workers()
    workload.start_thread("documents", documents)


# The GIL, by its rate. order_rows() has qsort() of the C library call by_price() for each pair: it is taken for every one.
@kind
def qsort_callback():
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    qsort = ctypes.CDLL(None).qsort

    @compare
    def by_price(a, b):
        return a[0] - b[0]

    def order_rows():
        rows = (ctypes.c_int * 20000)(*[(i * 7919) % 10007 for i in range(20000)])
        qsort(rows, 20000, ctypes.sizeof(ctypes.c_int), by_price)

    def orders():
        while True:
            order_rows()
            time.sleep(0.001)
    workers()
    workload.start_thread("orders", orders)


# The GIL. find_tags() asks an iterator for the next match of a pattern that backtracks for long.
@kind
def finditer():
    pattern, text = re.compile(r"(x+x+)+y"), "x" * 21

    def find_tags():
        for _ in pattern.finditer(text):
            pass

    def tags():
        while True:
            find_tags()
            time.sleep(0.02)
    workers()
    workload.start_thread("tags", tags)


# The GIL. merge_rows() sums iterators of the C library of Python: no function has a name in the code that calls them.
@kind
def iterators():
    rows = list(range(300000))

    def merge_rows():
        return max(itertools.chain(rows, itertools.islice(rows, 10, None)))

    def merges():
        while True:
            merge_rows()
            time.sleep(0.01)
    workers()
    workload.start_thread("merges", merges)


workload.ready()
workload.expect("go")
KINDS[sys.argv[1]]()
workload.expect("quit")
