"""`python -m web_app`."""

from __future__ import annotations

import sys

from web_app.command import main

if __name__ == "__main__":
    sys.exit(main())
