"""The benchmark of the scan: nothing is timed that computes something else, and what is missing is told."""

import json
import math
import sys

import pytest
import torch

from experiments import bench_scan
from experiments.bench_scan import MINIMAL, Args, Contest, as_markdown, find_public, main, make_contests

TINY, CHUNKS = (2, 24, 16, 8, 4), (4, 12)
SCAN = "scan, 2 x 24 tokens, width 16, head 8, state 4"
MIXER = SCAN.replace("scan", "mixer")
KEYS = ["system", "shape", "direction", "chunk", "seconds", "against_ours", "against_floor", "matmul_gflops"]
STAND_IN = """
from model.ssm import scan_reference

def ssd(x, A, B, C, chunk_size, device=None):
    state = x.new_zeros(x.shape[0], *x.shape[2:], B.shape[-1])
    y, state = scan_reference(x[:, None, :, None], A[:, None, :, None], B[:, None], C[:, None], state)
    return {}, state
"""
RIGHT = "y[:, 0, :, 0]"


@pytest.fixture
def alone(monkeypatch):
    """A machine with none of the packages, whatever this one has."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("transformers", "mamba_ssm", "fla"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def stand_in(tmp_path):
    """A function that writes an opponent of the interface of mamba2-minimal, and returns Args that name it."""

    def write(returned=RIGHT, **changes):
        (tmp_path / "mamba2.py").write_text(STAND_IN.format(returned))
        settings = {"shapes": (TINY,), "chunks": CHUNKS, "repeats": 2} | changes
        return Args(tmp_path / "out", tmp_path / "mamba2.py", **settings)

    return write


def test_the_script_leaves_a_row_a_system_and_direction(alone, stand_in, capsys):
    args = stand_in()
    metrics = main(args)["metrics"]
    rows = metrics["rows"]
    systems, directions = ("ours", MINIMAL), ("forward", "backward", "both")
    expected = [(system, SCAN, direction) for direction in directions for system in systems]
    assert [(row["system"], row["shape"], row["direction"]) for row in rows] == expected
    assert all(list(row) == KEYS and row["seconds"] > 0 and row["chunk"] in CHUNKS for row in rows)
    for ours, theirs in zip(rows[::2], rows[1::2], strict=True):
        assert ours["against_ours"] == 1
        assert theirs["against_ours"] == theirs["seconds"] / ours["seconds"]
        assert theirs["against_floor"] / ours["against_floor"] == pytest.approx(theirs["against_ours"])
    assert 0 < metrics["differences"][SCAN][MINIMAL] < 1e-5
    assert metrics["versions"][MINIMAL].startswith("sha256 ")
    assert json.loads((args.output / "result.json").read_text())["metrics"] == metrics
    page = (args.output / "result.md").read_text()
    assert page.count(f"| {SCAN} | ") == len(rows)
    assert capsys.readouterr().out == page


@pytest.mark.parametrize(
    ("returned", "named"),
    [
        (f"1.001 * {RIGHT}", "the output differs by 0.001 of"),
        (f"0 * {RIGHT}", "the output differs by 1 of"),
        (f"{RIGHT} / 0", "the output differs by (nan|inf) of"),
        (f"{RIGHT} + (A - A.detach()).sum()", "the gradient of a differs by"),
        (f"{RIGHT} + 0.01 * (B - B.detach()).sum()", "the gradient of B differs by"),
    ],
)
def test_an_opponent_that_computes_something_else_is_refused(returned, named, alone, stand_in, monkeypatch):
    monkeypatch.setattr(Contest, "rows", lambda *_: pytest.fail("timed"))
    args = stand_in(returned)
    with pytest.raises(
        ValueError, match=f"mamba2-minimal at chunk 4 does not compute our scan .*: {named}.* Nothing was"
    ):
        main(args)
    assert not args.output.exists()


def test_each_chunk_size_is_checked_not_only_the_first(alone, stand_in):
    args = stand_in(f"{RIGHT} * (1.01 if chunk_size == 12 else 1)")
    with pytest.raises(ValueError, match="mamba2-minimal at chunk 12 does not compute our scan"):
        main(args)


def test_a_tolerance_is_a_tolerance(alone, stand_in):
    metrics = main(stand_in(f"1.001 * {RIGHT}", tolerance=0.002))["metrics"]
    assert metrics["differences"][SCAN][MINIMAL] == pytest.approx(1e-3, rel=0.01)


def test_each_system_and_direction_takes_its_fastest_chunk_size_and_the_median(monkeypatch):
    seconds = {
        ("ours", 4): iter([(2.0, 9.0), (4.0, 9.0), (3.0, 9.0)]), ("ours", 12): iter([(5.0, 5.0)] * 3),
        ("theirs", 4): iter([(6.0, 20.0), (6.0, 0.0), (60.0, 20.0)]), ("theirs", 12): iter([(9.0, 10.0)] * 3),
    }  # fmt: skip
    order = []

    def run(self, name, chunk):
        order.append((name, chunk))
        forward, backward = next(seconds[name, chunk])
        return [], (forward, backward, forward + backward)

    monkeypatch.setattr(Contest, "run", run)
    counted = {4: (200, 500, 700), 12: (300, 300, 600)}
    monkeypatch.setattr(Contest, "operations", lambda self, chunk: counted[chunk])
    rates = iter([100.0, 1.0, 900.0])  # one a round; the median counts
    monkeypatch.setattr(bench_scan, "measure_matmul", lambda *_, **__: next(rates))
    contest = Contest("tiny", dict.fromkeys(("ours", "theirs"), lambda _: None), {}, torch.zeros(1))
    rows = contest.rows(CHUNKS, 3)
    assert {row["matmul_gflops"] for row in rows} == {100 / 1e9}
    assert [[row[key] for key in KEYS if key not in ("shape", "matmul_gflops")] for row in rows] == [
        ["ours", "forward", 4, 3.0, 1.0, 1.5], ["theirs", "forward", 4, 6.0, 2.0, 3.0],
        ["ours", "backward", 12, 5.0, 1.0, 5 / 3], ["theirs", "backward", 12, 10.0, 2.0, 10 / 3],
        ["ours", "both", 12, 10.0, 1.0, 10 / 6], ["theirs", "both", 12, 19.0, 1.9, 19 / 6],
    ]  # fmt: skip
    assert [name for name, _ in order[:4]] == ["ours", "theirs"] * 2
    assert [order[i] for i in (0, 4, 8)] == [("ours", 4), ("theirs", 4), ("ours", 12)]


def test_the_floor_counts_the_products_of_our_scan_forward_and_backward():
    stand_in = {MINIMAL: ("", lambda *_, **__: [None])}  # a scan is compared with something, or not at all
    (contest,) = make_contests(TINY, stand_in, 0, torch.device("cpu"))
    sequences, tokens, width, head, state = TINY
    chunk, heads = 12, width // head
    forward, backward, both = contest.operations(chunk)
    # of each token: into the state and out of it; scores, and values by them; and the sum of log decays
    products = 2 * state * width + 2 * state * width + 2 * chunk * state + 2 * chunk * width
    assert forward == sequences * tokens * (products + 2 * chunk * heads)
    # each product has the gradients of both its factors to compute, the sum of decays that of one
    assert backward == sequences * tokens * (2 * products + 2 * chunk * heads)
    assert both == forward + backward


def test_the_table_says_what_was_measured_and_what_was_not():
    row = dict(zip(KEYS, ("mamba2-minimal", SCAN, "backward", 32, 0.01234, 2.5, 7.25, 151.7), strict=True))
    told = {"device": "cpu", "threads": 2, "left_out": ["fla: its kernels need a GPU"]}
    page = as_markdown(told | {"rows": [row, row | {"matmul_gflops": 160.2}]})
    assert page.startswith("cpu, 2 thread(s), float32. Above 1 against ours, ours is faster. The floor is ")
    assert "product meanwhile, 152 to 160 GFLOP/s.\n\n| shape | " in page
    assert f"\n| {SCAN} | backward | mamba2-minimal | 32 | 12.3 | 2.50x | 7.25x |\n\nLeft out: fla: its" in page


def test_what_is_missing_is_told_with_how_to_have_it(alone, stand_in):
    left_out = main(stand_in())["metrics"]["left_out"]
    assert [reason.partition(": ")[0] for reason in left_out] == ["transformers", "mamba-ssm", "fla"]
    assert left_out[0].endswith("; to have it, pip install transformers")
    assert left_out[2] == "fla: its kernels need a GPU; to have it, pip install flash-linear-attention"


def test_a_broken_opponent_is_left_out_not_raised(alone, stand_in):
    args = stand_in()
    args.mamba2_minimal.write_text("raise RuntimeError('no such operator')")
    found, left_out = find_public(args.mamba2_minimal, torch.device("cpu"))
    assert found == {}
    assert left_out[0].startswith(
        "mamba2-minimal: no such operator; to have it, pass --mamba2-minimal the mamba2.py of"
    )


def test_with_nothing_to_compare_there_is_nothing_to_measure(alone, tmp_path):
    with pytest.raises(
        ValueError, match=r"nothing to compare our scan with:\n- mamba2-minimal: its file was not given;"
    ):
        main(Args(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"repeats": 0}, "--repeats 0 given, expected 1 to 1000"),
        ({"tolerance": math.nan}, "--tolerance nan given, expected 0 to 0.1"),
        ({"seed": -1}, "--seed -1 given"),
        ({"shapes": ()}, r"--shapes \(\) --chunks \(4, 12\) given, expected widths"),
        ({"chunks": ()}, r"--chunks \(\) given, expected widths"),
        ({"chunks": (5,)}, "tokens that each chunk divides"),
        ({"shapes": ((2, 24, 15, 5, 4),)}, "expected widths that 2 and the head's channels divide"),
        ({"shapes": ((2, 24, 16, 0, 4),)}, "expected widths"),
    ],
)
def test_settings_that_cannot_be_measured_are_refused(changes, named, alone, stand_in):
    with pytest.raises(ValueError, match=named):
        main(stand_in(**changes))


def test_transformers_is_compared_as_a_mixer_and_where_it_can_be_as_a_scan(tmp_path):
    modeling = pytest.importorskip("transformers.models.mamba2.modeling_mamba2")
    metrics = main(Args(tmp_path, shapes=(TINY,), chunks=CHUNKS, repeats=1))["metrics"]
    names = ([SCAN] if hasattr(modeling, "mamba2_chunk_scan") else []) + [MIXER]
    assert list(metrics["differences"]) == names
    assert all(value["transformers"] < 1e-5 for value in metrics["differences"].values())
    assert {row["shape"] for row in metrics["rows"] if row["system"] == "transformers"} == set(names)


@pytest.mark.gpu
def test_on_a_gpu_the_kernels_that_are_installed_are_compared(tmp_path):
    pytest.importorskip("mamba_ssm")
    metrics = main(Args(tmp_path, shapes=((2, 128, 64, 32, 64),), chunks=(32, 64), repeats=1, tolerance=0.02))[
        "metrics"
    ]
    assert "mamba-ssm" in metrics["versions"]
