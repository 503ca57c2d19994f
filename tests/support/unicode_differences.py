"""The code points that two sides class differently because they know different versions of Unicode.

Found by `make sweep`, which fails on any other. Each is listed under the version that assigned it. The tokenizer's own
tables are TensorFlow's (ICU 13 lower-cases, RE2 15 knows categories) and TF Text's (ICU 16 decomposes and splits).
"""


def expand(listed: dict[str, str]) -> set[int]:
    """All code points of a list of hexadecimal numbers and ranges."""
    found = set()
    for part in " ".join(listed.values()).split():
        low, _, high = part.partition("-")
        found |= set(range(int(low, 16), int(high or low, 16) + 1))
    return found


# Against unicodedata of Python 3.11, which is Unicode 14: what came later, and the capitals that came with it.
PYTHON_UNCASED = {
    "14.0": "2C2F A7C0 A7D0 A7D6 A7D8 10570-1057A 1057C-1058A 1058C-10592 10594-10595",
    "15.0": (
        "ECE 10EFD-10EFF 11241 11B00-11B09 11F00-11F01 11F36-11F3A 11F40 11F42-11F4F 13439-13440 13447-13455 "
        "1E08F 1E4EC-1E4EF"
    ),
    "16.0 or later": (
        "1B4E-1B4F 1B7F 105C9 105E4 10D6E 11383 11385 1138E 11391 113C5 113C7-113C8 113D4-113D5 113D7-113D8 "
        "11BE1 16121-16128 16D68-16D6A 16D6D-16D6F 1E5FF"
    ),
}
PYTHON_CASED = {
    "15.0": "11B00-11B09 11F43-11F4F 13439-1343F",
    "16.0 or later": "1B4E-1B4F 1B7F 10D6E 113D4-113D5 113D7-113D8 11BE1 16D6D-16D6F 1E5FF",
}

# Cased or ignorable letters of Unicode 15, beside which unicodedata of Python 3.11 sees the end of a word in "Σ".
PYTHON_SIGMA = {"15.0": "1DF25-1DF2A 1E030-1E06D 1E4EB"}

# Against Hugging Face's tokenizers, whose tables of categories are those of Unicode 8 and whose lower-casing is newer
# than ours. What is listed up to 8.0 has changed its category since: 166D, 1734, 1885, 1886, A9BD, 111C9.
# Theirs does not know either that 16FF0 and 16FF1, of Unicode 13, have an order among other marks.
HUGGINGFACE_UNCASED = {
    "3.0": "166D 1885-1886",
    "3.2": "1734",
    "5.2": "A9BD",
    "8.0": "111C9",
    "9.0": (
        "8D4-8E2 1DFB 2E43-2E44 A8C5 1123E 11438-1143F 11442-11444 11446 1144B-1144F 1145B 1145D 11660-1166C "
        "11C30-11C36 11C38-11C3D 11C3F 11C41-11C45 11C70-11C71 11C92-11CA7 11CAA-11CB0 11CB2-11CB3 "
        "11CB5-11CB6 1E000-1E006 1E008-1E018 1E01B-1E021 1E023-1E024 1E026-1E02A 1E944-1E94A 1E95E-1E95F"
    ),
    "10.0": (
        "9FD AFA-AFF D00 D3B-D3C 1DF6-1DF9 2E45-2E49 11A01-11A0A 11A33-11A38 11A3B-11A47 11A51-11A56 "
        "11A59-11A5B 11A8A-11A96 11A98-11A9C 11A9E-11AA2 11D31-11D36 11D3A 11D3C-11D3D 11D3F-11D45 11D47"
    ),
    "11.0": (
        "7FD 8D3 9FE A76 C04 C84 2E4A-2E4E A8FF 10D24-10D27 10F46-10F50 10F55-10F59 110CD 1133B 1145E "
        "1182F-11837 11839-1183B 11D90-11D91 11D95 11D97 11EF3-11EF4 11EF7-11EF8 16E97-16E9A"
    ),
    "12.0": ("C77 EBA 2E4F 119D4-119D7 119DA-119DB 119E0 119E2 11FFF 13430-13438 16F4F 16FE2 1E130-1E136 1E2EC-1E2EF"),
    "13.0": "B55 D81 1ABF-1AC0 2E52 A82C 10EAB-10EAD 111CF 1145A 11938 1193B-1193C 1193E 11943-11946 16FE4",
    "14.0": (
        "61D 890-891 898-89F 8CA-8D2 C3C 180F 1AC1-1ACE 1B7D-1B7E 1DFA 2C2F 2E53-2E5D A7C0 A7D0 A7D6 A7D8 "
        "10570-1057A 1057C-1058A 1058C-10592 10594-10595 10F82-10F89 11070 11073-11074 110C2 116B9 "
        "12FF1-12FF2 1CF00-1CF2D 1CF30-1CF46 1E2AE"
    ),
    "15.0": (
        "ECE 10EFD-10EFF 11241 11B00-11B09 11F00-11F01 11F36-11F3A 11F40 11F42-11F4F 13439-13440 13447-13455 "
        "1E08F 1E4EC-1E4EF"
    ),
    "16.0 or later": (
        "1C89 A7CB-A7CC A7CE A7D2 A7D4 A7DA A7DC 105C9 105E4 10D50-10D65 11383 11385 1138E 11391 113C5 "
        "113C7-113C8 16121-16128 16D68-16D6A 16EA0-16EB8"
    ),
}
HUGGINGFACE_CASED = {
    "3.0": "166D",
    "8.0": "111C9",
    "9.0": "8E2 2E43-2E44 1144B-1144F 1145B 1145D 11660-1166C 11C41-11C45 11C70-11C71 1E95E-1E95F",
    "10.0": "9FD 2E45-2E49 11A3F-11A46 11A9A-11A9C 11A9E-11AA2",
    "11.0": "A76 C84 2E4A-2E4E 10F55-10F59 110CD 1183B 11EF7-11EF8 16E97-16E9A",
    "12.0": "C77 2E4F 119E2 11FFF 13430-13438 16FE2",
    "13.0": "2E52 10EAD 1145A 11944-11946",
    "14.0": "61D 890-891 1B7D-1B7E 2E53-2E5D 10F86-10F89 116B9 12FF1-12FF2",
    "15.0": "11B00-11B09 11F43-11F4F 13439-1343F",
}
