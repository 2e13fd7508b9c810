"""Ours beside the peer, the linear model and the trivial predictor: same rows, same backbones."""
