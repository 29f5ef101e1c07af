"""docs/methods.md is what the code says today."""

from snaking import ROOT

from pipeline.methods.catalogue import METHODS
from workflow.commands import method_docs


def test_the_page_is_current() -> None:
    assert (ROOT / "docs/methods.md").read_text() == method_docs.page(), "run `make docs`"


def test_every_method_has_its_section_with_source_and_evidence() -> None:
    for name, method in METHODS.items():
        section = method_docs.section(name, method)
        assert method.source in section
        assert method_docs.EVIDENCE[method.evidence] in section


def test_what_is_known_from_an_abstract_is_said_to_be() -> None:
    assert "known from its abstract only" in method_docs.section("okd", METHODS["okd"])
