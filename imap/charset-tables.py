# SPDX-License-Identifier: MIT
"""Writes charset-tables.c: charset-tables.py OUT

Tables of character sets and of case folding, made when the server is built,
from what Python knows. A session may open no file and load no module (its
sandbox sees to that), and a search meets every charset ever used, so all of
it is constant data that all processes share.
"""
import sys
import unicodedata

# Python's codec: the names that mail uses. Where a larger set is what senders
# mean by a smaller one's name, the larger one stands (windows-1252 for
# ISO-8859-1, GB 18030 for GB 2312).
SINGLE = {
    "cp1252": "ISO-8859-1 ISO_8859-1 ISO8859-1 LATIN1 L1 WINDOWS-1252 CP1252 CP819 IBM819",
    "iso8859-2": "ISO-8859-2 ISO_8859-2 ISO8859-2 LATIN2 L2",
    "iso8859-3": "ISO-8859-3 ISO_8859-3 LATIN3 L3",
    "iso8859-4": "ISO-8859-4 ISO_8859-4 LATIN4 L4",
    "iso8859-5": "ISO-8859-5 ISO_8859-5 CYRILLIC",
    "iso8859-6": "ISO-8859-6 ISO_8859-6 ISO-8859-6-I ISO-8859-6-E ARABIC",
    "iso8859-7": "ISO-8859-7 ISO_8859-7 GREEK ELOT_928",
    "iso8859-8": "ISO-8859-8 ISO_8859-8 ISO-8859-8-I ISO-8859-8-E HEBREW",
    "cp1254": "ISO-8859-9 ISO_8859-9 LATIN5 L5 WINDOWS-1254 CP1254",
    "iso8859-10": "ISO-8859-10 LATIN6 L6",
    "cp874": "ISO-8859-11 TIS-620 WINDOWS-874 CP874",
    "iso8859-13": "ISO-8859-13 LATIN7 L7",
    "iso8859-14": "ISO-8859-14 LATIN8 L8",
    "iso8859-15": "ISO-8859-15 ISO_8859-15 ISO8859-15 LATIN-9 LATIN9",
    "iso8859-16": "ISO-8859-16 LATIN10 L10",
    "cp1250": "WINDOWS-1250 CP1250",
    "cp1251": "WINDOWS-1251 CP1251",
    "cp1253": "WINDOWS-1253 CP1253",
    "cp1255": "WINDOWS-1255 CP1255",
    "cp1256": "WINDOWS-1256 CP1256",
    "cp1257": "WINDOWS-1257 CP1257",
    "cp1258": "WINDOWS-1258 CP1258",
    "koi8-r": "KOI8-R KOI8_R KOI8",
    "koi8-u": "KOI8-U KOI8_U",
    "koi8-t": "KOI8-T",
    "cp437": "IBM437 CP437",
    "cp850": "IBM850 CP850",
    "cp852": "IBM852 CP852",
    "cp855": "IBM855 CP855",
    "cp857": "IBM857 CP857",
    "cp858": "IBM00858 CP858",
    "cp862": "IBM862 CP862",
    "cp864": "IBM864 CP864",
    "cp866": "IBM866 CP866",
    "cp1125": "CP1125",
    "mac-roman": "MACINTOSH MAC X-MAC X-MAC-ROMAN",
    "mac-cyrillic": "X-MAC-CYRILLIC",
    "mac-latin2": "X-MAC-CE X-MAC-CENTRALEURROMAN",
    "mac-greek": "X-MAC-GREEK",
    "mac-turkish": "X-MAC-TURKISH",
}
DOUBLE = {      # C name of the table: (codecs by preference)
    "sjis": ("cp932",),
    "big5": ("cp950", "big5hkscs"),
    "cp949": ("cp949",),
    "gbk": ("gb18030",),
}
MULTI = {
    "CHARSET_UTF8": "US-ASCII ASCII ANSI_X3.4-1968 UTF-8 UTF8 UNICODE-1-1-UTF-8",
    "CHARSET_UTF7": "UTF-7 UNICODE-1-1-UTF-7",
    "CHARSET_UTF16": "UTF-16 UTF-16BE",
    "CHARSET_UTF16LE": "UTF-16LE",
    "CHARSET_SJIS": "SHIFT_JIS SHIFT-JIS SJIS X-SJIS MS_KANJI CP932 WINDOWS-31J",
    "CHARSET_EUC_JP": "EUC-JP EUCJP X-EUC-JP",
    "CHARSET_ISO2022_JP": "ISO-2022-JP ISO-2022-JP-1 ISO-2022-JP-MS CP50220 CP50221",
    "CHARSET_ISO2022_KR": "ISO-2022-KR",
    "CHARSET_BIG5": "BIG5 BIG-5 CN-BIG5 CP950 BIG5-HKSCS X-X-BIG5",
    "CHARSET_CP949": "EUC-KR KS_C_5601-1987 KSC5601 KS_C_5601 CP949 UHC WINDOWS-949",
    "CHARSET_GB18030": "GB18030 GBK GB2312 GB_2312-80 EUC-CN CP936 X-GBK",
}
HANGUL = range(0xac00, 0xac00 + 11172)  # by arithmetic, not by table


def one(data, *codecs):
    """The one character of the BMP that data stands for; 0: none."""
    for codec in codecs:
        try:
            text = data.decode(codec)
        except UnicodeDecodeError:
            continue
        if len(text) == 1 and 0x80 <= ord(text) < 0x10000:
            return ord(text)
    return 0


def title(c):
    """Simple title case: only where it is one character."""
    t = chr(c).title()
    return ord(t) if len(t) == 1 else c


def fold(c):
    """As RFC 5051 does: title case, then decomposed."""
    text = unicodedata.normalize("NFKD", chr(title(c)))
    return "".join(chr(title(ord(x))) for x in text).encode("utf-8")


class Out:
    def __init__(self, path):
        self.f = open(path, "w")

    def line(self, text=""):
        self.f.write(text + "\n")

    def numbers(self, head, values):
        self.line(head + " = {")
        for i in range(0, len(values), 12):
            self.line("\t" + " ".join("%d," % v for v in values[i:i + 12]))
        self.line("};")


def single_tables(out, names):
    out.line("const uint16_t charset_single[][128] = {")
    for n, (codec, aliases) in enumerate(SINGLE.items()):
        table = [one(bytes([b]), codec) for b in range(0x80, 0x100)]
        if codec == "cp1252":   # the holes are ISO-8859-1's control characters
            table = [v or 0x80 + i for i, v in enumerate(table)]
        out.line("\t{ " + " ".join("%d," % v for v in table) + " },")
        names += [(a, "CHARSET_SINGLE", n) for a in aliases.split()]
    out.line("};")


def double_tables(out):
    for name, codecs in DOUBLE.items():
        out.numbers("const uint16_t charset_%s[126 * 191]" % name,
                    [one(bytes([lead, trail]), *codecs)
                     for lead in range(0x81, 0xff) for trail in range(0x40, 0xff)])
    out.numbers("const uint16_t charset_jis0212[94 * 94]",
                [one(bytes([0x8f, a, b]), "euc_jp")
                 for a in range(0xa1, 0xff) for b in range(0xa1, 0xff)])


def gb18030_ranges(out):
    """Four bytes are a number; from these on, number and character run in step."""
    last = None
    out.line("const struct charset_range charset_gb18030_ranges[] = {")
    count = 0
    for n in range(39420):
        data = bytes([0x81 + n // 12600, 0x30 + n // 1260 % 10, 0x81 + n // 10 % 126,
                      0x30 + n % 10])
        c = one(data, "gb18030")
        if last is None or c != last + 1:
            out.line("\t{ %d, %d }," % (n, c))
            count += 1
        last = c
    out.line("};")
    out.line("const size_t charset_gb18030_n_ranges = %d;" % count)


def fold_tables(out):
    pool = bytearray(b"\0")
    offsets = {}

    def place(folded):
        if folded not in offsets:
            offsets[folded] = len(pool)
            pool.append(len(folded))
            pool.extend(folded)
        return offsets[folded]

    def entry(c):
        if 0xd800 <= c < 0xe000 or c in HANGUL:
            return 0
        folded = fold(c)
        return 0 if folded == chr(c).encode("utf-8") else place(folded)

    pages, index = [[0] * 256], []
    for high in range(256):
        page = [entry(high * 256 + low) for low in range(256)]
        if page not in pages:
            pages.append(page)
        index.append(pages.index(page))
    rare = [(c, entry(c)) for c in range(0x10000, 0x30000) if entry(c)]
    assert len(pool) < 65536 and len(pages) < 256
    out.numbers("const uint8_t fold_pages[256]", index)
    out.line("const uint16_t fold_table[][256] = {")
    for page in pages:
        out.line("\t{ " + " ".join("%d," % v for v in page) + " },")
    out.line("};")
    out.numbers("const uint8_t fold_pool[]", pool)
    out.line("const struct fold_rare fold_rares[] = {")
    for c, at in rare:
        out.line("\t{ %d, %d }," % (c, at))
    out.line("};")
    out.line("const size_t fold_n_rares = %d;" % len(rare))


def main():
    out = Out(sys.argv[1])
    out.line("/* Made by charset-tables.py. */")
    out.line('#include "imap/charset-tables.h"')
    names = []
    single_tables(out, names)
    double_tables(out)
    gb18030_ranges(out)
    fold_tables(out)
    for kind, aliases in MULTI.items():
        names += [(a, kind, 0) for a in aliases.split()]
    out.line("const struct charset charsets[] = {")
    for name, kind, n in sorted(names, key=lambda x: x[0].lower()):
        out.line('\t{ "%s", %s, %d },' % (name, kind, n))
    out.line("};")
    out.line("const size_t n_charsets = %d;" % len(names))


main()
