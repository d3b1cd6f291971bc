# SPDX-License-Identifier: GPL-2.0-only
# needs: gevent
"""Green threads that answer requests, and one that computes for 100 ms without a pause: nobody waits for the GIL."""
from clocks import Load, cause, computes, is_begun, is_over, run, size_for # before gevent patches

clients = Load("http")
import gevent.monkey # noqa: E402
gevent.monkey.patch_all()
import gevent # noqa: E402
import gevent.pywsgi # noqa: E402


def greedy_report(n):
    total = 0
    for i in range(n):
        total += i
    return total


turns = size_for(100, greedy_report)
greedy_report = computes(greedy_report)


def greedy():
    while not is_over():
        gevent.sleep(0.2)
        if is_begun() and not is_over():
            greedy_report(turns)


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]


def serve():
    server = gevent.pywsgi.WSGIServer(("127.0.0.1", 0), app, log=None)
    server.start()
    clients.address = server.server_port
    gevent.spawn(greedy).join()
    server.stop()


cause("one_thread", "greedy_report", "MainThread")
run(6, serve)
