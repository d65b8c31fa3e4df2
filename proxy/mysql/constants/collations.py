"""Collation ids and names, their character sets, and what a character set means to a lexer.

The ids are those of `SHOW COLLATION` on MySQL 9 and MariaDB 10.11; a test compares the table with a live
server. Five ids (122, 149, 181, 213, 245) carry different names on the two, so the flavour is part of a
look-up.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

Flavour = Literal["mysql", "mariadb"]


class Lexing(Enum):
    """Whether SQL text in a character set can be lexed byte by byte as ASCII with opaque bytes >= 0x80."""

    SAFE = "safe"
    UNSAFE = "unsafe"  # 0x27, 0x5c, 0x60 or 0x7c may be part of a character: refuse the text or park it
    FORBIDDEN = "forbidden"  # MySQL refuses it as character_set_client: its ASCII takes more than one byte


# Trail bytes of these reach down to 0x30-0x7e, so a quote, backslash or backtick may end a character.
# (euckr's trail bytes below 0x80 are letters only; ujis, eucjpms and gb2312 have none below 0xa1.)
# swe7 is single byte, but 0x5c, 0x60 and 0x7c are letters in it.
_UNSAFE: Final = frozenset({"big5", "cp932", "sjis", "gbk", "gb18030", "swe7"})
_FORBIDDEN: Final = frozenset({"ucs2", "utf16", "utf16le", "utf32"})

# Python's codec for the names in a handshake. A set without one (dec8, swe7, keybcs2, geostd8, armscii8)
# decodes as ASCII with the other bytes escaped, so such a name matches nothing that is configured.
_CODECS: Final = {
    "big5": "big5hkscs", "latin2": "iso8859_2", "cp850": "cp850", "latin1": "cp1252", "hp8": "hp_roman8",
    "koi8r": "koi8_r", "ascii": "ascii", "ujis": "euc_jp", "sjis": "shift_jis", "cp1251": "cp1251",
    "hebrew": "iso8859_8", "tis620": "tis_620", "euckr": "cp949", "latin7": "iso8859_13", "koi8u": "koi8_u",
    "gb2312": "gb2312", "greek": "iso8859_7", "cp1250": "cp1250", "gbk": "gbk", "cp1257": "cp1257",
    "latin5": "iso8859_9", "utf8mb3": "utf_8", "cp866": "cp866", "macce": "mac_latin2",
    "macroman": "mac_roman", "cp852": "cp852", "utf8mb4": "utf_8", "cp1256": "cp1256", "binary": "utf_8",
    "cp932": "cp932", "eucjpms": "euc_jp", "gb18030": "gb18030",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Collation:
    """One collation of one flavour. `codec` is a Python codec name."""

    id: int
    name: str
    charset: str
    lexing: Lexing
    codec: str


# One line per character set: `id:name without the character set's prefix`.
_SHARED: Final = """
big5 1:chinese_ci 84:bin
latin2 2:czech_cs 9:general_ci 21:hungarian_ci 27:croatian_ci 77:bin
dec8 3:swedish_ci 69:bin
cp850 4:general_ci 80:bin
latin1 5:german1_ci 8:swedish_ci 15:danish_ci 31:german2_ci 47:bin 48:general_ci 49:general_cs
    94:spanish_ci
hp8 6:english_ci 72:bin
koi8r 7:general_ci 74:bin
swe7 10:swedish_ci 82:bin
ascii 11:general_ci 65:bin
ujis 12:japanese_ci 91:bin
sjis 13:japanese_ci 88:bin
cp1251 14:bulgarian_ci 23:ukrainian_ci 50:bin 51:general_ci 52:general_cs
hebrew 16:general_ci 71:bin
tis620 18:thai_ci 89:bin
euckr 19:korean_ci 85:bin
latin7 20:estonian_cs 41:general_ci 42:general_cs 79:bin
koi8u 22:general_ci 75:bin
gb2312 24:chinese_ci 86:bin
greek 25:general_ci 70:bin
cp1250 26:general_ci 34:czech_cs 44:croatian_ci 66:bin 99:polish_ci
gbk 28:chinese_ci 87:bin
cp1257 29:lithuanian_ci 58:bin 59:general_ci
latin5 30:turkish_ci 78:bin
armscii8 32:general_ci 64:bin
utf8mb3 33:general_ci 83:bin 192:unicode_ci 193:icelandic_ci 194:latvian_ci 195:romanian_ci
    196:slovenian_ci 197:polish_ci 198:estonian_ci 199:spanish_ci 200:swedish_ci 201:turkish_ci
    202:czech_ci 203:danish_ci 204:lithuanian_ci 205:slovak_ci 206:spanish2_ci 207:roman_ci 208:persian_ci
    209:esperanto_ci 210:hungarian_ci 211:sinhala_ci 212:german2_ci 214:unicode_520_ci 215:vietnamese_ci
    223:general_mysql500_ci
ucs2 35:general_ci 90:bin 128:unicode_ci 129:icelandic_ci 130:latvian_ci 131:romanian_ci 132:slovenian_ci
    133:polish_ci 134:estonian_ci 135:spanish_ci 136:swedish_ci 137:turkish_ci 138:czech_ci 139:danish_ci
    140:lithuanian_ci 141:slovak_ci 142:spanish2_ci 143:roman_ci 144:persian_ci 145:esperanto_ci
    146:hungarian_ci 147:sinhala_ci 148:german2_ci 150:unicode_520_ci 151:vietnamese_ci
    159:general_mysql500_ci
cp866 36:general_ci 68:bin
keybcs2 37:general_ci 73:bin
macce 38:general_ci 43:bin
macroman 39:general_ci 53:bin
cp852 40:general_ci 81:bin
utf8mb4 45:general_ci 46:bin 224:unicode_ci 225:icelandic_ci 226:latvian_ci 227:romanian_ci
    228:slovenian_ci 229:polish_ci 230:estonian_ci 231:spanish_ci 232:swedish_ci 233:turkish_ci
    234:czech_ci 235:danish_ci 236:lithuanian_ci 237:slovak_ci 238:spanish2_ci 239:roman_ci 240:persian_ci
    241:esperanto_ci 242:hungarian_ci 243:sinhala_ci 244:german2_ci 246:unicode_520_ci 247:vietnamese_ci
utf16 54:general_ci 55:bin 101:unicode_ci 102:icelandic_ci 103:latvian_ci 104:romanian_ci 105:slovenian_ci
    106:polish_ci 107:estonian_ci 108:spanish_ci 109:swedish_ci 110:turkish_ci 111:czech_ci 112:danish_ci
    113:lithuanian_ci 114:slovak_ci 115:spanish2_ci 116:roman_ci 117:persian_ci 118:esperanto_ci
    119:hungarian_ci 120:sinhala_ci 121:german2_ci 123:unicode_520_ci 124:vietnamese_ci
utf16le 56:general_ci 62:bin
cp1256 57:general_ci 67:bin
utf32 60:general_ci 61:bin 160:unicode_ci 161:icelandic_ci 162:latvian_ci 163:romanian_ci 164:slovenian_ci
    165:polish_ci 166:estonian_ci 167:spanish_ci 168:swedish_ci 169:turkish_ci 170:czech_ci 171:danish_ci
    172:lithuanian_ci 173:slovak_ci 174:spanish2_ci 175:roman_ci 176:persian_ci 177:esperanto_ci
    178:hungarian_ci 179:sinhala_ci 180:german2_ci 182:unicode_520_ci 183:vietnamese_ci
binary 63:
geostd8 92:general_ci 93:bin
cp932 95:japanese_ci 96:bin
eucjpms 97:japanese_ci 98:bin
"""
_MYSQL: Final = """
utf8mb3 76:tolower_ci 213:croatian_ci
utf16 122:croatian_ci
ucs2 149:croatian_ci
utf32 181:croatian_ci
utf8mb4 245:croatian_ci 255:0900_ai_ci 256:de_pb_0900_ai_ci 257:is_0900_ai_ci 258:lv_0900_ai_ci
    259:ro_0900_ai_ci 260:sl_0900_ai_ci 261:pl_0900_ai_ci 262:et_0900_ai_ci 263:es_0900_ai_ci
    264:sv_0900_ai_ci 265:tr_0900_ai_ci 266:cs_0900_ai_ci 267:da_0900_ai_ci 268:lt_0900_ai_ci
    269:sk_0900_ai_ci 270:es_trad_0900_ai_ci 271:la_0900_ai_ci 273:eo_0900_ai_ci 274:hu_0900_ai_ci
    275:hr_0900_ai_ci 277:vi_0900_ai_ci 278:0900_as_cs 279:de_pb_0900_as_cs 280:is_0900_as_cs
    281:lv_0900_as_cs 282:ro_0900_as_cs 283:sl_0900_as_cs 284:pl_0900_as_cs 285:et_0900_as_cs
    286:es_0900_as_cs 287:sv_0900_as_cs 288:tr_0900_as_cs 289:cs_0900_as_cs 290:da_0900_as_cs
    291:lt_0900_as_cs 292:sk_0900_as_cs 293:es_trad_0900_as_cs 294:la_0900_as_cs 296:eo_0900_as_cs
    297:hu_0900_as_cs 298:hr_0900_as_cs 300:vi_0900_as_cs 303:ja_0900_as_cs 304:ja_0900_as_cs_ks
    305:0900_as_ci 306:ru_0900_ai_ci 307:ru_0900_as_cs 308:zh_0900_as_cs 309:0900_bin 310:nb_0900_ai_ci
    311:nb_0900_as_cs 312:nn_0900_ai_ci 313:nn_0900_as_cs 314:sr_latn_0900_ai_ci 315:sr_latn_0900_as_cs
    316:bs_0900_ai_ci 317:bs_0900_as_cs 318:bg_0900_ai_ci 319:bg_0900_as_cs 320:gl_0900_ai_ci
    321:gl_0900_as_cs 322:mn_cyrl_0900_ai_ci 323:mn_cyrl_0900_as_cs
gb18030 248:chinese_ci 249:bin 250:unicode_520_ci
"""
_MARIADB: Final = """
utf16 122:croatian_mysql561_ci 672:croatian_ci 673:myanmar_ci 674:thai_520_w2
ucs2 149:croatian_mysql561_ci 640:croatian_ci 641:myanmar_ci 642:thai_520_w2
utf32 181:croatian_mysql561_ci 736:croatian_ci 737:myanmar_ci 738:thai_520_w2
utf8mb3 213:croatian_mysql561_ci 576:croatian_ci 577:myanmar_ci 578:thai_520_w2
utf8mb4 245:croatian_mysql561_ci 608:croatian_ci 609:myanmar_ci 610:thai_520_w2
"""

# MariaDB's NO PAD twins stand 1,024 above the collation they derive from.
_NOPAD_OFFSET: Final = 1024
_NOPAD: Final = """
1 3-4 6-13 16 18-19 22 24-26 28 30 32-33 35-41 43 45-47 50-51 53-62 64-75 77-93 95-98 101 123 128 150 160
182 192 214 224 246
"""

# MariaDB's UCA 14.0.0 collations: id = 2048 + 256 * character set + 8 * language + 4 * nopad + variant.
_UCA1400_BASE: Final = 2048
_UCA1400_CHARSETS: Final = ("utf8mb3", "utf8mb4", "ucs2", "utf16", "utf32")
_UCA1400_LANGUAGES: Final = (
    "", "_icelandic", "_latvian", "_romanian", "_slovenian", "_polish", "_estonian", "_spanish", "_swedish",
    "_turkish", "_czech", "_danish", "_lithuanian", "_slovak", "_spanish2", "_roman", "_persian",
    "_esperanto", "_hungarian", "_sinhala", "_german2", None, None, "_vietnamese", "_croatian",
)  # fmt: skip
_UCA1400_VARIANTS: Final = ("ai_ci", "ai_cs", "as_ci", "as_cs")


def lexing_of(charset: str) -> Lexing:
    """How text in this character set (its MySQL name) may be lexed; an unknown set is unsafe."""
    if charset in _FORBIDDEN:
        return Lexing.FORBIDDEN
    if charset in _UNSAFE or charset not in CHARSETS:
        return Lexing.UNSAFE
    return Lexing.SAFE


def by_id(collation: int, flavour: Flavour) -> Collation | None:
    """The collation with this id on servers of this flavour, or None."""
    return _BY_ID[flavour].get(collation)


def by_name(name: str, flavour: Flavour) -> Collation | None:
    """The collation of this name (`utf8_…` counts as `utf8mb3_…`, any case), or None."""
    return _BY_NAME[flavour].get(_canonical(name))


def default_of(charset: str) -> int | None:
    """The id of a character set's compiled-in default collation (gb18030: MySQL only), or None."""
    return _DEFAULTS.get(charset)


def _canonical(name: str) -> str:
    lowered = name.lower()
    return "utf8mb3_" + lowered[5:] if lowered.startswith("utf8_") else lowered


def _rows(table: str) -> Iterator[tuple[int, str, str]]:
    """(id, name, charset) of each entry of one of the tables above."""
    charset = ""
    for word in table.split():
        number, colon, suffix = word.partition(":")
        if not colon:
            charset = word
        else:
            yield int(number), f"{charset}_{suffix}" if suffix else charset, charset


def _nopad_rows(base: dict[int, tuple[str, str]]) -> Iterator[tuple[int, str, str]]:
    for span in _NOPAD.split():
        first, _, last = span.partition("-")
        for number in range(int(first), int(last or first) + 1):
            name, charset = base[number]
            yield number + _NOPAD_OFFSET, re.sub(r"_(?=[^_]+$)", "_nopad_", name), charset


def _uca1400_rows() -> Iterator[tuple[int, str, str]]:
    for c, charset in enumerate(_UCA1400_CHARSETS):
        for n, language in enumerate(_UCA1400_LANGUAGES):
            for v in range(8 if language is not None else 0):
                pad = "nopad_" if v & 4 else ""
                name = f"{charset}_uca1400{language}_{pad}{_UCA1400_VARIANTS[v & 3]}"
                yield _UCA1400_BASE + 256 * c + 8 * n + v, name, charset


def _build(rows: list[tuple[int, str, str]]) -> dict[int, Collation]:
    return {
        number: Collation(number, name, charset, lexing_of(charset), _CODECS.get(charset, "ascii"))
        for number, name, charset in rows
    }


_shared_rows: Final = list(_rows(_SHARED))
_shared_names: Final = {number: (name, charset) for number, name, charset in _shared_rows}
_mysql_rows: Final = [*_shared_rows, *_rows(_MYSQL)]
_mariadb_rows: Final = [*_shared_rows, *_rows(_MARIADB), *_nopad_rows(_shared_names), *_uca1400_rows()]

CHARSETS: Final = frozenset(charset for _, _, charset in _mysql_rows)

_BY_ID: Final[dict[str, dict[int, Collation]]] = {
    "mysql": _build(_mysql_rows),
    "mariadb": _build(_mariadb_rows),
}
_BY_NAME: Final = {
    flavour: {collation.name: collation for collation in table.values()} for flavour, table in _BY_ID.items()
}
# The first `*_ci` (or only) id of a set is its default, except where listed.
_DEFAULTS: Final = {charset: number for number, _, charset in sorted(_shared_rows, reverse=True)} | {
    "latin1": 8,
    "latin2": 9,
    "latin7": 41,
    "cp1251": 51,
    "cp1250": 26,
    "cp1257": 59,
    "gb18030": 248,
}

UTF8MB4_GENERAL_CI: Final = 45
BINARY: Final = 63
