"""Texts of any script as LaTeX shows them."""

import unicodedata

LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",  # after the end of a row, LaTeX would read a length
        "]": "{]}",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "→": r"$\rightarrow$",
        "±": r"$\pm$",
        "•": r"$\bullet$",
        "×": r"$\times$",
        "·": r"$\cdot$",
        "−": r"$-$",
        "≤": r"$\leq$",
        "≥": r"$\geq$",
        "≈": r"$\approx$",
        "—": "---",
        "–": "--",
        "…": r"\dots{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    }
)
SMALL_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau "
    "upsilon phi chi psi omega"
)
LARGE_GREEK = "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
GREEK = {  # those that LaTeX has a command for; its lambda is Unicode's lamda
    **{f"GREEK SMALL LETTER {name.upper()}": name for name in SMALL_GREEK.split()},
    **{f"GREEK CAPITAL LETTER {name.upper()}": name for name in LARGE_GREEK.split()},
    "GREEK SMALL LETTER LAMDA": "lambda",
    "GREEK CAPITAL LETTER LAMDA": "Lambda",
    "GREEK SMALL LETTER FINAL SIGMA": "varsigma",
    "GREEK PHI SYMBOL": "varphi",
    "GREEK LUNATE EPSILON SYMBOL": "varepsilon",
}


def escape_latex(text: str) -> str:
    """`text` as LaTeX shows it literally, whatever its script."""
    text = text.translate(LATEX)
    return text if text.isascii() and text.isprintable() else "".join(map(_latex_sign, text))


def _latex_sign(sign: str) -> str:
    """A sign that LaTeX's standard fonts have; the name of one that they lack."""
    name = unicodedata.name(sign, f"U+{ord(sign):04X}")
    if name in GREEK:
        return rf"$\{GREEK[name]}$"
    if ord(sign) < 0x180 and (sign.isprintable() or sign.isspace()):
        return sign  # Latin letters with and without accents
    return f"({name.lower()})"
