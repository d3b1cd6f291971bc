# SPDX-License-Identifier: GPL-2.0-only
"""usage: late.py ROUNDS [--late-ms MS]

A taker blocks on the GIL, the giver lets go, and the taker is late to take it: it waits, and nobody has the GIL. ROUNDS times.

What it is late for is a signal's handler that sleeps, MS and fifty times as long as the giver held the GIL. Truth: how often; how
long it waited while the giver held (blame) and while nobody did (free), clocked in C on both sides of each take and drop.
"""
import argparse

import workload
from workload import END, START, Late, drop, keep

parser = argparse.ArgumentParser()
parser.add_argument("rounds", type=int)
parser.add_argument("--late-ms", type=float, default=100)
args = parser.parse_args()
late = Late()


def give():
    keep.late_giver(late, START, END, args.rounds)


def take():
    keep.late_taker(late, START)


workload.never_force()
if keep.late_open(late, int(args.late_ms * 1e6)):
    raise OSError("no pipes")
taker, giver = workload.start_thread("taker", take), workload.start_thread("giver", give)
late.tid = taker.tid
drop.gate_watch(START, 2)
workload.ready()
workload.expect("go")
begin = keep.now_ns()
keep.gate_open(START)
drop.gate_watch(END, 1)
sums = {name: getattr(late, name) for name, _ in late._fields_[:5]}
workload.report(begin, keep.now_ns(), [{"tid": taker.tid, "name": "taker"}, {"tid": giver.tid, "name": "giver"}], **sums)
