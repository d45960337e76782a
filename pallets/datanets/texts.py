"""Rules on the texts of a datanet, and the licences it may carry.

Only properties that every Python version judges alike are checked: ASCII letters, byte lengths.
"""

from __future__ import annotations

import re
from typing import Final

from pallets.datanets.records import (
    SUMMARY_BYTES_MAX,
    TAG_BYTES_MAX,
    TAGS_MAX,
    TEXT_BYTES_MAX,
    Profile,
)

OPEN_LICENCES: Final = frozenset(
    (
        "0BSD",
        "AFL-3.0",
        "AGPL-3.0-only",
        "AGPL-3.0-or-later",
        "Apache-2.0",
        "Artistic-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC-BY-3.0",
        "CC-BY-4.0",
        "CC-BY-SA-3.0",
        "CC-BY-SA-4.0",
        "CC0-1.0",
        "CDLA-Permissive-1.0",
        "CDLA-Permissive-2.0",
        "CDLA-Sharing-1.0",
        "EPL-2.0",
        "EUPL-1.2",
        "GFDL-1.3-only",
        "GFDL-1.3-or-later",
        "GPL-2.0-only",
        "GPL-2.0-or-later",
        "GPL-3.0-only",
        "GPL-3.0-or-later",
        "ISC",
        "LGPL-2.1-only",
        "LGPL-2.1-or-later",
        "LGPL-3.0-only",
        "LGPL-3.0-or-later",
        "MIT",
        "MIT-0",
        "MPL-2.0",
        "MS-PL",
        "ODbL-1.0",
        "ODC-By-1.0",
        "OGL-UK-3.0",
        "PDDL-1.0",
        "PSF-2.0",
        "Python-2.0",
        "UPL-1.0",
        "Unlicense",
        "W3C",
        "Zlib",
    )
)
"""SPDX identifiers of open licences for data, text and code."""

_OWN_LICENCE = re.compile(r"LicenseRef-[A-Za-z0-9.-]{1,64}")
_BLANK = " \t\r\n"


def is_licence(licence: str) -> bool:
    """Return whether a licence is an open SPDX identifier, or a `LicenseRef-` to an own one."""
    return licence in OPEN_LICENCES or _OWN_LICENCE.fullmatch(licence) is not None


def has_blank_text(profile: Profile) -> bool:
    """Return whether a mandatory text of a profile has nothing but white space."""
    mandatory = (profile.summary, profile.source, profile.purpose, profile.schema)
    return any(not text.strip(_BLANK) for text in mandatory)


def has_long_text(profile: Profile) -> bool:
    """Return whether a text of a profile, or the list of its tags, is longer than allowed."""
    texts = (profile.description, profile.source, profile.purpose, profile.schema)
    return (
        _size_bytes(profile.summary) > SUMMARY_BYTES_MAX
        or any(_size_bytes(text) > TEXT_BYTES_MAX for text in texts)
        or len(profile.tags) > TAGS_MAX
        or any(_size_bytes(tag) > TAG_BYTES_MAX for tag in profile.tags)
    )


def _size_bytes(text: str) -> int:
    return len(text.encode())
