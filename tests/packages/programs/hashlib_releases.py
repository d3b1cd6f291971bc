# SPDX-License-Identifier: GPL-2.0-only
# needs: bcrypt cryptography
"""Hashes and encrypts in C that lets go of the GIL: nobody is to be blamed, however much it works."""
import hashlib
import os

import bcrypt
import cryptography.hazmat.primitives.ciphers.aead as aead
from clocks import pause, releases, run, thread

data = os.urandom(1 << 22)
cipher = aead.AESGCM(aead.AESGCM.generate_key(128))


def digest():
    return hashlib.sha256(data).digest()


def check_password():
    return bcrypt.hashpw(b"correct horse", bcrypt.gensalt(6))


def encrypt():
    return cipher.encrypt(b"0123456789ab", data, None)


digest, encrypt, check_password = releases(digest), releases(encrypt), releases(check_password)


def work():
    digest()
    encrypt()
    check_password()


def beat():
    pause(0.002)


thread("work", work)
thread("beat", beat)
run(6)
