"""Write the reports of all studies from their committed data.

    mpsearch report resnet8 --json > studies/resnet8/report.json
    make studies

Of each `report.json` come `report.md`, and `report.html`, a page to look at, which isn't committed: Plotly is in it.
"""

import json
from pathlib import Path

from mpsearch.pages import write_page, write_text
from mpsearch.report.document import document
from mpsearch.report.gathering import Report
from mpsearch.report.summary import summary

STUDIES = Path(__file__).resolve().parent


def main(folder: Path = STUDIES) -> list[Path]:
    """Write them; the data that they are of."""
    found = sorted(folder.glob("*/report*.json"))
    for file in found:
        report = Report.from_json(json.loads(file.read_text(encoding="utf-8")))
        write_page(document(report), file.with_suffix(".html"))
        write_text(summary(report), file.with_suffix(".md"))
        print(f"written: {file.with_suffix('.html').relative_to(folder.parent)}, and {file.stem}.md")
    return found


if __name__ == "__main__":
    main()
