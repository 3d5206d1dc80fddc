"""Videos with actions are read one after the other in the memory of a few."""

from wmgym.heap import resident_bytes
from wmgym.recording import scan
from wmgym.video_rules import VideoRules
from wmgym.video_writing import write_video_episode


def test_reading_on_and_on_takes_no_more_memory(tmp_path, texture_walk):
    """Far more frames than the bound would hold: 200 episodes of half a megabyte."""
    from wmgym.encoding import sound_episodes

    write_video_episode(tmp_path / "a.mp4", texture_walk, VideoRules())
    folder = tmp_path / "many" / "w0"
    folder.mkdir(parents=True)
    for i in range(200):
        for suffix in (".mp4", ".npz"):
            (folder / f"{i:06d}{suffix}").symlink_to(tmp_path / f"a{suffix}")
    found = scan(folder.parent)
    assert (len(found.usable), found.unusable) == (200, {})
    taken = 0
    for i, (_, episode) in enumerate(sound_episodes(found.usable)):
        taken += episode.image.nbytes
        if i == 20:
            before = resident_bytes()
    grown = resident_bytes() - before
    assert taken > 90 << 20
    assert grown < 15 << 20
