# SPDX-License-Identifier: GPL-2.0-only
# needs: dask
"""dask's pool of threads runs tasks in pure Python: two threads compute and share one GIL."""
import dask
from clocks import cause, computes, run, size_for, thread


def transform(n):
    total = 0
    for i in range(n):
        total += i % 5
    return total


turns = size_for(30, transform)
transform = computes(transform)


def work():
    tasks = [dask.delayed(transform)(turns) for _ in range(8)]
    dask.compute(*tasks, scheduler="threads", num_workers=2)


thread("client", work)
cause("cpu_sharing", "transform", "ThreadPoolExecutor-*")
run(6)
