"""Documents of every kind are read with their places, behind walls; hostile ones are refused and harm nothing."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from freehold.environments.launcher import find_program
from freehold.environments.readers import ReaderFailed, Readers
from freehold.knowledge.chunks import MOST, Chunk, chunks
from freehold.knowledge.kinds import Kind
from freehold.knowledge.reading.base import Line, Read, Unreadable
from freehold.knowledge.reading.plain import code, markdown, plain, table, text_of
from freehold.knowledge.walled import WalledReading

if find_program("bwrap") is None and not os.environ.get("CI"):
    pytest.skip("bubblewrap is not installed", allow_module_level=True)
MOST_CHARACTERS = 1_000_000


async def read(kind: Kind, data: bytes, timeout_s: float = 60) -> Read:
    return await WalledReading(Readers(timeout_s=timeout_s), 30).read(kind, data, MOST_CHARACTERS)


async def cut(kind: Kind, data: bytes) -> list[Chunk]:
    return list(chunks(await read(kind, data)))


async def test_a_page_is_read_under_its_headings_without_scripts_and_menus() -> None:
    html = """<!doctype html><title>Team &amp; us</title><nav>Home | Shop</nav><script>alert(1)</script>
    <h1>Leave</h1><p>Everybody has <b>28</b> days.</p><h2>Sick</h2><table><tr><td>Day</td><td>one</td></tr></table>
    <pre>a\n  b</pre><footer>Imprint</footer>"""
    found = await read("html", html.encode())
    assert found.title == "Team & us"
    words = "\n".join(line.text for line in found.lines)
    assert "alert" not in words and "Shop" not in words and "Imprint" not in words
    assert [line.heading for line in found.lines if line.text == "Everybody has 28 days."] == ["Leave"]
    assert [line.heading for line in found.lines if line.text == "Day | one"] == ["Leave > Sick"]
    assert [line.text for line in found.lines][-2:] == ["a", "  b"]


async def test_office_documents_are_read_with_headings_rows_and_slides() -> None:
    docx, openpyxl, pptx = (pytest.importorskip(name) for name in ("docx", "openpyxl", "pptx"))
    document, out = docx.Document(), io.BytesIO()
    document.add_heading("Leave", 1)
    document.add_paragraph("Everybody has 28 days.")
    document.add_heading("Sick", 2)
    document.add_table(1, 2).rows[0].cells[0].text = "Day"
    document.save(out)
    found = await read("docx", out.getvalue())
    assert ("Everybody has 28 days.", "Leave") in [(line.text, line.heading) for line in found.lines]
    assert ("Day | ", "Leave > Sick") in [(line.text, line.heading) for line in found.lines]

    book, out = openpyxl.Workbook(), io.BytesIO()
    book.active.title = "Prices"
    for row in (["city", "night"], ["Oslo", 150], [None, None], ["Paris", 120]):
        book.active.append(row)
    book.save(out)
    [chunk] = await cut("xlsx", out.getvalue())
    assert chunk.text == "city | night\ncity: Oslo; night: 150\ncity: Paris; night: 120"
    assert (chunk.heading, chunk.first_line, chunk.last_line) == ("Prices", 1, 4)

    slides, out = pptx.Presentation(), io.BytesIO()
    for title in ("First", "Second"):
        slide = slides.slides.add_slide(slides.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = title, f"{title} things"
    slides.save(out)
    first, second = await cut("pptx", out.getvalue())
    assert (first.page, first.heading, second.page) == (1, "First", 2) and "Second things" in second.text


def pdf(*pages: str) -> bytes:
    """A document of one line a page."""
    bodies = [b"<</Type/Catalog/Pages 2 0 R>>"]
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    bodies.append(f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>".encode())
    bodies.append(b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>")
    for number, text in enumerate(pages):
        bodies.append(
            f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 300]/Contents {5 + 2 * number} 0 R"
            "/Resources<</Font<</F 3 0 R>>>>>>".encode()
        )
        stream = f"BT /F 12 Tf 20 200 Td ({text}) Tj ET".encode()
        bodies.append(b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream))
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(bodies, 1):
        places.append(len(out))
        out += b"%d 0 obj%s endobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(bodies) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(out + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(bodies) + 1, start))


async def test_a_pdf_is_read_with_its_pages() -> None:
    pytest.importorskip("pypdf")
    first, second = await cut("pdf", pdf("Leave is 28 days.", "Hotels cost 120 euros."))
    assert (first.text, first.page, second.page) == ("Leave is 28 days.", 1, 2)
    with pytest.raises(Unreadable, match="only pictures"):
        await read("pdf", pdf("", ""))


def archive(**parts: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in parts.items():
            packed.writestr(name.replace("__", "/") + ".xml", data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "data", "told"),
    [
        ("docx", lambda: archive(a=bytes(300 << 20)), "unpacks to"),
        ("xlsx", lambda: archive(a=b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'), "document type"),
        ("pptx", lambda: archive(a='<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x>'.encode("utf-16")), "document"),
        ("docx", lambda: archive(word__document=b"<x/>"), "no docx"),
        ("docx", lambda: b"PK\x03\x04 and no more", "no Office file"),
        ("pdf", lambda: b"%PDF-1.7 and no more", "no PDF"),
        ("pdf", lambda: pdf("x").replace(b"/Kids[4 0 R]", b"/Kids[2 0 R]"), "read"),
        ("html", lambda: b"<p>words words " * 100_000, "more than 1,000,000 characters"),
    ],
)
async def test_hostile_documents_are_refused(kind: Kind, data: object, told: str) -> None:
    with pytest.raises(Unreadable, match=told):
        await read(kind, data())  # type: ignore[operator]


async def test_what_takes_too_long_is_killed() -> None:
    assert len((await read("html", b"<div>" * 100_000 + b"deep")).lines) == 1
    quadratic = WalledReading(Readers(timeout_s=60), cpu_s=1)
    with pytest.raises(Unreadable, match="killed"):
        await quadratic.read("html", b"<b " * 200_000, MOST_CHARACTERS)


async def test_a_reader_has_no_network_no_files_of_the_host_and_little_time(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    readers = Readers(timeout_s=30)
    asks = f"""import os, socket
print('sees', [p for p in ('/var', '/home', '/etc/shadow', {str(tmp_path)!r}) if os.path.exists(p)])
print('nets', [name for _, name in socket.if_nameindex()])
try: open('/usr/x', 'w')
except OSError as e: print('writes', e.errno)

"""
    said = (await readers.run("code", ["-q"], asks.encode(), 10_000)).decode()
    assert "sees []" in said and "nets ['lo']" in said and "writes 30" in said
    with pytest.raises(ReaderFailed, match="longer than"):
        await Readers(timeout_s=0.2).run("code", ["-q"], b"while True: pass\n\n", 100)
    with pytest.raises(ReaderFailed, match="more than is taken"):
        await readers.run("code", ["-q"], b"print('x' * 10_000)\n", 100)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("年假".encode(), "年假"),
        ("年假".encode("gb18030"), "年假"),
        ("年假".encode("utf-16"), "年假"),
        (b"\xef\xbb\xbfone\r\ntwo\rthree", "one\ntwo\nthree"),
        (b"caf\xe9 \xff", "café ÿ"),
    ],
)
def test_text_is_read_in_whatever_way_it_was_written(data: bytes, text: str) -> None:
    assert text_of(data) == text


def test_headings_definitions_and_rows_are_places() -> None:
    text = "# One\nintro\n## Two\n```\n# no heading\n```\n# Three #\nend\n"
    assert [line.heading for line in markdown(text, 999).lines if line.text in ("intro", "# no heading", "end")] == [
        "One",
        "One > Two",
        "Three",
    ]
    source = "class Box:\n    def open(self):\n        pass\ndef main():\n    go()\n"
    assert [line.heading for line in code(source, 999).lines][2::2] == ["class Box > def open", "def main"]
    rows = table('name,"note"\nAnn,"two\nlines"\n,\nBob,x;y\n', 999)
    assert [(line.text, line.number) for line in rows.lines] == [
        ("name: Ann; note: two lines", 2),
        ("name: Bob; note: x;y", 5),
    ]


def test_chunks_keep_their_size_and_their_place_and_lose_nothing() -> None:
    text = "# A\n" + "word " * 900 + "\n\n" + "句子。" * 900 + "\n# B\n" + "line\n" * 500 + "x" * 9_000
    cuts = list(chunks(markdown(text, 99_999)))
    assert all(len(chunk.text) <= MOST for chunk in cuts)
    for chunk in cuts:
        assert text[chunk.start : chunk.end].split() == chunk.text.split()
    assert "".join(chunk.text for chunk in cuts).split("\n") and sum(chunk.text.count("句") for chunk in cuts) == 900
    assert {chunk.heading for chunk in cuts} == {"A", "B"}
    assert list(chunks(plain(" \n---\n", 99))) == []
    assert list(chunks(Read([Line("", 0)]))) == []


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("# Leave", "Leave"),
        ("## Leave ##", "Leave"),
        ("   ### C# \t", "C#"),
        ("# a #b", "a #b"),
        ("#", None),
        ("## ##", None),
        ("#Leave", None),
        ("    # Leave", None),
        ("####### Leave", None),
    ],
)
def test_a_heading_of_markdown_is_told_from_what_only_looks_like_one(line: str, title: str | None) -> None:
    assert [one.heading for one in markdown(f"{line}\nbelow", 999).lines][1] == (title or "")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_table_says_by_itself_what_stands_between_its_cells(delimiter: str) -> None:
    rows = ["name", "price, in $", "note"], ["Ink", "1,50", 'a "good" one'], ["Pen", "2,00", "x; y"]
    text = "\n".join(delimiter.join(f'"{cell.replace(chr(34), 2 * chr(34))}"' for cell in row) for row in rows)
    assert [line.text for line in table(text, 999).lines] == [
        'name: Ink; price, in $: 1,50; note: a "good" one',
        "name: Pen; price, in $: 2,00; note: x; y",
    ]


def test_texts_that_would_keep_a_pattern_busy_for_ever_are_read_at_once() -> None:
    """Each of these once held the whole server: patterns are matched without letting others run."""
    assert markdown("# a" + " " * 50_000 + "x", 99_999).lines
    assert markdown("# a" + "#" * 50_000 + "x", 99_999).lines
    with pytest.raises(Unreadable):
        markdown("# a" + " #" * 50_000, 999)
    assert table('"a","b","c"\n' * 5 + '"' * 3_000 + "x", 99_999).lines
    assert code("export " * 10_000 + "\n" + "\t" * 10_000 + "def f", 99_999).lines
