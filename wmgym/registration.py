"""The only table from id to environment. Entry points are strings, so `import wmgym` imports none of them."""

import gymnasium
from gymnasium.envs.registration import EnvSpec

_SPECS = [
    EnvSpec(
        id="LSSVWM-MemoryMaze-v0",
        entry_point="wmgym.env:DreamEnv",
        vector_entry_point="wmgym.vector_env:DreamVectorEnv",
        max_episode_steps=1000,
    ),
    EnvSpec(
        id="LSSVWM-Minecraft-v0",
        entry_point="wmgym.minecraft:make_dream",
        vector_entry_point="wmgym.minecraft:make_dreams",
        max_episode_steps=1000,
    ),
    *(
        EnvSpec(
            id=f"wmgym/MemoryMaze-{size}-v0",
            entry_point="wmgym.memory_maze:MemoryMazeEnv",
            kwargs={"size": size},
        )
        for size in ("9x9", "11x11", "13x13", "15x15")
    ),
    EnvSpec(id="wmgym/MineRL-v0", entry_point="wmgym.minerl:MineRLEnv", kwargs={"task": "MineRLTreechop-v0"}),
    EnvSpec(id="wmgym/TextureWorld-v0", entry_point="wmgym.texture_world:TextureWorldEnv", max_episode_steps=1000),
]


def register_all() -> None:
    """Make every id known to `gymnasium.make`. Calling it again changes nothing."""
    for spec in _SPECS:
        gymnasium.registry.setdefault(spec.id, spec)
