"""Freed memory stays: in a process of its own, since it changes the whole process."""

import mmap
import subprocess
import sys

from wmgym.heap import resident_bytes

PROGRAM = """
import sys, torch
if sys.argv[1] == "keep":
    from wmgym.heap import keep_freed_memory
    if not keep_freed_memory():
        print("no glibc"); raise SystemExit
import resource
def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.set_num_threads(1)
for _ in range(12): torch.ones(16 << 20).sum()
before = faults()
for _ in range(5): torch.ones(16 << 20).sum()
print(faults() - before)
"""


def faults(how):
    out = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return out.stdout.strip()


def test_memory_is_not_asked_from_the_system_anew():
    kept = faults("keep")
    if kept != "no glibc":
        assert int(kept) < 100 < int(faults("as it is"))


def test_memory_that_is_taken_is_told():
    before, taken = resident_bytes(), 64 << 20
    with mmap.mmap(-1, taken) as fresh:  # not from the heap, which may hold freed memory
        fresh.write(b"1" * taken)
        assert resident_bytes() - before > 0.9 * taken
