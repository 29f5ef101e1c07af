"""docs/methods.md is what the code says today."""

from snaking import ROOT

from pipeline.methods.catalogue import METHODS
from workflow.commands import methods


def test_the_page_is_current() -> None:
    assert (ROOT / "docs/methods.md").read_text() == methods.page(), "run `make docs`"


def test_every_method_has_its_section_with_source_and_evidence() -> None:
    for name, method in METHODS.items():
        section = methods.section(name, method)
        assert method.source in section
        assert methods.EVIDENCE[method.evidence] in section


def test_what_is_known_from_an_abstract_is_said_to_be() -> None:
    assert "known from its abstract only" in methods.section("okd", METHODS["okd"])
