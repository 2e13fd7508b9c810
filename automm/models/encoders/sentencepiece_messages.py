"""Lets transformers read a sentencepiece file where two packages want other versions of protobuf.

DeBERTa-v3 and T5 lie on the hub with a sentencepiece file and no ``tokenizer.json``. transformers
reads it by the message classes of the package sentencepiece; those of 0.2.3 refuse protobuf 6, and
the client of Triton wants protobuf below 7. The same classes lie in transformers, made for any.
"""

from __future__ import annotations

import sys
from importlib import import_module

_THEIRS = "sentencepiece.sentencepiece_model_pb2"
_OURS = "transformers.utils.sentencepiece_model_pb2_new"


def replace_unreadable_messages() -> None:
    """Put transformers' own classes in the place of those that this protobuf refuses."""
    try:
        from google.protobuf.runtime_version import VersionError
    except ImportError:  # absent, or one that refuses nothing
        return
    try:
        import_module(_THEIRS)
    except ImportError:  # transformers takes its own by itself
        return
    except VersionError:
        sys.modules[_THEIRS] = import_module(_OURS)
