"""Files in headers: what a name and a type are read as, and how they are written."""

import pytest

from mainspring.kernel.media import NAME_CHARS_MAX, disposition, file_name, media_type


def sent(header: str) -> str:
    """A header as it arrives: its bytes as latin-1."""
    return header.encode().decode("latin-1")


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="résumé.pdf"', "résumé.pdf"),
        ("attachment; filename=résumé.pdf", "résumé.pdf"),
        ('attachment; filename="文件 (1).txt"', "文件 (1).txt"),
        ("attachment; filename=\"EURO.txt\"; filename*=UTF-8''%e2%82%ac.txt", "€.txt"),
        ("attachment; filename*=utf-8'en'%c3%a9.txt; filename=e.txt", "é.txt"),
        ("attachment; filename*=iso-8859-1''%e9.txt", "é.txt"),
        ("attachment; filename*=utf-8''%ff.txt; filename=plain.txt", "plain.txt"),
        ("attachment; filename*=utf-16''x; filename=plain.txt", "plain.txt"),
        ("attachment; filename*=broken; filename=plain.txt", "plain.txt"),
        ('attachment; filename="a\\"b\\\\c;d=e.txt"', "c;d=e.txt"),
        ('attachment; filename="say \\"hi\\".txt"', 'say "hi".txt'),
        ('attachment; filename="C:\\dir\\x.txt"', "x.txt"),
        ('attachment; filename="../../etc/passwd"', "passwd"),
        ("attachment; filename*=utf-8''..%2f..%2fx", "x"),
        ("attachment; filename*=utf-8''a%00b%0a%0dc%e2%80%ae.txt", "abc.txt"),
        ('attachment; name="x"; FileName = "A.txt"', "A.txt"),
        ('attachment; x="filename=no.txt"; filename=yes.txt', "yes.txt"),
        ("attachment; filename=50%25.txt", "50%25.txt"),
        ('attachment; filename="no end', "no end"),
        ("attachment; filename=", None), ('attachment; filename=""', None),
        ('attachment; filename=".."', None), ("attachment", None), ("", None), ("filename=x", "x"),
        (f'attachment; filename="{"x" * 400}.pdf"', "x" * (NAME_CHARS_MAX - 4) + ".pdf"),
        (f'attachment; filename="{"é" * 400}.tar.gz"', "é" * (NAME_CHARS_MAX - 7) + ".tar.gz"),
        (f'attachment; filename="{"x" * 400}"', "x" * NAME_CHARS_MAX),
        (f'attachment; filename="a.{"x" * 400}"', "a." + "x" * (NAME_CHARS_MAX - 2)),
    ],
)  # fmt: skip
def test_a_name_is_read_as_it_was_meant(disposition: str, name: str | None) -> None:
    assert file_name(sent(disposition)) == name


def test_a_name_in_latin_1_is_read_too() -> None:
    assert file_name('attachment; filename="r\xe9sum\xe9.pdf"') == "résumé.pdf"


@pytest.mark.parametrize(
    "name", ["plain.txt", "résumé.pdf", "文件.txt", 'a"b\\c;d%20.txt', "it's, €.txt", "x" * 255]
)
def test_a_name_survives_an_answer(name: str) -> None:
    written = disposition(name)
    assert written.isascii()
    assert written.isprintable()
    expected = name.replace("\\", "/").rpartition("/")[2]
    assert file_name(written) == expected


def test_old_readers_get_a_name_too() -> None:
    assert disposition("résumé €.pdf").startswith('attachment; filename="resume _.pdf"; ')


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        ("text/plain", "text/plain"),
        ('Text/HTML;Charset="utf-8"', "text/html; charset=utf-8"),
        ("text/plain; charset=iso-8859-1", "text/plain; charset=iso-8859-1"),
        ('text/csv; x="a; charset=no"; charset=UTF-8', "text/csv; charset=utf-8"),
        ("Image/PNG; x=y", "image/png"),
        ("application/vnd.a+json;", "application/vnd.a+json"),
    ],
)
def test_a_media_type_keeps_its_charset(header: str, kept: str) -> None:
    assert media_type(header) == kept


@pytest.mark.parametrize(
    "header", ["", "text", "text/", "/plain", "te xt/plain", "text/plain; charset=\xe9",
               "text/plain; charset=", 'text/plain; charset="a b"', "text/plain; charset=a,b",
               "text/plain; charset=" + "y" * 300, "text/" + "y" * 300],
)  # fmt: skip
def test_what_is_no_media_type_is_refused(header: str) -> None:
    with pytest.raises(ValueError, match="Content-Type"):
        media_type(header)
