# SPDX-License-Identifier: GPL-2.0-only
"""usage: native.py crc32|adler32|re|json|numpy|nap|cxx|usleep|python|endless [--heedless]

A hog calls C code that keeps the GIL for a tenth of a second and more (what computes is made to take 0.15 s of CPU time), again
and again, until `stop` is said; a victim is blocked before each call begins. The truth of the hog: the Python function and line of
the call, the file that has the C code (its name in /proc/self/maps), and how the name of its function begins where that is known
(else null). `python` is no C code at all: a loop of bytecode, out of which it is forced. `endless` is a regular expression that
never ends: no truth comes then, but the line `module NAME` before it begins.
--heedless: the hog does not look after its victim, so that it does nothing with the GIL but compute; before others of the machine,
where that is allowed.
"""
import ctypes
import itertools
import json
import os
import re
import sys
import time

import workload
from workload import END, START, drop, keep

MS = 1000000
kind, heedless = sys.argv[1], "--heedless" in sys.argv[2:]
stop, tids = [], []


def module_of(wanted):
    """Name of the file that is mapped where the address `wanted` is, or whose name begins with the text `wanted`."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            parts = line.split(None, 5)
            begin, end = (int(number, 16) for number in parts[0].split("-"))
            name = os.path.basename(parts[5].strip()) if len(parts) > 5 else ""
            if begin <= wanted < end if isinstance(wanted, int) else name.startswith(wanted):
                return name
    return None


def address_of(function):
    return ctypes.cast(function, ctypes.c_void_p).value


def module_of_import(name):
    """The file of an extension, or the interpreter's where it is built in."""
    path = getattr(sys.modules[name], "__file__", None)
    return os.path.basename(os.path.realpath(path)) if path else module_of(address_of(ctypes.pythonapi.Py_IncRef))


def loop():
    left = 5000000
    while left: left -= 1


def calls(times):
    """(what to call, file, function or None); what computes does so for as many times as long, a power of two"""
    if kind in ("crc32", "adler32"):
        import zlib
        function, piece = getattr(zlib, kind), b"x" * 4000 # of less than 5 KB it does not let go
        return lambda: sum(map(function, itertools.repeat(piece, 60000 * times))), module_of("libz.so"), kind
    if kind == "re":
        match = re.compile("(a+)+$").match
        return lambda: match("a" * (21 + times.bit_length()) + "b"), module_of_import("_sre"), None
    if kind == "endless":
        match, module = re.compile("(a+)+$").match, module_of_import("_sre")
        return lambda: match("a" * 200 + "b"), module, None
    if kind == "json":
        scan, text = json.JSONDecoder().scan_once, json.dumps([list(range(1000)) for _ in range(2500 * times)])
        return lambda: scan(text, 0), module_of_import("_json"), None
    if kind == "numpy":
        import numpy
        objects = numpy.arange(3000000).astype(object)
        return lambda: sum(map(numpy.add.reduce, itertools.repeat(objects, times))), module_of("_multiarray_umath."), None
    if kind == "python":
        return loop, module_of(address_of(ctypes.pythonapi.Py_IncRef)), None
    if kind == "nap":
        return lambda: keep.nap(120 * MS), module_of(address_of(keep.nap)), "nap"
    if kind == "cxx":
        forward = keep["_ZN6engine5ModelIfE7forwardEmPKf"]
        forward.argtypes = [ctypes.c_uint64]
        return lambda: forward(120 * MS), module_of(address_of(forward)), "engine::Model<float>::forward"
    libc = ctypes.PyDLL(None)
    return lambda: libc.usleep(120000), module_of(address_of(libc.usleep)), "usleep"


def long_enough():
    """Machines differ: what is long on one is short on another."""
    for times in (1 << n for n in range(7)):
        found = calls(times)
        before = time.thread_time()
        found[0]()
        if time.thread_time() - before >= 0.15:
            break
    return found


computes = kind in ("crc32", "adler32", "re", "json", "numpy")
call, module, symbol = long_enough() if computes else calls(1)
truth = {"module": module, "symbol": symbol, "calls": 0}


def await_blocked():
    while not all(keep.in_futex(tid) for tid in tids):
        keep.nap(50000)


def hog():
    drop.gate_wait(START)
    while not stop:
        if not heedless:
            await_blocked()
        if kind == "endless":
            os.write(1, b"module %s\n" % module.encode())
        call()
        truth["calls"] += 1
        drop.nap(1 * MS)
    drop.gate_wait(END)


def victim():
    drop.gate_wait(START)
    while not stop:
        drop.nap(1 * MS)
    drop.gate_wait(END)


truth["function"] = getattr(call.__code__, "co_qualname", call.__code__.co_name)
truth["line"] = call.__code__.co_firstlineno + (2 if kind == "python" else 0)
if kind != "endless" and not computes:
    call()
if heedless:
    workload.be_eager()
threads = [workload.start_thread("hog", hog), workload.start_thread("victim", victim)]
tids.append(threads[1].tid)
drop.gate_watch(START, 2)
workload.ready()
workload.expect("go")
begin = keep.now_ns()
keep.gate_open(START)
workload.expect("stop")
stop.append(1)
drop.gate_watch(END, 2)
workload.report(begin, keep.now_ns(), [dict(truth, tid=threads[0].tid, name="hog")], file=hog.__code__.co_filename)
