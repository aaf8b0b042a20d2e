import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from answering import served


@pytest.fixture
def server():
    with served() as one:
        yield one
