"""scripts/draw-run: a picture of a terminal's output that changes only with the output."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

SCRIPT = Path(__file__).parents[2] / "scripts" / "draw-run"
SVG = "{http://www.w3.org/2000/svg}"


def draw(tmp_path: Path, output: str) -> list[ElementTree.Element]:
    """Return the texts of the picture of `output`, without the line of the command."""
    source, picture = tmp_path / "output", tmp_path / "pictures" / "run.svg"
    source.write_bytes(output.encode())
    subprocess.run([sys.executable, SCRIPT, "--from", source, "--output", picture], check=True, timeout=60)
    texts = ElementTree.parse(picture).getroot().findall(f"{SVG}text")  # noqa: S314

    assert [text.text for text in texts[:2]] == ["$", "make run"]
    return texts[2:]


def test_text_has_the_colour_weight_and_place_that_it_has_at_a_terminal(tmp_path: Path) -> None:
    red, plain, dim, exact = draw(
        tmp_path, "\x1b[1;31mNo SMS\x1b[0m leaves\r\n\r\n\x1b[2mnow\x1b[22m\x1b[38;5;196m <&>\x1b[0m\r\n"
    )

    assert (red.text, red.get("fill"), red.get("font-weight"), red.get("x")) == (
        "No SMS",
        "#ff7b72",
        "bold",
        "16",
    )
    assert (plain.text, plain.get("font-weight")) == ("leaves", None)
    assert plain.get("y") == red.get("y")
    assert plain.get("x") == "74.8"  # the margin and seven characters
    assert (dim.text, dim.get("opacity")) == ("now", "0.6")
    assert float(dim.get("y", "")) - float(red.get("y", "")) == 40
    assert (exact.text, exact.get("fill")) == ("<&>", "#ff0000")


def test_times_ids_and_ports_are_replaced(tmp_path: Path) -> None:
    runs = [
        f"health http://127.0.0.1:{port}/readyz\n● sms.outbound.sent {time} 464185a6-9476-5167-acc8-{port:012}\n"
        for port, time in ((4711, "2026-12-01T01:06:48.615Z"), (40815, "2027-01-02T03:04:05Z"))
    ]

    first, second = ([text.text for text in draw(tmp_path, run)] for run in runs)

    assert first == second
    assert first[0] == "health http://127.0.0.1:9464/readyz"


def test_events_have_one_order_when_two_are_published_in_either_order(tmp_path: Path) -> None:
    sent, synced = "● sms.outbound.sent\n  one", "● sms.outbound.synced\n  two"

    first, second = (
        [text.text for text in draw(tmp_path, f"begin\n\n{order}\n\nend")]
        for order in (f"{sent}\n\n{synced}", f"{synced}\n\n{sent}")
    )

    assert first == second
    assert first[0] == "begin"
    assert first[-1] == "end"


def test_titles_links_and_cursor_movements_leave_no_trace(tmp_path: Path) -> None:
    (text,) = draw(
        tmp_path, "\x1b]0;title\x07\x1b[?25l\x1b]8;;http://x\x1b\\Ready\x1b]8;;\x1b\\\x1b[2K\x1b[?25h\n"
    )

    assert text.text == "Ready"
