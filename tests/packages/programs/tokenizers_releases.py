# SPDX-License-Identifier: GPL-2.0-only
# needs: tokenizers
"""Tokenizes batches of text in Rust, in threads of its own without the GIL: nobody is to be blamed."""
from clocks import pause, releases, run, thread
from tokenizers import Tokenizer, models, pre_tokenizers

words = ["word%d" % i for i in range(2000)]
tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="word0"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
texts = [" ".join(words[(i * 7 + k) % 2000] for k in range(300)) for i in range(100)]


def encode():
    return len(tokenizer.encode_batch(texts))


encode = releases(encode)


def work():
    encode()
    pause(0.01)


def beat():
    pause(0.002)


thread("work", work)
thread("beat", beat)
run(6)
