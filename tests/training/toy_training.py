"""A small GAN-like training for the tests; as a script it is the process that the tests kill.

    python tests/toy_training.py OUT STEPS [--resume] [--slow]
"""
import sys
import time
from pathlib import Path

import torch
from torch import nn

from expr_course.training.callbacks import Callback
from expr_course.training.checkpoint import standard_callbacks
from expr_course.device import seed_everything
from expr_course.training.learner import FunctionSource, Learner, System, cosine, warmup


class Toy(System):
    """Two networks, two optimisers of different kinds, dropout and global noise: everything a resume can get wrong."""

    def __init__(self, width: int = 8):
        super().__init__()
        self.g = nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.Dropout(0.2), nn.Linear(width, 3))
        self.d = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 1))

    def optimizers(self):
        return {"d": torch.optim.Adam(self.d.parameters(), 1e-2, betas=(0.5, 0.99)),
                "g": torch.optim.SGD(self.g.parameters(), 1e-2, momentum=0.9)}

    def phases(self, batch, step):
        fake = self.g(torch.randn(8, 4, device=batch["x"].device))
        yield (
            "d",
            {
                "real": -self.d(batch["x"]).mean(), "fake": self.d(fake.detach()).mean(),
                "size": self.d(batch["x"]).square().mean(),
            },
        )
        if step % 2 == 0:
            yield "g", {"adv": -self.d(fake).mean(), "l2": 0.1 * fake.square().mean()}
        self.report(spread=fake.std())

    def ema_modules(self):
        return {"g": self.g}

    def samples(self):
        return torch.tanh(self.g(torch.randn(4, 4))).reshape(4, 3, 1, 1).expand(4, 3, 4, 4)


def batch(k: int) -> dict[str, torch.Tensor]:
    return {"x": torch.randn(8, 3, generator=torch.Generator().manual_seed(k)) + 1}


class Announce(Callback):
    """Tells the parent process every step, so that it can kill at a step of its choice."""

    def after_step(self, learner):
        print(learner.step, flush=True)
        time.sleep(0.01)


def make(out: Path | None, steps: int, save_every: int = 7, extra=(), seed: int = 0, **options) -> Learner:
    seed_everything(seed)
    callbacks = (
        [*extra, *standard_callbacks(log_every=5, save_every=save_every, sample_every=20, progress=False)]
        if out
        else list(extra)
    )
    settings = dict(schedule=warmup(cosine(), 0.1), clip=1.0, ema=0.9, device="cpu") | options
    return Learner(Toy(), FunctionSource(batch), steps, callbacks, out=out, **settings)


if __name__ == "__main__":
    torch.set_num_threads(1)
    make(Path(sys.argv[1]), int(sys.argv[2]), extra=[Announce()] if "--slow" in sys.argv else []).fit(
        "--resume" in sys.argv
    )
