"""Graphs in fewer bits: made, judged against fp32, and refused where they lose too much."""
