"""Videos with actions that are damaged or do not fit are named, and never shown as a guess."""

import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from tests.wmgym.teco_videos import FRAMES, NUMBERS, tell_tale, write
from wmgym.errors import DependencyError, RecordingError
from wmgym.recording import Episode, read_episode, scan
from wmgym.video_rules import VideoRules
from wmgym.video_writing import write_video_episode


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        (NUMBERS[:-2], "31 frames and 29 actions given, expected as many"),
        ([*NUMBERS, 1, 1], "31 frames and 33 actions given, expected as many"),
        (np.where(np.arange(FRAMES) == 7, 9, NUMBERS), "action 9 led to frame 7, expected 1 to 3"),
        (np.where(np.arange(FRAMES) == 7, 0, NUMBERS), "action 0 led to frame 7"),
        (np.maximum(NUMBERS, 1), "the first of them 1, expected the placeholder 0"),
        (NUMBERS.astype(np.float32), "actions are float32"),
        (NUMBERS[:, None], r"actions are int64 \(31, 1\)"),
        (np.zeros(0, int), "expected as many"),
    ],
)
def test_actions_that_do_not_fit_are_named_and_the_rest_is_used(teco_video, teco_folder, numbers, named):
    odd = write(teco_folder / "w1" / "000000.mp4", tell_tale(NUMBERS), numbers)
    found = scan(teco_folder)
    assert found.usable == [teco_video]
    assert list(found.unusable) == [odd]
    assert "Fix: " in found.unusable[odd]
    with pytest.raises(RecordingError, match=f"w1/000000.*{named}"):
        read_episode(odd)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def cut_within_frames(path):
    path.write_bytes(path.read_bytes()[:300])


def garbage(path):
    path.write_bytes(b"no video at all" * 100)


def empty(path):
    path.write_bytes(b"")


def without_actions(path):
    path.with_suffix(".npz").unlink()


def without_the_key(path):
    np.savez(path.with_suffix(".npz"), action=NUMBERS)


def broken_archive(path):
    path.with_suffix(".npz").write_bytes(b"PK")


def killed_recorder(path):
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 4])


@pytest.mark.parametrize(
    "damage",
    [cut, cut_within_frames, garbage, empty, without_actions, without_the_key, broken_archive, killed_recorder],
)
def test_damage_that_a_table_of_contents_shows_is_found_by_scan(teco_video, teco_folder, damage):
    odd = write(teco_folder / "w1" / "7.mp4", tell_tale(NUMBERS), NUMBERS)
    damage(odd)
    found = scan(teco_folder)
    assert found.usable == [teco_video]
    assert odd.stem in found.unusable[odd]
    with pytest.raises(RecordingError, match="w1/7"):
        read_episode(odd)


def test_a_video_that_is_missing_is_told(teco_video):
    teco_video.unlink()
    with pytest.raises(RecordingError, match=r"missing video, and there is no 000000.mp4 beside it; found actions"):
        read_episode(teco_video.with_suffix(".npz"))
    assert list(scan(teco_video.parent.parent).unusable) == [teco_video.with_suffix(".npz")]


def test_damaged_frames_are_an_error_and_no_guess(tmp_path, texture_walk):
    path = tmp_path / "a.mp4"
    write_video_episode(path, texture_walk, VideoRules())
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(np.random.default_rng(0).integers(0, 256, 400, np.uint8))
    path.write_bytes(data)
    assert scan(tmp_path).usable == [path]
    with pytest.raises(RecordingError, match=r"a.mp4: .*Fix: fetch it again"):
        read_episode(path)


def test_frames_that_change_their_size_are_named(teco_folder):
    """Pictures in MJPEG carry their own size, whatever the file says."""
    path = write(teco_folder / "w0" / "0.mp4", tell_tale(NUMBERS), NUMBERS)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=20)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuvj420p"
        for i in range(FRAMES):
            side = 32 if i < 20 else 48
            encoder = av.CodecContext.create("mjpeg", "w")
            encoder.width = encoder.height = side
            encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuvj420p", Fraction(1, 20), 20
            frame = av.VideoFrame.from_ndarray(np.full((side, side, 3), 99, np.uint8), format="rgb24")
            for packet in encoder.encode(frame.reformat(format="yuvj420p")):
                packet.stream, packet.pts, packet.dts = stream, i, i
                container.mux(packet)
    with pytest.raises(RecordingError, match=r"0.mp4: frame 20 has 48x48 pixels, the file says 32x32"):
        read_episode(path)


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[1]",
        '{"first_action": 1}',
        '{"first_action": 1, "action_count": 3, "actions": 3}',
        '{"first_action": 1.5, "action_count": 3}',
        '{"first_action": 1, "action_count": 0}',
        '{"first_action": 0, "action_count": 3, "placeholder": 0}',
        '{"first_action": 1, "action_count": 3, "frame_skip": 0}',
        '{"first_action": 1, "action_count": 3, "frame_skip": true}',
        '{"first_action": 1, "action_count": 3, "mixed_actions": "last"}',
        '{"first_action": 1, "action_count": 3, "frame_skip": 9, "mixed_actions": "combine"}',
    ],
)
def test_rules_that_are_none_are_refused(teco_video, teco_folder, text):
    (teco_folder.parent / "dataset.json").write_text(text)
    with pytest.raises(RecordingError, match=r"minecraft/dataset.json: states no rules"):
        read_episode(teco_video)


def test_without_pyav_it_is_said_how_to_get_it(teco_video, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert scan(teco_video.parent.parent).usable == [teco_video]
    with pytest.raises(DependencyError, match=r"pip install -e '\.\[video-data\]' in a clone of wmgym"):
        read_episode(teco_video)


@pytest.mark.parametrize(
    ("image", "rules", "named"),
    [
        ((3, 32, 32, 3), VideoRules(action_count=4), "an episode of 3 actions"),
        ((3, 32, 32, 3), VideoRules(frame_skip=2), "a frame_skip of 2"),
        ((3, 31, 32, 3), VideoRules(), "frames of 31x32"),
    ],
)
def test_what_cannot_be_written_leaves_no_file(tmp_path, image, rules, named):
    episode = Episode(np.zeros(image, np.uint8), np.zeros(3, np.int64), np.zeros(3, np.float32), action_count=3)
    with pytest.raises(ValueError, match=named):
        write_video_episode(tmp_path / "a.mp4", episode, rules)
    assert list(tmp_path.iterdir()) == []
