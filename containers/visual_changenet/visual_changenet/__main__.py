"""``python -m visual_changenet``."""

import sys

from visual_changenet.cli import main

if __name__ == "__main__":
    sys.exit(main())
