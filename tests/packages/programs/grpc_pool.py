# SPDX-License-Identifier: GPL-2.0-only
# needs: grpcio
"""A gRPC server with a pool of four threads, whose handlers compute in Python for 10 ms: they share one GIL."""
from concurrent import futures

import grpc
from clocks import Load, cause, computes, is_over, pause, run, size_for


def score(n):
    total = 0
    for i in range(n):
        total += i % 3
    return total


turns = size_for(10, score)
score = computes(score)


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"%d" % score(turns))


def serve():
    while not is_over():
        pause(0.05)


server = grpc.server(futures.ThreadPoolExecutor(4, thread_name_prefix="grpc"))
server.add_generic_rpc_handlers((Handler(),))
clients = Load("grpc")
clients.address = server.add_insecure_port("127.0.0.1:0")
server.start()
cause("cpu_sharing", "score", "grpc_*")
run(6, serve)
