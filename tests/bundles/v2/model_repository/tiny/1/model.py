"""The same in every bundle: the class, out of lib/ where this Python has it nowhere else."""

import os
import pathlib
import sys

tag = f"cp{sys.version_info[0]}{sys.version_info[1]}-{os.uname().machine}"
lib = pathlib.Path(__file__).resolve().parents[3] / "lib" / tag
if lib.is_dir():
    sys.path.append(str(lib))

from automm_serve.triton.model import TritonPythonModel  # noqa: E402, F401
