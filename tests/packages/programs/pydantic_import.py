# SPDX-License-Identifier: GPL-2.0-only
# needs: pydantic
"""Validation in Rust keeps the GIL for hundreds of milliseconds; the objects that it made are freed as long-windedly."""
import json
from typing import List, Optional

import pydantic
from clocks import cause, keeps, pause, run, thread


class Line(pydantic.BaseModel):
    sku: str
    qty: int
    price: float
    note: Optional[str] = None


class Order(pydantic.BaseModel):
    id: int
    customer: str
    lines: List[Line]


orders = pydantic.TypeAdapter(List[Order])
text = json.dumps([{"id": i, "customer": "c%d" % i, "lines": [{"sku": "s%d" % k, "qty": k, "price": k * 1.5} for k in range(8)]}
                   for i in range(5000)])


def validate():
    return orders.validate_json(text)


def free(made):
    made.clear()


validate, free = keeps(validate, ["validate_json"]), keeps(free)


def importer():
    free(validate())
    pause(0.3)


def api():
    pause(0.005)
    sum(range(3000))


thread("importer", importer)
for i in range(3):
    thread("api-%d" % i, api)
cause("long_hold", "validate", "importer")
run(6)
