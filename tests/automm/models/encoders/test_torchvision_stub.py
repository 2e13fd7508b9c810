import subprocess
import sys

import pytest

pytest.importorskip("torch")

CODE = """
from automm.models.encoders.torchvision_stub import declare_missing_operators
declare_missing_operators()
declare_missing_operators()  # twice does no harm
import timm, transformers, lightning.pytorch
from transformers import BertModel
print("imported")
"""


def test_timm_transformers_and_lightning_import_on_this_torch():
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert found.stdout.strip() == "imported", found.stderr
