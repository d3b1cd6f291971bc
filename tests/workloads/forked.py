# SPDX-License-Identifier: GPL-2.0-only
"""usage: forked.py [CHILDREN] [CALLS]

Without a talk, for `run`: forks children that release the GIL CALLS times each, waits for them, exits with status 7. A child
acquires it after the fork and once after each call.
"""
import os
import sys

from workload import drop

for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        for _ in range(int(sys.argv[2])):
            drop.noop()
        os._exit(0)
while True:
    try:
        os.wait()
    except ChildProcessError:
        break
sys.exit(7)
