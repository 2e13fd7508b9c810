"""Small fits, with a teacher and without."""

import random
import warnings

from automm.predictor import MultiModalPredictor
from automm.training.fit import FitWarning

SMALL = {
    "model.names": ["numerical_mlp"],
    "model.numerical_mlp.hidden_size": 12,
    "optim.lr": 1e-2,
    "optim.max_epochs": 6,
    "optim.val_check_interval": 1.0,
    "env.batch_size": 16,
    "env.per_gpu_batch_size": 16,
    "env.accelerator": "cpu",
}


def points(rows, seed, *, wrong=False, names=("no", "yes")):
    """Two numbers a row, and whether their sum is above 0; or just the other way round."""
    chance = random.Random(seed)
    one, other = ([chance.gauss(0, 1) for _ in range(rows)] for _ in range(2))
    kind = [names[(x + y > 0) != wrong] for x, y in zip(one, other, strict=True)]
    return {"one": one, "other": other, "kind": kind}


def fit(path, data, given=SMALL, label="kind", **named):
    predictor = MultiModalPredictor(label=label, path=path, verbosity=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)
        return predictor.fit(data, hyperparameters=given, **named)


def weights(predictor):
    state = predictor.exportable().graphs["predict"].state_dict()
    return {name: tensor.clone() for name, tensor in state.items()}
