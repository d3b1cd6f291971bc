# SPDX-License-Identifier: GPL-2.0-only
# needs: bcrypt cryptography
"""Hashes and encrypts in C that lets go of the GIL: nobody is to be blamed, however much it works."""
import hashlib
import os

import bcrypt
from clocks import pause, releases, run, thread

megabyte = os.urandom(1 << 22)


def digest():
    return hashlib.sha256(megabyte).digest()


def check_password():
    return bcrypt.hashpw(b"correct horse", bcrypt.gensalt(6))


digest, check_password = releases(digest), releases(check_password)


def work():
    digest()
    check_password()


def beat():
    pause(0.002)


thread("work", work)
thread("beat", beat)
run(6)
