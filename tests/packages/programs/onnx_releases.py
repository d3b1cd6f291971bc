# SPDX-License-Identifier: GPL-2.0-only
# needs: onnxruntime onnx numpy
"""Inference in ONNX Runtime, which lets go of the GIL: nobody is to be blamed."""
import numpy
import onnx
import onnxruntime
from clocks import pause, releases, run, thread


def chain(layers, size):
    """A model of our own: matrices multiplied one after the other."""
    weights = numpy.eye(size, dtype=numpy.float32) * 0.5
    nodes = [onnx.helper.make_node("MatMul", ["x%d" % i, "w"], ["x%d" % (i + 1)]) for i in range(layers)]
    ends = [onnx.helper.make_tensor_value_info("x%d" % i, onnx.TensorProto.FLOAT, [size, size]) for i in (0, layers)]
    graph = onnx.helper.make_graph(nodes, "chain", ends[:1], ends[1:], [onnx.numpy_helper.from_array(weights, "w")])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)


options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(chain(4, 512).SerializeToString(), options, providers=["CPUExecutionProvider"])
image = numpy.ones((512, 512), dtype=numpy.float32)


def infer():
    return session.run(None, {"x0": image})


infer = releases(infer)


def work():
    infer()
    pause(0.005)


def beat():
    pause(0.002)


thread("work", work)
thread("beat", beat)
run(6)
