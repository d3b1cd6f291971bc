# SPDX-License-Identifier: GPL-2.0-only
# needs: pyarrow
"""A table becomes Python objects: C++ that keeps the GIL for 60 ms."""
import pyarrow
from clocks import cause, keeps, pause, run, size_for, thread

column = pyarrow.array(range(1000000))


def to_objects(n):
    return column[:n].to_pylist()


rows = size_for(60, to_objects)
to_objects = keeps(to_objects)


def work():
    to_objects(rows)
    pause(0.04)


def beat():
    pause(0.002)


thread("work", work)
thread("beat", beat)
cause("long_hold", "to_objects", "work")
run(6)
