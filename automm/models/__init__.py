"""Modules of torch: encoders, fusions, heads, and the fused model that is trained and served."""
