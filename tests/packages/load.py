# SPDX-License-Identifier: GPL-2.0-only
"""usage: load.py echo|http|grpc

Eight clients that ask, wait for the answer, and pause 2 ms. "go PORT" on standard input lets them begin, "stop" ends them; each
is answered by a line of JSON, the second by how many answers there were and how long the slowest took (ns).
"""
import json
import socket
import sys
import threading
import time

CLIENTS, PAUSE = 8, 0.002
over = threading.Event()
answers, slowest = [0] * CLIENTS, [0] * CLIENTS


def connect(port):
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link.settimeout(30)
    return link


def receive(link, size):
    data = b""
    while len(data) < size:
        more = link.recv(size - len(data))
        if not more:
            raise EOFError("the server hung up")
        data += more
    return data


def connect_grpc(port):
    import grpc
    return grpc.insecure_channel("127.0.0.1:%d" % port).unary_unary("/service/score")


def ask_grpc(call):
    call(b"", timeout=30)


def ask_echo(link):
    link.sendall(b"x" * 100)
    receive(link, 100)


def ask_http(link):
    link.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    head = b""
    while b"\r\n\r\n" not in head:
        head += receive(link, 1)
    length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    receive(link, int(length[0].split(b":")[1]))


meet, ask = {"echo": (connect, ask_echo), "http": (connect, ask_http), "grpc": (connect_grpc, ask_grpc)}[sys.argv[1]]


def client(number, port):
    link = meet(port)
    while not over.is_set():
        begin = time.monotonic_ns()
        ask(link)
        slowest[number] = max(slowest[number], time.monotonic_ns() - begin)
        answers[number] += 1
        time.sleep(PAUSE)


def answer(what):
    print(json.dumps(what), flush=True)


threads = []
for line in sys.stdin:
    words = line.split()
    if words[0] == "go":
        threads = [threading.Thread(target=client, args=(i, int(words[1])), daemon=True) for i in range(CLIENTS)]
        for thread in threads:
            thread.start()
        answer({})
    elif words[0] == "stop":
        over.set()
        for thread in threads:
            thread.join()
        answer({"answers": sum(answers), "slowest_ns": max(slowest)})
