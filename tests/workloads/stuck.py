# SPDX-License-Identifier: GPL-2.0-only
"""usage: stuck.py mutex|read|ended|spin|forked|stopped [--late]

The thread `holder` keeps the GIL: it sleeps in C for ever on a mutex, reads from a pipe until a line comes, ends in C without letting
go, computes in C for ever, or stops the process (only --late: nothing is said then); or (forked) C code forks without the GIL while
`holder` has it, and in the child nobody ever lets go. The thread `other` (in the child: the first one) waits for it.

It says `ready` when that is so, and then at once a line of JSON: the process that is stuck, the ids of holder and waiter. With
--late it says `ready` before, and after `go` it gets stuck and says `ready` again. After a further line `read` goes on and says its truth.
"""
import os
import sys

import workload
from workload import drop, keep

how, late = sys.argv[1], "--late" in sys.argv[2:]
kinds = {"mutex": 0, "read": 1, "ended": 2, "forked": 3, "spin": 4, "stopped": 5}
ours, theirs = os.pipe()
begun = []


def holder():
    while not begun:
        drop.nap(1000000)
    keep.stuck_hold(kinds[how], ours)


def other():
    while len(begun) < 2:
        drop.nap(1000000)


threads = [workload.start_thread("holder", holder), workload.start_thread("other", other)]
if late:
    workload.ready()
    workload.expect("go")
begun.append(1)
if how == "forked":
    drop.stuck_fork()
else:
    drop.stuck_tell(threads[1].tid, theirs)
begun.append(2)
for thread in threads:
    thread.join()
workload.report(0, 0, [])
