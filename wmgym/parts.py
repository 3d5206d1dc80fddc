"""What a step of dreams is made of: the methods to watch where the time goes (`agents.learning_time`)."""

from wmgym.disagreement import Disagreement
from wmgym.dream import Dreams
from wmgym.stepping import FastStepping, PlainStepping
from wmgym.vector_env import DreamVectorEnv

DREAM_PARTS: tuple[tuple[type, str, str], ...] = (
    (FastStepping, "imagine", "dreaming"),
    (PlainStepping, "imagine", "dreaming"),
    (Disagreement, "measure", "disagreement"),
    (Dreams, "frames", "decoding"),
    (Dreams, "start", "starting dreams"),
    (Dreams, "step", "environment"),
    (DreamVectorEnv, "step", "environment"),
    (DreamVectorEnv, "reset", "environment"),
)
"""Class, method, and the part its seconds belong to: the network that dreams, decoding, starts, and what is around them
(noise, copies, ends)."""
