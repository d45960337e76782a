"""The docstring of an attribute is the string literal below its annotated assignment."""

from __future__ import annotations

from runtime.metadata.attribute_docs import attribute_docs


class Lamp:
    """A lamp."""

    colour: str = "red"
    """Its colour.

    A word of English.
    """
    power: int
    "Its power in watts."
    height: int = 3
    plain = 1
    """Not annotated."""

    def switch(self) -> None:
        """Switch it on."""


class Lantern(Lamp):
    handle: str = "brass"
    """What it hangs by."""


def test_a_docstring_belongs_to_the_attribute_above_it() -> None:
    docs = attribute_docs(Lamp)
    assert docs["colour"] == "Its colour.\n\nA word of English."
    assert docs["power"] == "Its power in watts."


def test_what_is_not_annotated_has_no_docstring() -> None:
    assert "plain" not in attribute_docs(Lamp)
    assert "switch" not in attribute_docs(Lamp)


def test_a_class_has_its_own_docstrings_only() -> None:
    assert set(attribute_docs(Lantern)) == {"handle"}


def test_a_class_without_source_has_no_docstrings() -> None:
    made = type("Made", (), {"__annotations__": {"field": "int"}})
    assert attribute_docs(made) == {}
