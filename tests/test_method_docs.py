"""docs/methods.md is what the code says today."""

from snaking import ROOT

from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import EVIDENCE
from workflow.commands import methods


def test_the_page_is_current() -> None:
    page = (ROOT / "docs/methods.md").read_text()
    missing = [name for name in METHODS if f"\n## {name}: " not in page]
    assert not missing, f"docs/methods.md lacks {', '.join(missing)}: run `make docs`"
    assert page == methods.page(), "docs/methods.md is not what the code says: run `make docs`"


def test_every_method_has_its_section_with_source_and_evidence() -> None:
    for name, method in METHODS.items():
        section = methods.section(name, method)
        assert method.source in section
        assert EVIDENCE[method.evidence] in section


def test_what_is_known_from_an_abstract_is_said_to_be() -> None:
    assert "known from its abstract only" in methods.section("okd", METHODS["okd"])


def test_a_value_of_several_lines_stays_in_its_line_of_the_list() -> None:
    for name, method in METHODS.items():
        _, *facts = methods.section(name, method).split("\n\n")
        assert len(facts) == 1, name
        assert all(line.startswith("- ") for line in facts[0].splitlines()), name
