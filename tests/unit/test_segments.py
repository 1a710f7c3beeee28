"""Number of SMS of a text. The tables are counted by hand from 3GPP TS 23.038 and 23.040."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.segments import Segments, count_segments

_GSM = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)


@pytest.mark.parametrize(
    ("text", "encoding", "units", "count"),
    [
        ("", "GSM-7", 0, 1),
        ("Hi", "GSM-7", 2, 1),
        ("a" * 160, "GSM-7", 160, 1),
        ("a" * 161, "GSM-7", 161, 2),
        ("a" * 306, "GSM-7", 306, 2),
        ("a" * 307, "GSM-7", 307, 3),
        ("€", "GSM-7", 2, 1),
        ("€" * 80, "GSM-7", 160, 1),
        ("€" * 81, "GSM-7", 162, 2),
        # 76 pairs fill 152 of 153 septets: the 77th does not fit and one septet stays free.
        ("€" * 152, "GSM-7", 304, 2),
        ("€" * 153, "GSM-7", 306, 3),
        # The pair begins at septet 153 of the first part and moves to the second as a whole.
        ("a" * 152 + "€" + "a" * 151, "GSM-7", 305, 2),
        ("a" * 152 + "€" + "a" * 152, "GSM-7", 306, 3),
        ("a" * 151 + "€" + "a" * 153, "GSM-7", 306, 2),
        ("\f^{}\\[~]|€", "GSM-7", 20, 1),
        ("ê", "UCS-2", 1, 1),
        ("`", "UCS-2", 1, 1),
        ("\t", "UCS-2", 1, 1),
        ("\x1b", "UCS-2", 1, 1),
        ("ç", "UCS-2", 1, 1),
        ("Ω is Greek here", "GSM-7", 15, 1),
        ("Ж" * 70, "UCS-2", 70, 1),
        ("Ж" * 71, "UCS-2", 71, 2),
        ("Ж" * 134, "UCS-2", 134, 2),
        ("Ж" * 135, "UCS-2", 135, 3),
        ("€" * 69 + "Ж", "UCS-2", 70, 1),
        ("👋" * 35, "UCS-2", 70, 1),
        ("👋" * 36, "UCS-2", 72, 2),
        # 33 pairs fill 66 of 67 code units.
        ("👋" * 66, "UCS-2", 132, 2),
        ("👋" * 67, "UCS-2", 134, 3),
        ("Ж" * 66 + "👋" + "Ж" * 65, "UCS-2", 133, 2),
        ("Ж" * 66 + "👋" + "Ж" * 66, "UCS-2", 134, 3),
        # A lone surrogate is one code unit like any other.
        ("\ud83d" * 70, "UCS-2", 70, 1),
    ],
)
def test_text_takes_the_parts_the_standard_says(text: str, encoding: str, units: int, count: int) -> None:
    found = count_segments(text)

    assert (found.encoding, found.units, found.count) == (encoding, units, count)


def test_default_alphabet_is_complete() -> None:
    assert len(set(_GSM)) == 127
    assert count_segments(_GSM) == Segments(encoding="GSM-7", units=127, count=1)


@given(st.text(st.characters() | st.sampled_from("€a👋Ж"), max_size=700))
def test_units_and_parts_agree_for_any_text(text: str) -> None:
    found = count_segments(text)

    whole, part = (160, 153) if found.encoding == "GSM-7" else (70, 67)
    # At most one unit is left free at the end of each part but the last.
    fewest = 1 if found.units <= whole else -(-found.units // part)
    most = 1 if found.units <= whole else -(-found.units // (part - 1))
    assert fewest <= found.count <= most
    assert found.units >= len(text)


@given(st.text(max_size=300), st.text(max_size=300))
def test_more_text_never_takes_fewer_parts(text: str, more: str) -> None:
    assert count_segments(text + more).count >= count_segments(text).count
