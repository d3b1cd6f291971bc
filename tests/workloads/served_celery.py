# SPDX-License-Identifier: GPL-2.0-only
"""served.py as tasks of a Celery worker. The broker is a directory, GILSCOPE_BROKER: no server is needed.

usage: served_celery.py N       sends N tasks
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from celery import Celery  # noqa: E402

broker = os.environ["GILSCOPE_BROKER"]
app = Celery("served_celery", broker="filesystem://")
app.conf.broker_transport_options = {"data_folder_in": broker, "data_folder_out": broker}
app.conf.worker_prefetch_multiplier = 1


@app.task(name="serve")
def serve():
    import served  # in the worker alone: it connects to the test

    served.request()


if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        serve.delay()
