# SPDX-License-Identifier: MIT
"""The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), able to lie."""
import base64
import hashlib
import hmac
import os


def b64(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


class Scram:
    def __init__(self, user, password, header="n,,", binding=b"", nonce=None):
        self.password, self.header, self.binding = password.encode(), header, binding
        self.nonce = nonce or b64(os.urandom(18))
        self.bare = "n=%s,r=%s" % (user, self.nonce)
        self.first = header + self.bare

    def final(self, server_first, proof=None, nonce=None):
        self.server_first = server_first
        self.attributes = dict(a.split("=", 1) for a in server_first.split(","))
        assert self.attributes["r"].startswith(self.nonce)
        assert len(self.attributes["r"]) >= len(self.nonce) + 16
        salted = hashlib.pbkdf2_hmac("sha256", self.password,
                                     base64.b64decode(self.attributes["s"]),
                                     int(self.attributes["i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        stored_key = hashlib.sha256(client_key).digest()
        without = "c=%s,r=%s" % (b64(self.header.encode() + self.binding),
                                 nonce or self.attributes["r"])
        message = ",".join((self.bare, server_first, without)).encode()
        signature = hmac.digest(stored_key, message, "sha256")
        self.wanted = "v=" + b64(hmac.digest(hmac.digest(salted, b"Server Key", "sha256"),
                                             message, "sha256"))
        if proof is None:
            proof = bytes(a ^ b for a, b in zip(client_key, signature))
        return without + ",p=" + b64(proof)


def stored(password, iterations=4096, salt=b"0123456789abcdef"):
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    keys = (salt, hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest(),
            hmac.digest(salted, b"Server Key", "sha256"))
    return "{SCRAM-SHA-256}%d,%s" % (iterations, ",".join(b64(k) for k in keys))


def tls_exporter(keylog, hash_name):
    """RFC 9266 of the one TLS 1.3 connection whose secrets are in the file (RFC 8446 7.5)."""
    with open(keylog) as f:
        secret = bytes.fromhex([line.split()[2] for line in f
                                if line.startswith("EXPORTER_SECRET ")][-1])
    size = len(secret)

    def expand_label(key, label, context, length):
        label = b"tls13 " + label
        info = length.to_bytes(2, "big") + bytes([len(label)]) + label + \
            bytes([len(context)]) + context
        out, block, n = b"", b"", 1
        while len(out) < length:
            block = hmac.digest(key, block + info + bytes([n]), hash_name)
            out, n = out + block, n + 1
        return out[:length]
    empty = hashlib.new(hash_name, b"").digest()
    derived = expand_label(secret, b"EXPORTER-Channel-Binding", empty, size)
    return expand_label(derived, b"exporter", empty, 32)
