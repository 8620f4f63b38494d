"""What this computer's system is, where it matters."""

import sys

WINDOWS = sys.platform == "win32"  # asked as `system.WINDOWS`, so that a test can say otherwise
