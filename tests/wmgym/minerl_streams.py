"""Streams as MineRL's data set has them, written with PyAV, for tests."""

import json

import av
import numpy as np

KEYS = ("attack", "back", "forward", "jump", "left", "right", "sneak", "sprint")


def write_video(path, frames, codec="libx264"):
    """Write RGB frames `(t, H, W, 3)` as MineRL's videos are: H.264, 4:2:0, 20 a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=20)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        stream.options = {"crf": "1"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def grey_frames(count, height=64, width=64):
    """Frames of one grey each, 5 levels lighter one by one, so that a frame tells its number."""
    levels = (20 + 5 * np.arange(count)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


def number_of(frame):
    """The number of a grey frame, to half a step."""
    return round((float(frame.mean()) - 20) / 5)


def idle_rows(steps, **pressed):
    """Rows of `rendered.npz` in which nothing is pressed but what is given, keys and `camera`, `place`, `reward`."""
    arrays = {f"action${key}": np.zeros(steps, np.int64) for key in KEYS}
    arrays |= {"action$camera": np.zeros((steps, 2), np.float32), "reward": np.zeros(steps, np.float32)}
    arrays["observation$compass$angle"] = np.zeros(steps + 1, np.float32)
    arrays["observation$inventory$dirt"] = np.zeros(steps + 1, np.int64)
    for key, value in pressed.items():
        arrays["reward" if key == "reward" else f"action${key}"] = np.asarray(value)
    return arrays


def write_stream(folder, frames, arrays, **metadata):
    """Write a stream's three files into a new folder."""
    folder.mkdir(parents=True)
    write_video(folder / "recording.mp4", frames)
    np.savez_compressed(folder / "rendered.npz", **arrays)
    steps = len(arrays["reward"])
    told = {
        "success": False,
        "duration_ms": steps * 50,
        "duration_steps": steps,
        "total_reward": float(arrays["reward"].sum()),
        "stream_name": folder.name,
        "true_video_frame_count": len(frames),
        **metadata,
    }
    (folder / "metadata.json").write_text(json.dumps(told))
    return folder
