"""Characters that end, close and continue sentences, as the inside of a regular expression's brackets.

From Unicode's properties, by `python -m tests.pipelines.reading.unicode_marks`: workers need no library for them, and
the same table makes the same shards everywhere. A test compares it with the package regex.
"""

# Sentence_Break=STerm, and the full stops of Sentence_Break=ATerm, without those of ASCII: up to U+FFFF.
ENDING = (
    r"\u0589\u061d-\u061f\u06d4\u0700-\u0702\u07f9\u0837\u0839\u083d-\u083e\u0964-\u0965\u104a-\u104b\u1362"
    r"\u1367-\u1368\u166e\u1735-\u1736\u17d4-\u17d5\u1803\u1809\u1944-\u1945\u1aa8-\u1aab\u1b4e-\u1b4f\u1b5a-\u1b5b"
    r"\u1b5e-\u1b5f\u1b7d-\u1b7f\u1c3b-\u1c3c\u1c7e-\u1c7f\u2024\u203c-\u203d\u2047-\u2049\u2cf9-\u2cfb\u2e2e\u2e3c"
    r"\u2e53-\u2e54\u2e60-\u2e61\u3002\ua4ff\ua60e-\ua60f\ua6f3\ua6f7\ua876-\ua877\ua8ce-\ua8cf\ua92f\ua9c8-\ua9c9"
    r"\uaa5d-\uaa5f\uaaf0-\uaaf1\uabeb\ufe12\ufe15-\ufe16\ufe52\ufe56-\ufe57\uff01\uff0e\uff1f\uff61"
)
# The same beyond U+FFFF. All lie between U+10A00 and U+1DFFF, below the emoji.
ENDING_BEYOND = (
    r"\U00010a56-\U00010a57\U00010f55-\U00010f59\U00010f86-\U00010f89\U00011047-\U00011048\U000110be-\U000110c1"
    r"\U00011141-\U00011143\U000111c5-\U000111c6\U000111cd\U000111de-\U000111df\U00011238-\U00011239"
    r"\U0001123b-\U0001123c\U000112a9\U000113d4-\U000113d5\U0001144b-\U0001144c\U000115c2-\U000115c3"
    r"\U000115c9-\U000115d7\U00011641-\U00011642\U0001173c-\U0001173e\U00011944\U00011946\U00011a42-\U00011a43"
    r"\U00011a9b-\U00011a9c\U00011c41-\U00011c42\U00011ef7-\U00011ef8\U00011f43-\U00011f44\U00016a6e-\U00016a6f"
    r"\U00016af5\U00016b37-\U00016b38\U00016b44\U00016d6e-\U00016d6f\U00016e98\U0001bc9f\U0001da88"
)
# Closing brackets and quotation marks: General_Category Pe and Pf.
CLOSING = (
    r"\u0029\u005d\u007d\u00bb\u0f3b\u0f3d\u169c\u2019\u201d\u203a\u2046\u207e\u208e\u2309\u230b\u232a\u2769\u276b"
    r"\u276d\u276f\u2771\u2773\u2775\u27c6\u27e7\u27e9\u27eb\u27ed\u27ef\u2984\u2986\u2988\u298a\u298c\u298e\u2990"
    r"\u2992\u2994\u2996\u2998\u29d9\u29db\u29fd\u2e03\u2e05\u2e0a\u2e0d\u2e1d\u2e21\u2e23\u2e25\u2e27\u2e29\u2e56"
    r"\u2e58\u2e5a\u2e5c\u2e63\u3009\u300b\u300d\u300f\u3011\u3015\u3017\u3019\u301b\u301e-\u301f\ufd3e\ufe18\ufe36"
    r"\ufe38\ufe3a\ufe3c\ufe3e\ufe40\ufe42\ufe44\ufe48\ufe5a\ufe5c\ufe5e\uff09\uff3d\uff5d\uff60\uff63"
)
# Opening brackets and quotation marks: General_Category Ps and Pi.
OPENING = (
    r"\u0028\u005b\u007b\u00ab\u0f3a\u0f3c\u169b\u2018\u201a-\u201c\u201e-\u201f\u2039\u2045\u207d\u208d\u2308\u230a"
    r"\u2329\u2768\u276a\u276c\u276e\u2770\u2772\u2774\u27c5\u27e6\u27e8\u27ea\u27ec\u27ee\u2983\u2985\u2987\u2989"
    r"\u298b\u298d\u298f\u2991\u2993\u2995\u2997\u29d8\u29da\u29fc\u2e02\u2e04\u2e09\u2e0c\u2e1c\u2e20\u2e22\u2e24"
    r"\u2e26\u2e28\u2e42\u2e55\u2e57\u2e59\u2e5b\u2e62\u3008\u300a\u300c\u300e\u3010\u3014\u3016\u3018\u301a\u301d"
    r"\ufd3f\ufe17\ufe35\ufe37\ufe39\ufe3b\ufe3d\ufe3f\ufe41\ufe43\ufe47\ufe59\ufe5b\ufe5d\uff08\uff3b\uff5b\uff5f"
    r"\uff62"
)
# Sentence_Break=SContinue, without dashes: commas, colons, semicolons.
CONTINUING = (
    r"\u002c\u003a-\u003b\u037e\u055d\u060c-\u060d\u07f8\u1802\u1808\u3001\ufe10-\ufe11\ufe13-\ufe14\ufe50-\ufe51"
    r"\ufe54-\ufe55\uff0c\uff1a-\uff1b\uff64"
)
