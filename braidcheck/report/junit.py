"""Joins the JUnit files of several pytest runs into one."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree


def merge(files: Iterable[Path]) -> str:
    """One JUnit document with the test suites of all ``files``."""
    root = ElementTree.Element("testsuites", name="braidcheck")
    for file in files:
        root.extend(ElementTree.parse(file).getroot())
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True)
