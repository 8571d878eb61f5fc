"""Change the rules one at a time, and see that a test fails: `make mutation`.

Ends with 1 when a mutant is left that docs/mutation.md does not judge, or when the page judges one that is no more.
Arguments go to `mutmut run`: `--max-children 1` takes one processor.
"""

import re
import shutil
import subprocess
import sys
from collections import Counter

from tests.mutation.judged import ROOT, Figures, Place, judged

MUTMUT = (sys.executable, "-m", "mutmut")
CAUGHT = ("killed", "timeout")


def main() -> int:
    """Run it, show the figures and what is left; the exit status."""
    shutil.rmtree(ROOT / "mutants", ignore_errors=True)
    subprocess.run([*MUTMUT, "run", *sys.argv[1:]], cwd=ROOT, check=True)
    fates = fates_of(_output("results", "--all", "true"))
    left = {name: place_of(name) for name, fate in fates.items() if fate not in CAUGHT}
    for name, place in left.items():
        print(f"\n{place.module} {place.function} ({fates[name]})")
        print(_difference(_output("show", name)))
    print("\n| module | mutants | killed | timed out | left |\n|---|---|---|---|---|")
    print("\n".join(counted.row(module) for module, counted in by_module(fates).items()))
    return _compare(Counter(left.values()))


def fates_of(results: str) -> dict[str, str]:
    """What became of each mutant by its name, as `mutmut results` lists them."""
    lines = (line.strip().rpartition(": ") for line in results.splitlines())
    return {name: fate for name, _, fate in lines if "__mutmut_" in name}


def place_of(name: str) -> Place:
    """The function that a mutant's name (`package.module.xǁClassǁmethod__mutmut_7`) is about."""
    module, _, function = name.rpartition("__mutmut_")[0].rpartition(".")
    path = module.removeprefix("windsor_sync.").replace(".", "/") + ".py"
    return Place(path, function.removeprefix("xǁ").removeprefix("x_").replace("ǁ", "."))


def by_module(fates: dict[str, str]) -> dict[str, Figures]:
    """The figures of each module."""
    counts: dict[str, Counter[str]] = {}
    for name, fate in fates.items():
        counts.setdefault(place_of(name).module, Counter())[fate] += 1
    return {
        module: Figures(sum(c.values()), c["killed"], c["timeout"], sum(c.values()) - c["killed"] - c["timeout"])
        for module, c in sorted(counts.items())
    }


def _compare(left: Counter[Place]) -> int:
    """Say where the page and this run differ."""
    known = judged()
    differing = [place for place in sorted({*left, *known}, key=str) if left[place] != known[place]]
    for place in differing:
        print(f"docs/mutation.md judges {known[place]} of {place.module} {place.function}, {left[place]} are left")
    if not differing:
        print("\nEvery mutant that is left is judged in docs/mutation.md.")
    return 1 if differing else 0


def _difference(diff: str) -> str:
    """The changed lines of a diff, without the files' names."""
    return "\n".join(line for line in diff.splitlines() if re.match(r"[-+](?![-+])", line))


def _output(*arguments: str) -> str:
    return subprocess.run([*MUTMUT, *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
