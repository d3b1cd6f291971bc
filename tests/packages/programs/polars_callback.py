# SPDX-License-Identifier: GPL-2.0-only
# needs: polars
"""A column computed by a function in Python, which polars calls row by row: it computes with the GIL while others serve."""
import polars
from clocks import cause, computes, pause, run, thread

frame = polars.DataFrame({"value": list(range(40000))})


def price(value):
    return value * 3 % 7


def map_rows():
    return frame["value"].map_elements(price, return_dtype=polars.Int64).sum()


map_rows = computes(map_rows, ["price", "map_elements"])


def work():
    map_rows()
    pause(0.02)


def web():
    pause(0.005)
    sum(range(1000))


thread("work", work)
for i in range(3):
    thread("web-%d" % i, web)
cause("convoy", "map_rows", "work")
run(6)
