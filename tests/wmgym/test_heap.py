"""Freed memory stays: in a process of its own, since it changes the whole process."""

import subprocess
import sys

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
