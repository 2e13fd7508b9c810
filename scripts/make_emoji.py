"""Makes ``examples/data/emoji.zip`` from three npm packages: ``make emoji``.

The packages are pinned, with the integrity values of ``examples/data/sources.json``. With the
Pillow of ``requirements/dev.txt`` the archive comes out byte for byte as it was committed.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

DATA = Path(__file__).resolve().parents[1] / "examples" / "data"
SIDE = 48
"""Pixels. 64 as packaged would be 6 MB; the encoder of preset ``edge`` loses little at 48."""
COLOURS = 48
COLUMNS = (
    "image",
    "name",
    "keywords",
    "short_names",
    "emoticon",
    "unicode_version",
    "n_code_points",
    "n_keywords",
    "n_skin_variants",
    "au_code",
    "softbank_code",
    "docomo_code",
    "has_zwj",
    "presentation",
    "facebook",
    "group",
    "subgroup",
)
# Not taken over: sort_order, sheet_x, sheet_y and the code point. Each gives the group away.


class Emoji(NamedTuple):
    """One row: its cells in the order of ``COLUMNS``, its picture, and the part it belongs to."""

    cells: dict[str, object]
    picture: bytes
    part: str


def main() -> None:
    """Pack, check, cut and write."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        packages = _fetch(Path(arguments.packages or folder))
        rows = list(_read(packages))
        archive = _zip(rows)
    before = arguments.out.read_bytes() if arguments.out.is_file() else b""
    arguments.out.write_bytes(archive)
    digest = hashlib.sha256(archive).hexdigest()
    state = "as it was" if archive == before else "new" if not before else "CHANGED"
    print(f"{arguments.out.name}: {len(rows)} rows, {len(archive):,} bytes, {state}")
    print(f"sha256 {digest}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=DATA / "emoji.zip")
    parser.add_argument("--packages", help="folder with the packed .tgz files; else npm packs them")
    return parser.parse_args()


def _fetch(folder: Path) -> dict[str, Path]:
    """Pack each package with npm where it is not there yet, and check its integrity value."""
    packages = {}
    for spec, integrity in json.loads((DATA / "sources.json").read_text()).items():
        name, version = spec.rsplit("@", 1)
        path = folder / f"{name}-{version}.tgz"
        if not path.is_file():
            print(f"npm pack {spec}", file=sys.stderr)
            subprocess.run(
                ["npm", "pack", spec, "--silent", "--pack-destination", str(folder)],
                check=True,
                stdout=subprocess.DEVNULL,
            )
        found = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
        if f"sha512-{found}" != integrity:
            raise SystemExit(f"{path.name}: its content is not the one that sources.json names")
        packages[name] = path
    return packages


def _read(packages: Mapping[str, Path]) -> Iterable[Emoji]:
    keywords, names = _annotations(packages)
    with tarfile.open(packages["emoji-datasource-google"]) as package:
        pictures = {
            Path(member.name).name: member
            for member in package.getmembers()
            if member.name.startswith("package/img/google/64/")
        }
        for entry in json.loads(_content(package, "package/emoji.json")):
            if entry["category"] == "Component":  # five skin tones and hair styles, no emoji alone
                continue
            member = package.extractfile(pictures[entry["image"]])
            if member is None:
                raise SystemExit(f"{entry['image']}: not a file in the package")
            yield Emoji(_cells(entry, keywords, names), _shrink(member.read()), _part(entry))


def _annotations(packages: Mapping[str, Path]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Keywords and the short name of each character, the variation selector left out of keys."""
    keywords: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    for package_name, key in (
        ("cldr-annotations-derived-full", "annotationsDerived"),
        ("cldr-annotations-full", "annotations"),
    ):
        with tarfile.open(packages[package_name]) as package:
            content = json.loads(_content(package, f"package/{key}/en/annotations.json"))
        for character, entry in content[key]["annotations"].items():
            plain = character.replace("\ufe0f", "")
            keywords[plain] = entry.get("default", [])
            names[plain] = entry.get("tts", [""])[0]
    return keywords, names


def _cells(
    entry: Mapping[str, Any], keywords: Mapping[str, list[str]], names: Mapping[str, str]
) -> dict[str, object]:
    points = entry["unified"].split("-")
    character = "".join(chr(int(point, 16)) for point in points).replace("\ufe0f", "")
    # The short name almost names the group; it has a column of its own.
    words = [word for word in keywords[character] if word != names[character]]
    return {
        "image": f"images/{entry['image']}",
        "name": entry["name"].lower(),
        "keywords": " | ".join(words),
        "short_names": " ".join(entry["short_names"]),
        "emoticon": entry["text"],
        "unicode_version": entry["added_in"],
        "n_code_points": len(points),
        "n_keywords": len(keywords[character]),
        "n_skin_variants": len(entry.get("skin_variations", ())) or None,
        "au_code": _code(entry["au"]),
        "softbank_code": _code(entry["softbank"]),
        "docomo_code": _code(entry["docomo"]),
        "has_zwj": "yes" if "200D" in points else "no",
        "presentation": "variation-selector" if "FE0F" in points else "default",
        "facebook": "yes" if entry["has_img_facebook"] else "no",
        "group": entry["category"],
        "subgroup": entry["subcategory"],
    }


def _code(points: str | None) -> int | None:
    return int(points.split("-")[0], 16) if points else None


def _part(entry: Mapping[str, Any]) -> str:
    """A fifth of the rows is for testing, by a hash: no seed, and no row ever changes sides."""
    digest = hashlib.md5(entry["unified"].encode(), usedforsecurity=False).hexdigest()
    return "test" if int(digest[:8], 16) % 5 == 0 else "train"


def _shrink(picture: bytes) -> bytes:
    """The picture at 48 pixels with a palette, still transparent."""
    image = Image.open(io.BytesIO(picture)).convert("RGBA")
    image = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    small = image.quantize(COLOURS, method=Image.Quantize.FASTOCTREE)
    stream = io.BytesIO()
    small.save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _zip(rows: Iterable[Emoji]) -> bytes:
    """Stored, not deflated, and dated 1980: the bytes then depend on the rows alone."""
    rows = list(rows)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, content: bytes) -> None:
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)

        add("NOTICES", (DATA / "NOTICES").read_bytes())
        for part in ("train", "test"):
            add(f"{part}.csv", _csv(row.cells for row in rows if row.part == part))
        for row in rows:
            add(str(row.cells["image"]), row.picture)
    return stream.getvalue()


def _csv(rows: Iterable[Mapping[str, object]]) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)  # None becomes an empty cell: a gap
    return stream.getvalue().encode()


def _content(package: tarfile.TarFile, name: str) -> bytes:
    member = package.extractfile(name)
    if member is None:
        raise SystemExit(f"{name}: not a file in the package")
    return member.read()


if __name__ == "__main__":
    main()
