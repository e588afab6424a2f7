"""Puts the stand-in for the workers before the service's packages, which a child process has first on its path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
