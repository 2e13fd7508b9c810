"""The runtime: answers rows with numpy, Pillow, tokenizers and msgspec alone.

Everything that turns a cell into a tensor and a tensor into an answer is here, and training uses
it too: what was trained is what is served.
"""

from __future__ import annotations

from automm_serve.errors import AutoMMError

__all__ = ["AutoMMError"]
