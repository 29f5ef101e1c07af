"""What docs/report_files.md says of the files of a report."""

import re
from dataclasses import dataclass
from pathlib import Path

TEXT = (Path(__file__).parent.parent / "docs/report_files.md").read_text()


@dataclass(frozen=True)
class Documented:
    """What docs/report_files.md says of the files."""

    files: dict[str, list[str]]  # columns by file
    types: dict[str, list[str]]  # by column; of several meanings several

    @classmethod
    def read(cls) -> "Documented":
        files, types = {}, {}
        for section in re.split("^### ", TEXT, flags=re.MULTILINE)[1:]:
            lines = re.split("^## ", section, flags=re.MULTILINE)[0].strip().splitlines()
            columns = re.findall(r"`(\w+)`", lines[-1])
            files |= dict.fromkeys(re.findall(r"`(\w+)`", lines[0]), columns)
        for names, type in re.findall(r"^\| (`.+?) \| ([a-z/]+) \|", TEXT, flags=re.MULTILINE):
            for name in re.findall(r"`(\w+)`", names):
                types.setdefault(name, []).append(type)
        return cls(files, types)
