"""Tables for training: what their columns are, how they are split, how they become batches."""
