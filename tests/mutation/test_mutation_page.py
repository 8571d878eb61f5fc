"""The page on mutation testing adds up, and speaks of code that is there."""

import ast
from collections import Counter

from tests.mutation.__main__ import by_module, place_of
from tests.mutation.judged import PAGE, ROOT, Figures, Place, figures, judged

MUTATED = ("segment/*.py", "domain/guard.py", "state/ledger.py", "delivery/verdicts.py", "http/times.py")


def functions_of(module: str) -> set[str]:
    """The functions of a module, with their class before them."""
    body = ast.parse((ROOT / "windsor_sync" / module).read_text(encoding="utf-8")).body
    methods = {
        f"{outer.name}.{inner.name}"
        for outer in body
        if isinstance(outer, ast.ClassDef)
        for inner in outer.body
        if isinstance(inner, ast.FunctionDef)
    }
    return methods | {one.name for one in body if isinstance(one, ast.FunctionDef)}


def test_the_page_has_figures_of_every_module_it_speaks_of() -> None:
    package = ROOT / "windsor_sync"
    modules = {str(path.relative_to(package)) for pattern in MUTATED for path in package.glob(pattern)}
    assert set(figures()) == modules - {"segment/__init__.py"}


def test_every_mutant_that_was_not_caught_is_judged_once() -> None:
    left: Counter[str] = Counter()
    for place, count in judged().items():
        left[place.module] += count
    for module, counted in figures().items():
        assert counted.mutants == counted.killed + counted.timed_out + counted.left, module
        assert counted.left == left[module], module


def test_a_judgement_is_about_a_function_that_is_there() -> None:
    assert [place for place in judged() if place.function not in functions_of(place.module)] == []


def test_every_row_of_the_pages_tables_is_read() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert len(rows) == len(figures()) + len(judged())


def test_a_mutants_name_leads_to_its_function() -> None:
    assert place_of("windsor_sync.state.ledger.xǁLedgerǁhead__mutmut_8") == Place("state/ledger.py", "Ledger.head")
    assert place_of("windsor_sync.segment.calls.x__id_text__mutmut_1") == Place("segment/calls.py", "_id_text")


def test_figures_count_what_no_test_ran_or_caught_as_left() -> None:
    fates = {
        f"windsor_sync.domain.guard.x_judge__mutmut_{number}": fate
        for number, fate in enumerate(("killed", "killed", "timeout", "survived", "no tests"))
    }
    assert by_module(fates) == {"domain/guard.py": Figures(mutants=5, killed=2, timed_out=1, left=2)}
