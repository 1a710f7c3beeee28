"""Texts that each alteration of a gateway changes, so that a test sees the alteration happen."""

from __future__ import annotations

#: A text for each known alteration of a gateway, by the name of the alteration.
KNOWN = {
    "no-break-spaces": "Price: 5\u00a0EUR",
    "quotes": "\u201cYes\u201d, it\u2019s on",
    "zero-width": "Code\u200b 81\u200d52",
    "spaces": "Two  spaces",
    "tabs": "Gate\t12",
    "cut": "A text of more than 150 characters. " + "It goes on and on, " * 10,
    "entities": "Tea & milk <cold>",
    "nfkc": "\ufb01ne \u2460 \uff21\uff22 \u00bd",
    "emoji": "Well done \U0001f600!",
    "controls": "Bell\x07 and\x1b escape",
    "line-separators": "One\u2028two",
    "byte-order-mark": "\ufeffMarked",
    "backticks": "Type `bridge`",
    "dashes": "Mon \u2014 Fri \u2013 9\u22125",
    "ellipsis": "Wait\u2026",
    "accents": "\u00e1 la carte, se\u00f1or, \u0151r",
    "capitals": "Fa\u00e7ade",
    "all-entities": 'Tom\'s "tea" & milk',
    "one-line": "One\r\n two\n\nthree",
    "no-emoji": "On my way \U0001f697\U0001f697",
    "two-marks": "Ready \U0001f469\u200d\U0001f4bb now",
    "ascii": "Gr\u00f6\u00dfe 12, \u20ac 5",
    "gsm": "\u0412\u0430\u0448 \u043a\u043e\u0434 410773",
    "latin-1": "Caf\u00e9 \u20ac 5",
}
#: Alterations that no comparison can undo.
UNKNOWN = {"hidden": "Your code is 4711", "reversed": "Never odd"}
