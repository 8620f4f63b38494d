"""`python -m kindling` is the same as `kindling`."""

import os
import sys

if not getattr(sys.flags, "safe_path", False) and sys.path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]  # Python puts the working folder there: a stranger's module or *.egg-info in it must not count

from kindling.cli import main

sys.exit(main())
