"""The two commands that measure the language of the project."""

from __future__ import annotations

from scripts import count_names, sentence_length


def test_a_name_is_split_into_words_and_known_in_every_form() -> None:
    known = {"read", "file", "copy", "stop", "parse"}
    assert count_names.unknown_words("readFiles_copies", known) == []
    assert count_names.unknown_words("_stopped_parsing", known) == []
    assert count_names.unknown_words("HTTPFileKazoo_x", known) == ["http", "kazoo"]


def test_a_sentence_ends_at_a_full_stop_before_a_capital_letter_and_at_a_list_item() -> None:
    text = (
        "# Head\n\nOne two. Three [four five](a.md)\nsix?\n\n| a | b |\n\n- Six e.g. six\n- Ten 10"
    )
    found = [" ".join(each) for each in sentence_length.sentences(text)]
    assert found == ["One two.", "Three [four five] six?", "Six e.g. six", "Ten 10"]
