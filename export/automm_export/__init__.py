"""From trained graphs to a bundle: torch -> ONNX -> parity -> configurations -> disk."""
