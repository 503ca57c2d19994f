from bert_tf.core import card


def test_one_licence_is_named_and_others_are_left_open():
    front = {"tags": ["a"], "pretty_name": 'A "name": x'}
    text = card.card("Title", front, {"cc0-1.0": 3}, [("Part", "Text.")])
    assert text.splitlines()[:4] == ["---", 'license: "cc0-1.0"', 'tags: ["a"]', 'pretty_name: "A \\"name\\": x"']
    assert text.endswith("---\n\n# Title\n\n## Part\n\nText.\n")
    for licences in ({}, {"": 3}, {"mit": 1, "": 2}, {"mit": 1, "cc0-1.0": 1}):
        assert card.card("Title", {}, licences, []).splitlines()[1].startswith("license:  # not known")


def test_a_licence_that_was_filled_in_stays():
    text = card.card("Title", {}, {}, [("Part", "New.")])
    older = text.replace(text.splitlines()[1], "license: mit").replace("New.", "Old.")
    assert card.with_licence_of(older, text) == text.replace(text.splitlines()[1], "license: mit")
    assert card.with_licence_of(text, text) == text


def test_tables_escape_what_would_end_a_cell():
    assert card.table(["a", "b"], [("x|y\nz", 12345)]) == "| a | b |\n| --- | --- |\n| x\\|y z | 12,345 |"


def test_licences_are_counted():
    assert card.licence_section({"mit": 2, "": 5}) == (
        "| licence | documents |\n| --- | --- |\n| not known | 5 |\n| mit | 2 |"
    )
    assert card.licence_section({"": 5}).startswith("Not known. ")
