# SPDX-License-Identifier: MIT
"""Who may include whom: lib nothing of ours, state lib, programs both, never each other.
One file alone may include <openssl/ssl.h>; the holder and the keeper link neither OpenSSL nor zlib."""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STAGE = os.environ.get("DORMOUSE_STAGE", os.path.join(ROOT, "build", "stage"))
PROGRAMS = ["auth", "imap", "imap-hibernate", "imap-login", "master"]
ALLOWED = {"lib": {"lib"}, "state": {"lib", "state"}}
ALLOWED.update({p: {"lib", "state", p} for p in PROGRAMS})


def main():
    bad = 0
    checked = 0
    for folder, may in ALLOWED.items():
        for path, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                if not name.endswith((".c", ".h")):
                    continue
                checked += 1
                with open(os.path.join(path, name)) as f:
                    text = f.read()
                for target in re.findall(r'#\s*include\s+"([^"]+)"', text):
                    if target.split("/")[0] not in may:
                        print("%s/%s includes %s" % (path, name, target))
                        bad += 1
                if re.search(r"#\s*include\s*<openssl/ssl\.h>", text) and \
                        name != "tls-handshake.c":
                    print("%s/%s includes <openssl/ssl.h>" % (path, name))
                    bad += 1
    for program in ("imap-hibernate", "keeper"):
        needed = subprocess.run(["readelf", "-d", os.path.join(STAGE, "libexec", "dormouse",
                                                              program)],
                                capture_output=True, text=True, check=True).stdout
        checked += 1
        if re.search(r"NEEDED.*(libcrypto|libssl|libz)", needed):
            print("%s links OpenSSL or zlib" % program)
            bad += 1
    print("%d passed, %d failed" % (checked - bad, bad))
    sys.exit(1 if bad else 0)


main()
