"""Compiled engines of TensorRT and of TensorRT for RTX; nothing in here needs torch."""
